"""Tokens for a cluster, from a strict API server and a strict STS: for one account or role, and one cluster."""

import json
import ssl
import traceback
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.connectors.kubernetes import KubernetesConnector, KubernetesScope
from proxy.connectors.parts import ConnectorParts, Revoking, fingerprint
from proxy.demo.tls import StageRoot
from proxy.intents.registry import decode
from proxy.model.authority import Authority
from proxy.model.errors import CredentialError
from proxy.model.grant import PLAIN, Credential, Edits, Grant, HeldToken, MintRequest, Secret
from proxy.model.intent import Intent, RequestView
from proxy.model.reason import Reason
from proxy.outbound import Outbound
from tests.fakes.cluster import ISSUER, Cluster, Instead, NobodyError
from tests.fakes.keys import signing_key
from tests.fakes.sts import Role, StrictSts

HOST, STS = "cluster.test", "sts.eu-west-1.amazonaws.com"
ROLE = "arn:aws:iam::123456789012:role/shop-deployer"
AUDIENCE, JOBS = "sts.amazonaws.com", "https://agent.buildkite.test"
OWN = "system:serviceaccount:ci:jobgate"
USER = "system:serviceaccount:shop:deployer"
DENIED, MAYBE, SCOPE = Reason.CREDENTIAL_REFUSED, Reason.CREDENTIAL_UNAVAILABLE, Reason.CREDENTIAL_SCOPE
EKS = {"cluster": "storefront", "role": ROLE, "region": "eu-west-1"}


class WallClock:
    """The real time: the servers read it too."""

    ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Stage:
    """A cluster, an STS, and the connector in front of both."""

    def __init__(self, folder: Path) -> None:
        root, self.folder = StageRoot(folder), folder
        self.side = root.server_side("aws", (STS,))
        self.sts = StrictSts(WallClock())
        self.jobs = signing_key("RS256", bits=2048)
        self.sts.issuers[JOBS] = self.jobs.public
        self.sts.roles[ROLE] = Role(issuer=JOBS, claims={"pipeline_slug": "shop"})
        self.cluster = Cluster(root.server_side("cluster", (HOST,)), signing_key("RS256", "k", bits=2048).private)
        self.cluster.sts, self.cluster.entries = self.sts, {ROLE: "shop-deployers"}
        self.cluster.accounts = {("shop", "deployer"), ("ci", "jobgate")}
        self.cluster.may = {
            (OWN, "POST", "serviceaccounts/token", "shop"),
            (OWN, "POST", "secrets", "shop"),
            (OWN, "DELETE", "secrets", "shop"),
        }
        self.write_own(self.cluster.token_for("ci", "jobgate", 3600))
        self.cluster.site.start()
        self.places = {f"{HOST}:443": Authority("127.0.0.1", self.cluster.site.port)}
        trust = ssl.create_default_context(cafile=str(folder / "stage-root.pem"))
        self.clock = WallClock()
        self.connector = KubernetesConnector(ConnectorParts(caller=Outbound(trust, self.places), clock=self.clock))

    def write_own(self, text: str) -> None:
        place = self.folder / "own"
        place.touch(mode=0o600)
        place.write_text(text)

    def scope(self, **given: Any) -> KubernetesScope:
        return scope(str(self.folder / "own"), **given)

    def request(self, lifetime: timedelta = timedelta(minutes=15), **claims: Any) -> MintRequest:
        now = datetime.now(UTC)
        stated = {"iss": JOBS, "aud": AUDIENCE, "pipeline_slug": "shop", "exp": int(now.timestamp()) + 300}
        token = Secret(self.jobs.sign(stated | claims))
        held = HeldToken(audience=AUDIENCE, token=token, expires_at=now + timedelta(minutes=5))
        grant = Grant(connector="kubernetes", scope={}, lifetime=lifetime, key="k")
        labels = {"pipeline": "shop", "job_id": "0190-ab"}
        return MintRequest(grant=grant, session_id="s", labels=labels, tokens={AUDIENCE: held})

    async def mint(self, request: MintRequest | None = None, **given: Any) -> Credential:
        return await self.connector.mint(request or self.request(), self.scope(**given))

    async def refusal(self, request: MintRequest | None = None, **given: Any) -> tuple[str, Reason]:
        with pytest.raises(CredentialError) as caught:
            await self.mint(request, **given)
        told = "".join(traceback.format_exception(caught.value))
        assert not any(token in told for token in [*self.cluster.tokens, (self.folder / "own").read_text()])
        return str(caught.value), caught.value.reason

    def put(self, credential: Credential, **given: Any) -> str:
        """What stands in Authorization."""
        edits = self.connector.apply(view(), self.scope(**given), credential, None)
        assert edits.remove == {"authorization"}
        return put_of(edits)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = Stage(tmp_path)
    async with made.sts.serving(made.side):
        made.places[f"{STS}:443"] = Authority("127.0.0.1", made.sts.port)
        made.connector._parts.caller._connect_to.update(made.places)  # type: ignore[attr-defined]
        yield made
    made.cluster.site.stop()


