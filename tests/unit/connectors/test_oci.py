"""Which rights a request needs of which repository, whose realm is believed, and what ECR's policy says."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.connectors.oci import OciConnector, OciScope, scopes_of
from proxy.connectors.oci_realms import Realm, RealmAsk, ask_realm, find_realm
from proxy.connectors.parts import ConnectorParts
from proxy.intents.registry import decode
from proxy.model.authority import Authority, parse_authority
from proxy.model.errors import CredentialError
from proxy.model.grant import Credential, Grant, HeldToken, MintRequest, Need, Secret
from proxy.model.intent import Intent, RequestView
from proxy.model.reason import Reason
from proxy.outbound import Answer, Call
from tests.fakes.clock import FixedClock

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
ROLE = "arn:aws:iam::123456789012:role/images"
DIGEST = f"sha256:{'a' * 64}"
REGISTRY = Authority("registry.test", 443)
BEARER = 'Bearer realm="https://registry.test/token",service="registry.test"'


@dataclass(slots=True)
class Script:
    """Answers calls in turn, and keeps them."""

    answers: list[Answer] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    async def call(self, call: Call) -> Answer:
        self.calls.append(call)
        return self.answers.pop(0)


def said(status: int, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status=status, headers=headers or {}, body=content)


def scope(**given: Any) -> OciScope:
    return OciScope.model_validate({"registry": "registry.test", "anonymous": True} | given)


def connector(script: Script | None = None) -> OciConnector:
    return OciConnector(ConnectorParts(caller=script or Script(), clock=FixedClock(NOW)))


def view(path: str, method: str = "GET", query: str | None = None, host: str = "registry.test") -> RequestView:
    return RequestView(
        method=method, scheme="https", authority=parse_authority(host, 443), path=path, query=query, headers=()
    )


def need(asked: RequestView, given: OciScope | None = None) -> Need:
    found = decode(asked, frozenset({"oci"}))
    assert isinstance(found, Intent)
    return connector().plan(asked, found, given or scope()).need


@pytest.mark.parametrize(
    "asked, expected",
    [
        (view("/v2/"), ()),
        (view("/v2/_catalog"), (("catalog", "*"),)),
        (view("/v2/acme/app/manifests/v1"), (("acme/app", "pull"),)),
        (view(f"/v2/acme/app/blobs/{DIGEST}", "HEAD"), (("acme/app", "pull"),)),
        (view("/v2/acme/app/tags/list"), (("acme/app", "pull"),)),
        (view("/v2/acme/app/blobs/uploads/", "POST"), (("acme/app", "pull,push"),)),
        (view(f"/v2/acme/app/manifests/{DIGEST}", "DELETE"), (("acme/app", "delete"),)),
        (
            view("/v2/acme/app/blobs/uploads/", "POST", f"mount={DIGEST}&from=acme/base"),
            (("acme/app", "pull,push"), ("acme/base", "pull")),
        ),
    ],
)
def test_a_request_needs_no_more_than_it_does(asked: RequestView, expected: Need) -> None:
    """Rights per repository, sorted; the base of an API needs none."""
    assert need(asked) == expected


def test_scopes_are_written_as_the_specification_has_them() -> None:
    """One text per repository; the catalog is the registry's own."""
    assert scopes_of((("acme/app", "pull,push"), ("catalog", "*"))) == (
        "repository:acme/app:pull,push",
        "registry:catalog:*",
    )


@pytest.mark.parametrize(
    "asked, told",
    [
        (view("/v2/", host="other.test"), "goes nowhere else"),
        (view("/v2/", host="registry.test:5000"), "goes nowhere else"),
        (view("/token", query="scope=repository:acme/app:pull"), "jobgate's to get"),
        (view("/v2/acme/app/blobs/uploads/", "POST", f"mount={DIGEST}"), "none that registries are known for"),
        (view("/v3/other"), "none that registries are known for"),
    ],
)
def test_what_the_credential_is_not_for(asked: RequestView, told: str) -> None:
    """Another host or port, tokens for the job itself, a mount from anywhere, what is not read."""
    found = decode(asked, frozenset({"oci"}))
    assert isinstance(found, Intent)
    with pytest.raises(CredentialError, match=told) as caught:
        connector().plan(asked, found, scope())
    assert caught.value.reason is Reason.CREDENTIAL_SCOPE


def test_plain_http_gets_no_credential() -> None:
    """A registry without TLS is nobody's."""
    asked = RequestView(method="GET", scheme="http", authority=REGISTRY, path="/v2/", query=None, headers=())
    found = decode(asked, frozenset({"oci"}))
    assert isinstance(found, Intent)
    with pytest.raises(CredentialError, match="goes nowhere else"):
        connector().plan(asked, found, scope())


UUID = "11111111-2222-3333-4444-555555555555"
POOL = "projects/1/locations/global/workloadIdentityPools/jobs/providers/buildkite"
LOGIN = {"username": "ci", "password": {"file": "/run/x"}}


