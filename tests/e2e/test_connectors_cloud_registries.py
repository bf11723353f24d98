"""Azure's and Google's registries through a real sidecar: their clouds' identities buy tokens, nothing else does."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from jwt import PyJWK

from proxy.demo.issuer import ISSUER
from tests.fakes.canary import find_leaks, places_of
from tests.fakes.cloud_registries import AZURE, GOOGLE, CloudRegistry
from tests.fakes.entra import LOGIN, Entra, Federated
from tests.fakes.google import Google
from tests.fakes.sidecar import Job, World, rule

TENANT: Final = "11111111-2222-3333-4444-555555555555"
CLIENT: Final = "66666666-7777-8888-9999-000000000000"
SUBJECT: Final = "organization:acme:pipeline:azure"
POOL: Final = "projects/1/locations/global/workloadIdentityPools/jobs/providers/buildkite"
AUDIENCE: Final = f"https://iam.googleapis.com/{POOL}"
ACCOUNT: Final = "puller@acme.iam.gserviceaccount.com"
TOKENS: Final = ("sts.googleapis.com", "iamcredentials.googleapis.com")


@dataclass(slots=True)
class CloudStage:
    """A sidecar, two clouds and their registries."""

    world: World = field(default_factory=World)
    entra: Entra = field(init=False)
    google: Google = field(init=False)
    azure_registry: CloudRegistry = field(init=False)
    google_registry: CloudRegistry = field(init=False)

    def __post_init__(self) -> None:
        world = self.world
        key = PyJWK(world.issuer.jwks()["keys"][0]).key  # type: ignore[index]
        self.entra = Entra(world.root.server_side("entra", (LOGIN,)))
        self.entra.applications[TENANT, CLIENT] = Federated(issuer=ISSUER, key=key, subject=SUBJECT)
        self.google = Google(world.root.server_side("google", TOKENS))
        self.google.providers[POOL] = (ISSUER, key, AUDIENCE, {"pipeline_slug": "google"})
        self.google.members[ACCOUNT] = "principal:google"
        scopes = frozenset({"repository:acme/app:pull", "repository:acme/images/app:pull"})
        self.azure_registry = CloudRegistry(
            world.root.server_side("azure-registry", (AZURE,)),
            AZURE,
            lambda token: self.entra.identify(f"Bearer {token}", AZURE) == CLIENT,
            TENANT,
            scopes,
        )
        self.google_registry = CloudRegistry(
            world.root.server_side("google-registry", (GOOGLE,)),
            GOOGLE,
            lambda token: (found := self.google.find(f"Bearer {token}")) is not None and found.who == ACCOUNT,
            may=scopes,
        )
        azure, google = {"tenant": TENANT, "client_id": CLIENT}, {"provider": POOL, "service_account": ACCOUNT}
        world.rules = [
            self.rule("azure", AZURE, azure=azure),
            self.rule("google", GOOGLE, gcp=google),
            self.rule("stranger", AZURE, azure=azure),
            self.rule("alone", GOOGLE, gcp={"provider": POOL}),
        ]
        world.places = {
            f"{LOGIN}:443": self.entra.site.place,
            **{f"{host}:443": self.google.site.place for host in TOKENS},
            f"{AZURE}:443": self.azure_registry.site.place,
            f"{GOOGLE}:443": self.google_registry.site.place,
        }
        for site in self.sites:
            site.start()
        world.start()

    @property
    def sites(self) -> Any:
        return [each.site for each in (self.entra, self.google, self.azure_registry, self.google_registry)]

    def rule(self, pipeline: str, host: str, **block: Any) -> dict[str, Any]:
        scope = {"registry": host, **block}
        made = rule(pipeline, host, intent=[f"oci read {host}/**", f"oci list {host}/**"], credential={"oci": scope})
        return {**made, "job": {"organization": "acme", "pipeline": pipeline}}

    def open(self, pipeline: str) -> Job:
        world, known = self.world, self.world.issuer.add_job(pipeline_slug=pipeline)
        # A federated credential names one subject exactly, so the organization sets which claims make it.
        subject = f"organization:acme:pipeline:{pipeline}"
        tokens = [world.token(known, name, sub=subject) for name in ("api://AzureADTokenExchange", AUDIENCE)]
        return world.job(world.sidecar.open_session(world.token(known), tokens))


@pytest.fixture(scope="module")
def stage() -> Iterator[CloudStage]:
    made = CloudStage()
    yield made
    made.world.stop()
    for site in made.sites:
        site.stop()


def tags(job: Job, host: str, repository: str) -> tuple[str, Any]:
    body, _, code = job.curl("-w", "\n%{http_code}", f"https://{host}/v2/{repository}/tags/list").rpartition("\n")
    return code, json.loads(body)


def test_an_application_of_entras_pulls_from_azure(stage: CloudStage) -> None:
    """Entra's token for registries, the registry's refresh token for it, and a token for one repository for that."""
    job = stage.open("azure")
    assert tags(job, AZURE, "acme/app") == ("200", {"name": "acme/app", "tags": ["v1"]})
    assert set(stage.azure_registry.tokens.values()) == {"repository:acme/app:pull"}
    minted = stage.world.records("credential.minted")[-1]
    assert minted["facts"] == {
        "registry": AZURE,
        "realm": f"https://{AZURE}/oauth2/token",
        "scope": "repository:acme/app:pull",
    }
    secrets = [*stage.entra.tokens, *stage.azure_registry.refresh, *stage.azure_registry.tokens]
    assert find_leaks(places_of(stage.world), secrets) == []


def test_a_service_account_pulls_from_google(stage: CloudStage) -> None:
    """Its access token logs in at the realm that the registry names on its own host."""
    job = stage.open("google")
    assert tags(job, GOOGLE, "acme/images/app")[0] == "200"
    assert set(stage.google_registry.tokens.values()) == {"repository:acme/images/app:pull"}
    assert find_leaks(places_of(stage.world), [*stage.google.granted, *stage.google_registry.tokens]) == []


@pytest.mark.parametrize(
    "pipeline, host, repository",
    [
        ("stranger", AZURE, "acme/app"),
        ("azure", AZURE, "acme/other"),
        ("alone", GOOGLE, "acme/images/app"),
        ("google", GOOGLE, "acme/other"),
    ],
)
def test_whom_a_cloud_or_its_registry_does_not_know(
    stage: CloudStage, pipeline: str, host: str, repository: str
) -> None:
    """A job that Entra does not trust, a repository that is not its own, an identity without the right."""
    code, told = tags(stage.open(pipeline), host, repository)
    assert (code, told["reason"]) == ("403", "credential-refused")


def test_azures_exchange_is_strict(stage: CloudStage) -> None:
    """The counterpart takes its own tenant's tokens, for itself, by its own form."""
    registry = stage.azure_registry
    good = {"grant_type": "access_token", "service": AZURE, "tenant": TENANT, "access_token": "x"}
    stage.azure_registry.admits, admits = lambda token: token == "x", stage.azure_registry.admits
    assert registry.exchange(good) is not None
    for change in ({"grant_type": "password"}, {"service": "other.azurecr.io"}, {"tenant": "t"}, {"access_token": "y"}):
        assert registry.exchange({**good, **change}) is None
    assert registry.exchange({**good, "scope": "x"}) is None
    stage.azure_registry.admits = admits
