"""The azure connector through a real sidecar: azure-identity and raw requests against Entra's own strictness."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from jwt import PyJWK

from proxy.connectors.parts import fingerprint
from proxy.demo.issuer import ISSUER
from tests.fakes.canary import find_leaks, places_of
from tests.fakes.entra import HOSTS, Entra, Federated
from tests.fakes.raw import RawClient, Reply
from tests.fakes.sidecar import Job, World, rule, wait_until

TENANT: Final = "11111111-2222-3333-4444-555555555555"
SUBJECT: Final = "organization:acme:pipeline:storefront:ref:refs/heads/main"
CLIENT: Final = "66666666-7777-8888-9999-000000000000"
AUDIENCE: Final = "api://AzureADTokenExchange"
MANAGEMENT: Final = "management.azure.com"
STORE: Final = "releases.blob.core.windows.net"
VAULT: Final = "acme.vault.azure.net"
GROUPS: Final = "/subscriptions/s-1/resourcegroups/shop"
BLOB: Final = "/builds/app.tgz"
AZURE: Final = f"""
from azure.identity import DefaultAzureCredential
import requests
credential = DefaultAzureCredential(exclude_interactive_browser_credential=True)
for scope, url in (
    ("https://management.azure.com/.default", "https://{MANAGEMENT}{GROUPS}?api-version=2021-04-01"),
    ("https://storage.azure.com/.default", "https://{STORE}{BLOB}"),
):
    token = credential.get_token(scope)
    print(requests.get(url, headers={{"Authorization": "Bearer " + token.token}}).status_code, token.token)