@pytest.mark.parametrize(
    "given, told",
    [
        ({"anonymous": None}, "exactly one of"),
        ({"login": LOGIN}, "exactly one of"),
        ({"service": "x"}, "goes with `realm`"),
        ({"realm": "http://auth.test/token"}, "realm"),
        ({"realm": "https://a:b/token"}, "authority refused"),
        ({"registry": "a b"}, "registry"),
        ({"registry": "a:b"}, "authority refused"),
        ({"anonymous": None, "ecr": {"role": ROLE}}, "needs a registry such as"),
        ({"anonymous": None, "azure": {"tenant": UUID, "client_id": UUID}}, "ends in .azurecr.io"),
        ({"anonymous": None, "gcp": {"provider": POOL}}, "ends in -docker.pkg.dev"),
        ({"anonymous": None, "ecr": {"role": ROLE}, "registry": ECR, "realm": "https://a.test/"}, "know their realm"),
        ({"anonymous": None, "ecr": {"role": ROLE, "external_id": "ab"}, "registry": ECR}, "source: sidecar"),
    ],
)
def test_a_block_that_cannot_be_meant(given: dict[str, Any], told: str) -> None:
    """Two ways to a token or none, a service without a realm, an ECR role for another registry."""
    with pytest.raises(ValidationError, match=told):
        scope(**given)


async def test_a_vendors_realm_is_known() -> None:
    """Docker Hub's and GitLab's are on other hosts; the registry is not asked."""
    script = Script()
    found = await find_realm(script, Authority("registry-1.docker.io", 443), None)
    assert found == Realm(url="https://auth.docker.io/token", service="registry.docker.io")
    assert script.calls == []


async def test_a_realm_on_the_registrys_own_host_is_believed() -> None:
    """What its challenge says, where that leads to the same host."""
    script = Script([said(401, headers={"www-authenticate": f'{BEARER},scope="x"'})])
    assert await find_realm(script, REGISTRY, None) == Realm(url="https://registry.test/token", service="registry.test")
    assert [call.url for call in script.calls] == ["https://registry.test:443/v2/"]


async def test_a_stated_realm_needs_only_its_service() -> None:
    """Written in the rule it is used; what it calls the registry may come from the challenge."""
    stated = Realm(url="https://auth.test/token", service=None)
    script = Script([said(401, headers={"www-authenticate": BEARER.replace("registry.test/token", "evil.test/t")})])
    assert await find_realm(script, REGISTRY, stated) == Realm(url=stated.url, service="registry.test")
    whole = Realm(url="https://auth.test/token", service="s")
    assert await find_realm(Script(), REGISTRY, whole) == whole


@pytest.mark.parametrize(
    "challenge",
    [
        "",
        'Basic realm="x"',
        "Bearer",
        'Bearer realm="http://registry.test/token"',
        'Bearer realm="https://evil.test/token"',
        'Bearer realm="https://registry.test.evil.test/token"',
        'Bearer realm="https://registry.test@evil.test/token"',
        'Bearer realm="https://user@registry.test/token"',
        'Bearer realm="https://registry.test/token?x=y"',
        'Bearer realm="https://registry.test/to ken"',
        'Bearer realm="https://[::/token"',
        'Bearer realm="https://registry.test/a",realm="https://registry.test/b"',
        "Bearer realm=https://registry.test/token",
    ],
)
async def test_a_realm_somewhere_else_is_not_believed(challenge: str) -> None:
    """Nor one that is spelled oddly, said twice, or not said."""
    with pytest.raises(CredentialError) as caught:
        await find_realm(Script([said(401, headers={"www-authenticate": challenge})]), REGISTRY, None)
    assert caught.value.reason is Reason.CREDENTIAL_REFUSED


async def test_a_registry_that_wants_no_token_has_no_realm() -> None:
    """It answers 200: there is nothing to buy, and the rule is wrong."""
    with pytest.raises(CredentialError, match="names no realm"):
        await find_realm(Script([said(200, {})]), REGISTRY, None)


def jwt_for(access: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps({"access": access}).encode()).decode().rstrip("=")
    return f"e30.{body}.c2ln"


@pytest.mark.parametrize("token", ["opaque", "a.b", "a.b.c", "a.e30.c", "a.W10.c", jwt_for(None)])
async def test_a_token_that_says_nothing_is_taken_as_it_is(token: str) -> None:
    """Not every realm's token can be read; the specification's sixty seconds are its life."""
    script = Script([said(200, {"access_token": token})])
    ask = RealmAsk(realm=Realm(url="https://auth.test/token", service=None), scopes=())
    found, life = await ask_realm(script, ask)
    assert (found.reveal(), life) == (token, timedelta(seconds=60))
    assert script.calls[0].url == "https://auth.test/token"