def scope(own: str = "/run/own", **given: Any) -> KubernetesScope:
    server = {"server": given.pop("server", f"https://{HOST}"), "intents": given.pop("intents", ())}
    if "eks" in given:
        return KubernetesScope.model_validate(server | {"eks": EKS | given["eks"]})
    token = {"namespace": "shop", "service_account": "deployer", "own_token": {"file": own}}
    return KubernetesScope.model_validate(server | {"token": token | given})


def view(path: str = "/api/v1/namespaces/shop/pods", method: str = "GET", **more: Any) -> RequestView:
    basic: dict[str, Any] = {"scheme": "https", "authority": Authority(HOST, 443), "query": None, "headers": ()}
    return RequestView(path=path, method=method, **(basic | more))


def put_of(edits: Edits) -> str:
    ((name, value),) = edits.put
    assert isinstance(value, Secret)
    assert name == "authorization"
    assert [f"Bearer {each.reveal()}" for each in edits.watch] == [value.reveal()]
    return value.reveal()


async def test_a_service_accounts_token(stage: Stage) -> None:
    """Asked for with the sidecar's own account, for that one account; the cluster takes it for the account's."""
    credential = await stage.mint()
    (token,) = stage.cluster.tokens
    assert stage.put(credential) == f"Bearer {token}"
    assert stage.cluster.identify(f"Bearer {token}") == USER
    (asked,) = stage.cluster.requests
    assert asked["spec"] == {"audiences": [], "expirationSeconds": 900}
    assert credential.fingerprint == fingerprint(token)
    assert dict(credential.facts) == {"server": f"https://{HOST}", "service_account": "shop/deployer"}
    assert token not in f"{credential!r}{credential.facts}"
    assert await stage.connector.revoke(credential, stage.scope()) is False


async def test_audiences_are_asked_for(stage: Stage) -> None:
    """A token for another audience is none for the API server."""
    await stage.mint(audiences=["https://webhook.test"])
    with pytest.raises(NobodyError):
        stage.cluster.identify(f"Bearer {stage.cluster.tokens[0]}")


@pytest.mark.parametrize(
    "lifetime, seconds", [(300, 600), (900, 900), (3606, 3606), (3607, 3606), (3608, 3608), (7200, 7200)]
)
async def test_a_life_is_asked_for_that_the_server_takes_at_its_word(stage: Stage, lifetime: int, seconds: int) -> None:
    """Ten minutes at least; never the number that servers answer with a year. The rule's own life is what is used."""
    credential = await stage.mint(stage.request(timedelta(seconds=lifetime)))
    assert stage.cluster.requests[0]["spec"]["expirationSeconds"] == seconds
    assert credential.expires_at is not None
    assert credential.ends_at is not None
    assert abs((credential.expires_at - datetime.now(UTC)).total_seconds() - min(lifetime, seconds)) < 3
    assert abs((credential.ends_at - datetime.now(UTC)).total_seconds() - seconds) < 3


async def test_a_bound_token_is_taken_back(stage: Stage) -> None:
    """Bound to a Secret of its own; with that gone the cluster takes it no more. Twice is no fault."""
    assert isinstance(stage.connector, Revoking)
    credential = await stage.mint(revocable=True)
    (token,), (name,) = stage.cluster.tokens, stage.cluster.secrets
    assert credential.facts["secret"] == name
    assert stage.cluster.identify(f"Bearer {token}") == USER
    assert await stage.connector.revoke(credential, stage.scope(revocable=True)) is True
    with pytest.raises(NobodyError):
        stage.cluster.identify(f"Bearer {token}")
    assert await stage.connector.revoke(credential, stage.scope(revocable=True)) is True