"""


@dataclass(slots=True)
class AzureStage:
    """A sidecar in front of Azure."""

    world: World = field(default_factory=World)
    entra: Entra = field(init=False)
    shown: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        world = self.world
        self.entra = Entra(world.root.server_side("azure", HOSTS))
        key = PyJWK(world.issuer.jwks()["keys"][0]).key  # type: ignore[index]
        self.entra.applications[TENANT, CLIENT] = Federated(issuer=ISSUER, key=key, subject=SUBJECT)
        self.entra.may |= {(CLIENT, MANAGEMENT), (CLIENT, STORE), (CLIENT, VAULT)}
        lines = ["azure read subscriptions/s-1/**", "azure read **", "azure list **"]
        named = ["azure keyvault.secrets.get acme.vault.azure.net/secrets/**"]
        world.rules = [
            self.rule("storefront", lines + named, to=[MANAGEMENT, STORE, VAULT]),
            self.rule("absent", lines, client_id=CLIENT.replace("6", "7")),
            self.rule("vague", ["azure * **"]),
            self.rule("astray", None, to=[MANAGEMENT, "other.test"]),
        ]
        world.places |= {f"{host}:443": self.entra.site.place for host in HOSTS}

    def rule(self, name: str, intent: Any, *, to: Any = (MANAGEMENT,), **scope: Any) -> dict[str, Any]:
        more = {} if intent is None else {"intent": intent}
        block = {"tenant": TENANT, "client_id": CLIENT, **scope}
        made = rule(name, list(to), credential={"azure": block}, **more)
        return {**made, "job": {**made["job"], "pipeline": name}}

    def start(self) -> None:
        self.entra.site.start()
        self.world.start()

    def stop(self) -> None:
        self.world.stop()
        self.entra.site.stop()

    def settle(self) -> None:
        entra = self.entra
        entra.delay, entra.gives, entra.claims, entra.echoes = 0.0, {}, {}, False
        for seen in (entra.instead, entra.asked, entra.uses):
            seen.clear()

    def open(self, pipeline: str, *audiences: str) -> Job:
        known = self.world.issuer.add_job(pipeline_slug=pipeline)
        held = [self.world.token(known, name, sub=SUBJECT) for name in audiences or (AUDIENCE,)]
        self.shown += held
        return self.world.job(self.world.sidecar.open_session(self.world.token(known), held))

    def ask(self, job: Job, target: str = GROUPS, host: str = MANAGEMENT, method: str = "GET") -> Reply:
        head = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Authorization: Bearer own", "Content-Length: 0"]
        with RawClient(self.world, job.session) as client:
            client.tunnel(host)
            client.send("\r\n".join([*head, "", ""]).encode())
            return client.reply(method)

    def refused(self, answer: Reply, path: str, reason: str, told: str) -> None:
        assert answer.reason == reason, answer.body
        assert self.entra.uses == []
        flow = self.world.ended(path=path.partition("?")[0])
        assert (flow.reason, flow.credential, flow.flow_id) == (reason, None, answer.denial["decision"])
        records = [record for record in self.world.sidecar.records() if record.get("flow") == flow.flow_id]
        assert told in str(records[-1].get("detail", "")), records[-1]
        assert self.leaks() == []

    def leaks(self) -> list[str]:
        return find_leaks(places_of(self.world), [each[-80:] for each in (*self.entra.tokens, *self.shown)])


@pytest.fixture(scope="module")
def azure_stage() -> Iterator[AzureStage]:
    made = AzureStage()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def stage(azure_stage: AzureStage) -> Iterator[AzureStage]:
    azure_stage.settle()
    yield azure_stage
    azure_stage.settle()


def test_azures_own_library_works(stage: AzureStage) -> None:
    """The real client takes jobgate for a managed identity; each service gets a token for itself alone."""
    job = stage.open("storefront")
    lines = [line.split() for line in job.python(AZURE).splitlines()]
    assert [status for status, _ in lines] == ["200", "200"]
    assert {token for _, token in lines} == {"azure-" + job.environment["AWS_ACCESS_KEY_ID"]}
    assert [(use.host, use.who, use.status) for use in stage.entra.uses] == [
        (MANAGEMENT, CLIENT, 200),
        (STORE, CLIENT, 200),
    ]
    assert [form["scope"] for form in stage.entra.asked] == [
        "https://management.azure.com/.default",
        "https://storage.azure.com/.default",
    ]
    assert job.session is not None
    minted = [each for each in stage.world.records("credential.minted") if each["session"] == job.session.id]
    assert [each["facts"]["resource"] for each in minted] == [
        "https://management.azure.com/",
        "https://storage.azure.com/",
    ]
    assert {each["credential"] for each in minted} <= {fingerprint(token) for token in stage.entra.tokens}
    assert stage.leaks() == []


def test_a_secret_is_read_from_a_vault(stage: AzureStage) -> None:
    """Another service, another token; it is bought once, and not for another job."""
    job = stage.open("storefront")
    for _ in range(2):
        assert stage.ask(job, "/secrets/db?api-version=7.4", VAULT).status == 200
    assert [form["scope"] for form in stage.entra.asked] == ["https://vault.azure.net/.default"]
    assert stage.ask(stage.open("storefront"), "/secrets/db?api-version=7.4", VAULT).status == 200
    assert len(stage.entra.asked) == 2


def test_a_wildcard_hands_out_no_keys(stage: AzureStage) -> None:
    """An account's keys outlive every job: the operation must be named, and Entra is not asked."""
    path = f"{GROUPS}/providers/Microsoft.Storage/storageAccounts/releases/listKeys"
    answer = stage.ask(stage.open("vague"), path, method="POST")
    stage.refused(answer, path, "credential-scope", "listkeys/action needs an `intent` line")
    assert stage.entra.asked == []


def test_a_signature_of_the_jobs_own_is_refused(stage: AzureStage) -> None:
    """A shared access signature in the query would be used beside the token."""
    answer = stage.ask(stage.open("storefront"), f"{BLOB}?sv=2023&sig=abc", STORE)
    stage.refused(answer, BLOB, "credential-scope", "of the job's own")


def test_a_rule_for_other_hosts_too_sends_the_token_to_azure_alone(stage: AzureStage) -> None:
    """`to` may name more than Azure; the token goes nowhere else, and none is bought."""
    answer = stage.ask(stage.open("astray"), "/echo", "other.test")
    stage.refused(answer, "/echo", "credential-scope", "goes nowhere else")
    assert stage.entra.asked == []