async def test_rights_without_any_are_no_rights() -> None:
    """`actions` may be null where nothing is given: that is less than was asked."""
    script = Script([said(200, {"token": jwt_for([{"type": "repository", "name": "a", "actions": None}])})])
    with pytest.raises(CredentialError, match="does not give"):
        await ask_realm(
            script, RealmAsk(realm=Realm(url="https://auth.test/token", service="s"), scopes=("repository:a:pull",))
        )


def keys(**changes: str) -> Answer:
    parts = {"AccessKeyId": "ASIAX", "SecretAccessKey": "sts-secret", "SessionToken": "sts-token"}
    parts |= {"Expiration": "2030-01-01T01:00:00Z"} | changes
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in parts.items())
    return Answer(status=200, headers={}, body=f"<R><Credentials>{inner}</Credentials></R>".encode())


def password(token: object = None, ends: object = 1_893_459_000.5, **more: object) -> Answer:
    pair = base64.b64encode(b"AWS:planted-password").decode() if token is None else token
    return said(200, {"authorizationData": [{"authorizationToken": pair, "expiresAt": ends, **more}]})


async def buy(script: Script, wanted: Need = (), **given: Any) -> Credential:
    made = scope(registry=ECR, anonymous=None, ecr={"role": ROLE, **given})
    held = HeldToken(audience="sts.amazonaws.com", token=Secret("t"), expires_at=NOW + timedelta(minutes=5))
    grant = Grant(connector="oci", scope={}, lifetime=timedelta(minutes=15), key="k")
    asked = MintRequest(grant=grant, session_id="s", labels={}, tokens={held.audience: held}, need=wanted)
    return await connector(script).mint(asked, made)


async def test_ecr_gives_a_password_that_can_do_what_is_needed() -> None:
    """The role's keys get a policy of the needed actions on the needed repositories; they never leave jobgate."""
    script = Script([keys(), password()])
    credential = await buy(script, (("acme/app", "pull,push"),))
    policy = script.calls[0].body.decode()
    assert "ecr%3AGetAuthorizationToken" in policy
    assert "ecr%3APutImage" in policy
    assert "arn%3Aaws%3Aecr%3Aeu-west-1%3A123456789012%3Arepository%2Facme%2Fapp" in policy
    assert "BatchDeleteImage" not in policy
    assert script.calls[1].url == "https://api.ecr.eu-west-1.amazonaws.com/"
    assert json.loads(script.calls[1].body) == {"registryIds": ["123456789012"]}
    assert credential.expires_at == NOW + timedelta(minutes=15)
    assert credential.ends_at == datetime.fromtimestamp(1_893_459_000.5, UTC)
    made = scope(registry=ECR, anonymous=None, ecr={"role": ROLE})
    edits = connector().apply(view("/v2/", host=ECR), made, credential, None)
    assert [value.reveal() for _, value in edits.put if isinstance(value, Secret)] == [
        "Basic " + base64.b64encode(b"AWS:planted-password").decode()
    ]
    assert "planted" not in repr(credential)
    assert "planted" not in repr(edits)


@pytest.mark.parametrize(
    "answer, reason, told",
    [
        (said(400, {"__type": "AccessDeniedException"}), Reason.CREDENTIAL_REFUSED, "status 400"),
        (said(429, {}), Reason.CREDENTIAL_UNAVAILABLE, "status 429"),
        (said(500, {}), Reason.CREDENTIAL_UNAVAILABLE, "status 500"),
        (said(200, {}), Reason.CREDENTIAL_UNAVAILABLE, "holds no credential"),
        (said(200, {"authorizationData": [{}, {}]}), Reason.CREDENTIAL_UNAVAILABLE, "holds no credential"),
        (password("!"), Reason.CREDENTIAL_UNAVAILABLE, "no usable credential"),
        (password(7), Reason.CREDENTIAL_UNAVAILABLE, "no usable credential"),
        (password(base64.b64encode(b"ME:x").decode()), Reason.CREDENTIAL_UNAVAILABLE, "no usable credential"),
        (password(base64.b64encode(b"AWS:").decode()), Reason.CREDENTIAL_UNAVAILABLE, "no usable credential"),
        (password(ends="soon"), Reason.CREDENTIAL_UNAVAILABLE, "no usable credential"),
        (password(ends=True), Reason.CREDENTIAL_UNAVAILABLE, "no usable credential"),
        (password(ends=1e300), Reason.CREDENTIAL_UNAVAILABLE, "no usable credential"),
        (password(base64.b64encode(b"AWS:a\nb").decode()), Reason.CREDENTIAL_UNAVAILABLE, "more than one line"),
    ],
)
async def test_an_ecr_that_says_something_else(answer: Answer, reason: Reason, told: str) -> None:
    """No password, and why."""
    with pytest.raises(CredentialError, match=told) as caught:
        await buy(Script([keys(), answer]))
    assert caught.value.reason is reason


async def test_ecr_lists_no_repositories() -> None:
    """There is no such right in its Docker API; STS is not asked."""
    script = Script()
    with pytest.raises(CredentialError, match="lists no repositories"):
        await buy(script, (("catalog", "*"),))
    assert script.calls == []