async def test_a_secret_of_that_name_made_anew_is_not_deleted(stage: Stage) -> None:
    """Only the very Secret that the token is bound to; what cannot be deleted is said."""
    credential = await stage.mint(revocable=True)
    stage.cluster.secrets = dict.fromkeys(stage.cluster.secrets, "another")
    with pytest.raises(CredentialError, match="not taken back, status 409"):
        await stage.connector.revoke(credential, stage.scope(revocable=True))
    assert len(stage.cluster.secrets) == 1


async def test_a_binding_whose_token_is_refused_goes_too(stage: Stage) -> None:
    """Nothing is left behind in the cluster."""
    said, reason = await stage.refusal(revocable=True, service_account="absent")
    assert "there is no such service account" in said
    assert (reason, stage.cluster.secrets) == (DENIED, {})
    stage.cluster.may.discard((OWN, "DELETE", "secrets", "shop"))
    assert (await stage.refusal(revocable=True, service_account="absent"))[1] is DENIED
    assert len(stage.cluster.secrets) == 1


FORBIDDEN: list[Any] = [
    ({"service_account": "absent"}, "there is no such service account, status 404"),
    ({"namespace": "other"}, "the sidecar may not `create` `serviceaccounts/token` there, status 403"),
    ({"namespace": "other", "revocable": True}, "the sidecar may not `create` `secrets` there, status 403"),
]


@pytest.mark.parametrize("given, told", FORBIDDEN)
async def test_what_the_cluster_refuses(stage: Stage, given: dict[str, Any], told: str) -> None:
    """The refusal says which right is missing."""
    said, reason = await stage.refusal(**given)
    assert told in said
    assert reason is DENIED


@pytest.mark.parametrize(
    "changes", [{"exp": 1_700_000_000}, {"aud": ["https://other.test"]}, {"iss": "https://e.test"}]
)
async def test_an_own_token_that_is_not_accepted(stage: Stage, changes: dict[str, Any]) -> None:
    """Expired, for somebody else, of another cluster: the sidecar is nobody there."""
    stage.write_own(stage.cluster.token_for("ci", "jobgate", 600, **changes))
    assert await stage.refusal() == ("Kubernetes: the sidecar's own token is not accepted, status 401", DENIED)


async def test_an_own_token_is_read_each_time(stage: Stage) -> None:
    """The kubelet renews it in its file."""
    stage.write_own("nonsense")
    assert (await stage.refusal())[1] is DENIED
    stage.write_own(stage.cluster.token_for("ci", "jobgate", 600) + "\n")
    assert await stage.mint()


WIDER: list[Any] = [
    ({"sub": "system:serviceaccount:kube-system:admin"}, "is not the service account's"),
    ({"sub": ...}, "is not the service account's"),
    ({"aud": [ISSUER, "https://other.test"]}, "for other audiences"),
    ({"aud": "https://other.test"}, "for other audiences"),
    ({"aud": []}, "for other audiences"),
    ({"exp": 1 << 33}, "lives longer than was asked for"),
]


@pytest.mark.parametrize("changes, told", WIDER)
async def test_a_token_that_is_wider_is_not_used(stage: Stage, changes: dict[str, Any], told: str) -> None:
    """Another account's, for more audiences, for a century: refused, and its binding gone."""
    own = (stage.folder / "own").read_text()
    stage.cluster.changes = lambda claims: {
        name: value for name, value in (claims | changes).items() if value is not ...
    }
    said, reason = await stage.refusal(audiences=[ISSUER], revocable=True)
    assert told in said
    assert (reason, stage.cluster.secrets) == (MAYBE, {})
    assert stage.cluster.identify(f"Bearer {own}") == OWN


def answer(**status: Any) -> bytes:
    return json.dumps({"status": status}).encode()