REFUSED: list[Any] = [
    ("absent", (AUDIENCE,), "Entra: unauthorized_client"),
    ("storefront", ("https://other.test",), f"holds no token for the audience {AUDIENCE}"),
]


@pytest.mark.parametrize("pipeline, audiences, told", REFUSED)
def test_what_entra_refuses(stage: AzureStage, pipeline: str, audiences: tuple[str, ...], told: str) -> None:
    """No such application, no token for it: the operator reads which."""
    stage.refused(stage.ask(stage.open(pipeline, *audiences)), GROUPS, "credential-refused", told)


def test_another_subject_is_refused(stage: AzureStage) -> None:
    """A job that is not the federated one gets no token; Entra's text, which repeats the assertion, stays out."""
    known = stage.world.issuer.add_job(pipeline_slug="storefront")
    held = stage.world.token(known, AUDIENCE)
    stage.shown.append(held)
    job = stage.world.job(stage.world.sidecar.open_session(stage.world.token(known), [held]))
    stage.refused(stage.ask(job), GROUPS, "credential-refused", "Entra: invalid_client")


FAILING: list[Any] = [
    (500, b"", "credential-unavailable", "Entra: status 500"),
    (429, b"", "credential-unavailable", "Entra: status 429"),
    (302, b"", "credential-refused", "Entra: status 302"),
    (200, b"<html>", "credential-unavailable", "no JSON object"),
    (200, b'{"access_token":"a","token_type":"pop"}', "credential-unavailable", "not a bearer token"),
    (200, b'{"access_token":"a b","token_type":"Bearer"}', "credential-unavailable", "no usable access_token"),
    (
        200,
        b'{"access_token":"a","token_type":"Bearer","expires_in":"x"}',
        "credential-unavailable",
        "expires_in is not",
    ),
]


@pytest.mark.parametrize("status, body, reason, told", FAILING)
def test_an_entra_that_fails(stage: AzureStage, status: int, body: bytes, reason: str, told: str) -> None:
    """The job is refused with the reason; two seconds later the same session is served again."""
    job = stage.open("storefront")
    stage.entra.instead = [(status, body)]
    stage.refused(stage.ask(job), GROUPS, reason, told)
    time.sleep(2.1)
    assert stage.ask(job).status == 200


def test_a_token_for_another_service_is_used_for_nothing(stage: AzureStage) -> None:
    """Entra gives one for Graph where management was asked; a service's number in place of its URL is taken."""
    stage.entra.claims = {"aud": "https://graph.microsoft.com/"}
    stage.refused(stage.ask(stage.open("storefront")), GROUPS, "credential-refused", "for another service")
    stage.entra.claims = {"aud": "797f4846-ba00-4fd7-ba43-dac1f8f63013"}
    assert stage.ask(stage.open("storefront")).status == 401


def test_an_entra_that_is_slow(stage: AzureStage) -> None:
    """Within five seconds the job has its answer."""
    stage.entra.delay = 6.0
    job, began = stage.open("storefront"), time.monotonic()
    assert stage.ask(job).reason == "credential-unavailable"
    assert time.monotonic() - began < 5.5


def test_a_token_that_comes_back_is_not_passed_on(stage: AzureStage) -> None:
    """A service that echoes the bearer token shows the job nothing of it; the session's end says that it expires."""
    stage.entra.echoes = True
    job = stage.open("storefront")
    told = json.loads(stage.ask(job).body)
    assert stage.entra.tokens[-1] not in told["you"]
    assert stage.leaks() == []
    assert job.session is not None
    session = job.session
    stage.world.sidecar.close_session(session)
    (closed,) = wait_until(
        lambda: [each for each in stage.world.records("session.closed") if each["session"] == session.id]
    )
    assert [each["fate"] for each in closed["dropped"]] == ["expires"]


def test_after_all_of_it(stage: AzureStage) -> None:
    """The sidecar still serves, and nothing leaked."""
    assert stage.ask(stage.open("storefront")).status == 200
    assert stage.world.sidecar.api.readiness() == ()
    assert stage.leaks() == []