SOON = (datetime.now(UTC) + timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%SZ")
FAILING: list[Any] = [
    (500, b"", MAYBE, "status 500"),
    (503, b"", MAYBE, "status 503"),
    (429, b"", MAYBE, "status 429"),
    (302, b"", DENIED, "status 302"),
    (422, b"{}", DENIED, "does not make such a token, status 422"),
    (200, b"{}", DENIED, "status 200"),
    (201, b"<html>", MAYBE, "no JSON object"),
    (201, b"{}", MAYBE, "holds no token"),
    (201, answer(token="", expirationTimestamp=SOON), MAYBE, "no usable token"),
    (201, answer(token="a b", expirationTimestamp=SOON), MAYBE, "no usable token"),
    (201, answer(token="a.b.c"), MAYBE, "expirationTimestamp is not a time"),
    (201, answer(token="opaque", expirationTimestamp=SOON), MAYBE, "not a service account's"),
    (201, answer(token="a.b.c", expirationTimestamp=SOON), MAYBE, "not a service account's"),
    (201, answer(token="a.bbbbb.c", expirationTimestamp=SOON), MAYBE, "not a service account's"),
]


@pytest.mark.parametrize("status, body, reason, told", FAILING, ids=range(len(FAILING)))  # bodies tell the time
async def test_a_cluster_that_fails(stage: Stage, status: int, body: bytes, reason: Reason, told: str) -> None:
    """Down, throttled, redirecting, garbled: the reason, and nothing of the answer."""
    stage.cluster.instead = [Instead(path="/token", status=status, body=body, headers={"Location": "https://e.test"})]
    said, found = await stage.refusal()
    assert told in said
    assert found is reason


@pytest.mark.parametrize(
    "claims, told",
    [({"exp": 0}, "does not say when"), ({"exp": "soon"}, "does not say when"), ({"exp": 2**32}, "another time")],
)
async def test_an_end_that_is_told_twice_is_told_alike(stage: Stage, claims: dict[str, Any], told: str) -> None:
    """A token that ends at another time than the answer says is believed in neither."""
    token = stage.cluster.sign({"sub": USER, "aud": [ISSUER]} | claims)
    stage.cluster.instead = [Instead(path="/token", status=201, body=answer(token=token, expirationTimestamp=SOON))]
    assert told in (await stage.refusal())[0]


@pytest.mark.parametrize(
    "metadata", [None, {}, {"name": "x"}, {"name": "jobgate-a/../b", "uid": "u"}, {"name": "jobgate-a", "uid": ""}]
)
async def test_a_binding_without_a_plain_name_is_none(stage: Stage, metadata: object) -> None:
    """It goes into a path later."""
    body = json.dumps({"metadata": metadata}).encode()
    stage.cluster.instead = [Instead(path="/secrets", status=201, body=body)]
    assert await stage.refusal(revocable=True) == ("Kubernetes: the Secret that was made has no name", MAYBE)


async def test_an_eks_token(stage: Stage) -> None:
    """The cluster asks STS, which says the role; the keys stay here, and are good for nothing else."""
    credential = await stage.mint(eks={})
    sent = stage.put(credential, eks={})
    assert sent.startswith("Bearer k8s-aws-v1.")
    assert stage.cluster.identify(sent) == "shop-deployers"
    assert stage.cluster.requests == []
    assert credential.secrets["secret_key"].reveal() not in sent
    (asked,) = stage.sts.asked
    (statement,) = json.loads(asked["Policy"])["Statement"]
    assert (statement["Effect"], statement["Action"]) == ("Allow", ["sts:GetCallerIdentity"])
    assert credential.facts["cluster"] == "storefront"
    assert credential.facts["role"] == ROLE
    assert await stage.connector.revoke(credential, stage.scope(eks={})) is False


async def test_an_eks_token_is_for_one_cluster(stage: Stage) -> None:
    """A cluster of another name asks STS under its own, and learns nothing."""
    credential = await stage.mint(eks={})
    stage.cluster.name = "other"
    with pytest.raises(NobodyError):
        stage.cluster.identify(stage.put(credential, eks={}))


async def test_sts_refuses_another_pipeline(stage: Stage) -> None:
    """The role's trust policy is STS's to apply."""
    said, reason = await stage.refusal(stage.request(pipeline_slug="other"), eks={})
    assert (said, reason) == ("STS: AccessDenied", DENIED)


async def test_a_clock_that_is_off_is_made_up_for(stage: Stage) -> None:
    """Ten minutes off AWS's time, the token is signed by AWS's."""
    stage.connector._parts.clock.ahead = timedelta(minutes=-10)  # type: ignore[attr-defined]
    credential = await stage.mint(stage.request(), eks={})
    assert 590 < int(credential.facts["clock_offset"]) < 610
    assert stage.cluster.identify(stage.put(credential, eks={})) == "shop-deployers"


def refusal(asked: RequestView, *lines: str, spoken: str = "k8s", **given: Any) -> str | None:
    """Why the token is not put on a request; None when it is."""
    intent = decode(asked, frozenset({spoken}))
    assert isinstance(intent, Intent)
    made = KubernetesConnector(ConnectorParts(caller=Outbound(ssl.create_default_context()), clock=WallClock()))
    try:
        assert made.plan(asked, intent, scope(intents=list(lines), **given)) == PLAIN
    except CredentialError as error:
        return str(error) if error.reason is SCOPE else repr(error.reason)
    return None


@pytest.mark.parametrize(
    "path, method",
    [
        ("/api/v1/namespaces/shop/pods", "GET"),
        ("/api/v1/namespaces/shop/secrets/db", "GET"),
        ("/apis/apps/v1/namespaces/shop/deployments/shop", "PATCH"),
        ("/apis/rbac.authorization.k8s.io/v1/namespaces/shop/rolebindings/x", "DELETE"),
        ("/version", "GET"),
    ],
)
def test_objects_are_what_a_token_is_for(path: str, method: str) -> None:
    """Whether the job may do it is the rule's matter, and RBAC's."""
    assert refusal(view(path, method)) is None


@pytest.mark.parametrize(
    "more", [{"authority": Authority("other.test", 443)}, {"authority": Authority(HOST, 6443)}, {"scheme": "http"}]
)
def test_a_token_goes_to_its_cluster_alone(more: dict[str, Any]) -> None:
    """Another host, another port and plain HTTP see none."""
    assert "goes nowhere else" in str(refusal(view(**more)))


GUARDED: list[Any] = [
    ("/api/v1/namespaces/shop/serviceaccounts/deployer/token", "create:core/serviceaccounts/token", "shop/deployer"),
    (
        "/apis/certificates.k8s.io/v1/certificatesigningrequests/x",
        "create:certificates.k8s.io/certificatesigningrequests",
        "-/x",
    ),
]


@pytest.mark.parametrize("path, action, where", GUARDED)
def test_what_makes_a_credential_must_be_named(path: str, action: str, where: str) -> None:
    """No wildcard means a further token or certificate, which outlives the session."""
    asked = view(path, "POST")
    vague = ("k8s * **", f"k8s * {HOST}/**", f"k8s credential {HOST}/**", f"vault {action} {HOST}/{where}")
    assert refusal(asked, *vague) == f"kubernetes: {action} needs an `intent` line of the rule that names it"
    assert refusal(asked, *vague, f"k8s {action} {HOST}/{where}") is None


def test_acting_as_somebody_else_must_be_named() -> None:
    """Impersonation is what the cluster lets an account do, and a rule says of whom."""
    asked = view(headers=(("impersonate-user", "admin"),))
    assert "impersonate:users needs" in str(refusal(asked, f"k8s * {HOST}/**"))
    assert "impersonate:users needs" in str(refusal(asked, f"k8s impersonate:users {HOST}/-/robot"))
    assert refusal(asked, f"k8s impersonate:users {HOST}/-/admin") is None


@pytest.mark.parametrize("path, method, spoken", [("/healthz", "POST", "k8s"), ("/api/v1/pods", "GET", "http")])
def test_what_is_not_read_as_the_api_gets_no_token(path: str, method: str, spoken: str) -> None:
    """A rule set that never says `k8s` of the host; a change to what nobody knows."""
    assert "name `k8s`" in str(refusal(view(path, method), spoken=spoken))


BROKEN: list[Any] = [
    {"server": "http://cluster.test"},
    {"server": "https://cluster.test/api"},
    {"server": "https://0x7f.1"},
    {"namespace": "shop/serviceaccounts"},
    {"namespace": "Shop"},
    {"service_account": "../deployer"},
    {"service_account": "a?b"},
    {"audiences": [""]},
    {"audiences": ["a b"]},
    {"own_token": "inline"},
    {"surprise": 1},
    {"eks": {"cluster": "a/b"}},
    {"eks": {"cluster": "a\r\nx: y"}},
    {"eks": {"role": "arn:aws:iam::1:role/x"}},
    {"eks": {"region": "evil.test/"}},
    {"eks": {"external_id": "jobgate:1"}},
]


@pytest.mark.parametrize("given", BROKEN, ids=str)
def test_a_scope_is_checked_when_the_rule_is_read(given: dict[str, Any]) -> None:
    """Names that climb, hosts that are none, and secrets written into the rule."""
    with pytest.raises(ValidationError):
        scope(**given)


def test_a_scope_has_one_source() -> None:
    """Both, or neither, would be a guess."""
    both = {"namespace": "shop", "service_account": "deployer", "own_token": {"file": "/x"}}
    for given in ({}, {"token": both, "eks": EKS}):
        with pytest.raises(ValidationError, match="exactly one of"):
            KubernetesScope.model_validate({"server": f"https://{HOST}", **given})
