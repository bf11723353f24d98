"""The fake Google, Entra, OAuth server, registries and realm refuse what the real ones refuse.

Each table begins with what is right; every other row changes one thing of it, and must be refused.
"""

import http.client
import json
import ssl
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest

from proxy.demo.tls import StageRoot
from proxy.demo.web import Site
from tests.fakes import authorization, entra, google, publishing, realm
from tests.fakes.keys import signing_key

ISSUER = "https://issuer.test"
KEY = signing_key("RS256", "job", bits=2048)
OTHER = signing_key("RS256", "other", bits=2048)
FORM = "application/x-www-form-urlencoded"
POOL = "projects/1/locations/global/workloadIdentityPools/p/providers/b"
GOOGLE_AUDIENCE = f"https://iam.googleapis.com/{POOL}"


def token(audience: str, key: Any = KEY, **claims: Any) -> str:
    now = int(time.time())
    told = {"iss": ISSUER, "sub": "job-1", "aud": audience, "exp": now + 300, "iat": now, "jti": uuid.uuid4().hex}
    return jwt.encode({**told, "pipeline_slug": "shop", **claims}, key.private, "RS256")


class Counterpart:
    """One fake at work, and a way to talk to it."""

    def __init__(self, folder: Path, make: Callable[[ssl.SSLContext, Path], Any]) -> None:
        self.root = StageRoot(folder)
        self.fake = make(self.root.server_side("fake", ("fake.test",)), folder)
        self.site: Site = self.fake.site
        self.site.start()

    def ask(self, method: str, host: str, path: str, body: object = None, **fields: str) -> tuple[int, Any]:
        """Send one request; a dict is sent as a form, a list of pairs too, anything else as JSON."""
        side = ssl.create_default_context(cafile=str(self.root.certificate))
        side.check_hostname = False
        is_form = isinstance(body, dict | list)
        text = urlencode(body) if is_form else body if isinstance(body, bytes) else json.dumps(body)  # type: ignore[arg-type]
        kind = {"Content-Type": FORM if is_form else "application/json"} if body is not None else {}
        connection = http.client.HTTPSConnection("127.0.0.1", self.site.port, context=side, timeout=10)
        named = {name.replace("_", "-"): value for name, value in fields.items() if value}
        connection.request(method, path, None if body is None else text, {"Host": host, **kind, **named})
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        return answer.status, json.loads(said) if said.startswith(b"{") else said


@pytest.fixture
def counterpart(tmp_path: Path) -> Iterator[Callable[[Callable[[ssl.SSLContext, Path], Any]], Counterpart]]:
    made: list[Counterpart] = []

    def start(make: Callable[[ssl.SSLContext, Path], Any]) -> Counterpart:
        made.append(Counterpart(tmp_path, make))
        return made[-1]

    yield start
    for each in made:
        each.site.stop()


type Start = Callable[[Callable[[ssl.SSLContext, Path], Any]], Counterpart]


def changed(right: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return a form with a change; `...` takes a field away."""
    return {name: value for name, value in {**right, **change}.items() if value is not ...}


def make_google(tls: ssl.SSLContext, _: Path) -> google.Google:
    made = google.Google(tls)
    made.providers[POOL] = (ISSUER, KEY.public, GOOGLE_AUDIENCE, {"pipeline_slug": "shop"})
    made.members["deployer@acme.test"] = "principal:shop"
    made.may = {("principal:shop", "bucket")}
    return made


EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS = "urn:ietf:params:oauth:token-type:access_token"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
GOOGLE_FORM = {
    "audience": f"//iam.googleapis.com/{POOL}",
    "grant_type": EXCHANGE,
    "requested_token_type": ACCESS,
    "scope": SCOPE,
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
}


@pytest.mark.parametrize(
    "change, subject, status",
    [
        ({}, {}, 200),
        ({"grant_type": "password"}, {}, 400),
        ({"requested_token_type": ...}, {}, 400),
        ({"scope": "openid"}, {}, 400),
        ({"scope": ...}, {}, 400),
        ({"audience": "//iam.googleapis.com/projects/2"}, {}, 400),
        ({"extra": "1"}, {}, 400),
        ({}, {"aud": "https://other.test"}, 400),
        ({}, {"iss": "https://other.test"}, 400),
        ({}, {"exp": 1}, 400),
        ({}, {"key": OTHER}, 400),
        ({}, {"pipeline_slug": "other"}, 400),
    ],
)
def test_google_exchanges_what_a_provider_trusts(
    counterpart: Start, change: dict[str, Any], subject: dict[str, Any], status: int
) -> None:
    """Grant, types, scope, provider, signature, issuer, audience, age and the provider's condition."""
    stage = counterpart(make_google)
    shown = token(**{"audience": GOOGLE_AUDIENCE, **subject})
    form = changed(GOOGLE_FORM | {"subject_token": shown}, change)
    assert stage.ask("POST", "sts.googleapis.com", "/v1/token", form)[0] == status
    assert stage.ask("POST", "sts.googleapis.com", "/v1/token", form, Authorization="Bearer x")[0] == 400
    assert stage.ask("POST", "sts.googleapis.com", "/v1/token", [*form.items(), ("grant_type", EXCHANGE)])[0] == 400


def test_google_binds_tokens_and_accounts(counterpart: Start) -> None:
    """A bounded token reaches its bucket by its methods; an account is impersonated by its member, an hour at most."""
    stage = counterpart(make_google)
    whole = stage.fake.grant("principal:shop", 600)
    rules = [
        {
            "availableResource": "//storage.googleapis.com/projects/_/buckets/bucket",
            "availablePermissions": ["inRole:roles/storage.objectViewer"],
        }
    ]
    form = {
        "grant_type": EXCHANGE,
        "requested_token_type": ACCESS,
        "subject_token_type": ACCESS,
        "subject_token": whole,
        "options": json.dumps({"accessBoundary": {"accessBoundaryRules": rules}}),
    }
    bounded = stage.ask("POST", "sts.googleapis.com", "/v1/token", form)[1]["access_token"]
    for method, bucket, status in (("GET", "bucket", 200), ("DELETE", "bucket", 403), ("GET", "other", 403)):
        path = f"/storage/v1/b/{bucket}/o/x"
        assert stage.ask(method, "storage.googleapis.com", path, Authorization=f"Bearer {bounded}")[0] == status
    assert stage.ask("GET", "storage.googleapis.com", "/storage/v1/b/bucket/o/x", Authorization="Bearer x")[0] == 401
    assert stage.ask("GET", "run.googleapis.com", "/v1/x", Authorization=f"Bearer {bounded}")[0] == 403
    place = "/v1/projects/-/serviceAccounts/deployer@acme.test:generateAccessToken"
    stranger = stage.fake.grant("principal:other", 600)
    for body, bearer, status in (
        ({"scope": [SCOPE], "lifetime": "900s"}, whole, 200),
        ({"scope": [SCOPE], "lifetime": "900s"}, "x", 401),
        ({"scope": [SCOPE], "lifetime": "900s"}, stranger, 403),
        ({"scope": [SCOPE], "lifetime": "3601s"}, whole, 400),
        ({"scope": ["openid"], "lifetime": "900s"}, whole, 400),
    ):
        sent = json.dumps(body).encode()
        assert (
            stage.ask("POST", "iamcredentials.googleapis.com", place, sent, Authorization=f"Bearer {bearer}")[0]
            == status
        )


def make_entra(tls: ssl.SSLContext, _: Path) -> entra.Entra:
    made = entra.Entra(tls)
    made.applications["tenant", "app"] = entra.Federated(issuer=ISSUER, key=KEY.public, subject="job-1")
    made.may = {("app", "acme.vault.azure.net")}
    return made


ENTRA_FORM = {
    "client_id": "app",
    "scope": "https://vault.azure.net/.default",
    "grant_type": "client_credentials",
    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
}


@pytest.mark.parametrize(
    "change, subject, path, status",
    [
        ({}, {}, "/tenant/oauth2/v2.0/token", 200),
        ({}, {}, "/other/oauth2/v2.0/token", 400),
        ({}, {}, "/tenant/oauth2/token", 400),
        ({"client_id": "other"}, {}, "/tenant/oauth2/v2.0/token", 400),
        ({"scope": "https://vault.azure.net/"}, {}, "/tenant/oauth2/v2.0/token", 400),
        ({"scope": "https://unknown.test/.default"}, {}, "/tenant/oauth2/v2.0/token", 400),
        ({"grant_type": "password"}, {}, "/tenant/oauth2/v2.0/token", 400),
        ({"client_assertion_type": "x"}, {}, "/tenant/oauth2/v2.0/token", 400),
        ({"client_secret": "x"}, {}, "/tenant/oauth2/v2.0/token", 400),
        ({}, {"sub": "job-2"}, "/tenant/oauth2/v2.0/token", 401),
        ({}, {"aud": "https://other.test"}, "/tenant/oauth2/v2.0/token", 401),
        ({}, {"iss": "https://other.test"}, "/tenant/oauth2/v2.0/token", 401),
        ({}, {"exp": 1}, "/tenant/oauth2/v2.0/token", 401),
        ({}, {"key": OTHER}, "/tenant/oauth2/v2.0/token", 401),
    ],
)
def test_entra_takes_the_assertion_of_a_federated_credential(
    counterpart: Start, change: dict[str, Any], subject: dict[str, Any], path: str, status: int
) -> None:
    """Tenant, application, resource, subject, issuer, audience, signature and age; and a token is for one service."""
    stage = counterpart(make_entra)
    shown = token(**{"audience": "api://AzureADTokenExchange", **subject})
    answer = stage.ask("POST", entra.LOGIN, path, changed(ENTRA_FORM | {"client_assertion": shown}, change))
    assert answer[0] == status
    if status == 200:
        bearer = f"Bearer {answer[1]['access_token']}"
        assert stage.ask("GET", "acme.vault.azure.net", "/secrets", Authorization=bearer)[0] == 200
        assert stage.ask("GET", "management.azure.com", "/x", Authorization=bearer)[0] == 401
        assert stage.ask("GET", "acme.vault.azure.net", "/secrets", Authorization="Bearer x")[0] == 401


def make_authorization(tls: ssl.SSLContext, _: Path) -> authorization.AuthorizationServer:
    made = authorization.AuthorizationServer(tls)
    made.secrets["ci"], made.keys["signer"] = "secret", KEY.public
    made.scopes = {"ci": {"read"}, "signer": {"read"}}
    made.refresh_tokens["refresh"] = "ci"
    return made


def basic(name: str, password: str) -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


CREDENTIALS = {"grant_type": "client_credentials"}


@pytest.mark.parametrize(
    "form, header, status",
    [
        (CREDENTIALS, basic("ci", "secret"), 200),
        ({**CREDENTIALS, "scope": "read", "resource": "https://api.test"}, basic("ci", "secret"), 200),
        ({**CREDENTIALS, "client_id": "ci", "client_secret": "secret"}, "", 200),
        ({"grant_type": "refresh_token", "refresh_token": "refresh"}, basic("ci", "secret"), 200),
        (CREDENTIALS, basic("ci", "wrong"), 401),
        (CREDENTIALS, basic("other", "secret"), 401),
        (CREDENTIALS, "", 401),
        ({**CREDENTIALS, "client_id": "ci", "client_secret": "wrong"}, "", 401),
        ({**CREDENTIALS, "client_id": "ci", "client_secret": "secret"}, basic("ci", "secret"), 400),
        ({"grant_type": "password"}, basic("ci", "secret"), 400),
        ({**CREDENTIALS, "scope": "read admin"}, basic("ci", "secret"), 400),
        ({**CREDENTIALS, "resource": "https://other.test"}, basic("ci", "secret"), 400),
        ({"grant_type": "refresh_token", "refresh_token": "other"}, basic("ci", "secret"), 400),
    ],
)
def test_an_authorization_server_knows_its_clients(
    counterpart: Start, form: dict[str, str], header: str, status: int
) -> None:
    """One way to say who it is, the right secret, its own scopes and refresh tokens (RFC 6749)."""
    stage = counterpart(make_authorization)
    assert stage.ask("POST", "login.test", "/token", form, Authorization=header)[0] == status
    assert (
        stage.ask("POST", "login.test", "/token", [*form.items(), ("grant_type", "x")], Authorization=header)[0] == 400
    )


def test_an_assertion_is_the_clients_own_short_and_good_once(counterpart: Start) -> None:
    """RFC 7523: issuer and subject are the client, the audience is the endpoint, five minutes, one use."""
    stage = counterpart(make_authorization)

    def ask(**claims: Any) -> int:
        now = int(time.time())
        own = {"iss": "signer", "sub": "signer", "iat": now, "exp": now + 60}
        shown = claims.pop("shown", None) or token(**{"audience": authorization.URL, **own, **claims})
        kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        form = {**CREDENTIALS, "client_id": "signer", "client_assertion": shown, "client_assertion_type": kind}
        return stage.ask("POST", "login.test", "/token", form)[0]

    now = int(time.time())
    once = token(audience=authorization.URL, iss="signer", sub="signer", iat=now, exp=now + 60)
    assert [ask(shown=once), ask(shown=once)] == [200, 401]
    assert ask() == 200
    for wrong in (
        {"sub": "ci"},
        {"iss": "ci"},
        {"aud": "https://x.test"},
        {"exp": now + 900},
        {"exp": 1},
        {"key": OTHER},
    ):
        assert ask(**wrong) == 401


def make_registries(tls: ssl.SSLContext, _: Path) -> publishing.Registries:
    made = publishing.Registries(tls, ISSUER, KEY.public)
    for kind, package in (("pypi", "ours"), ("npm", "ours"), ("crates", "ours"), ("rubygems", "acme-lib")):
        made.publishers.append(publishing.Publisher(kind=kind, package=package, claims={"pipeline_slug": "shop"}))
    return made


def buy(stage: Counterpart, kind: str, shown: str) -> tuple[int, Any]:
    """Exchange a job's token at a registry, as its documents say."""
    match kind:
        case "pypi":
            return stage.ask("POST", "pypi.org", "/_/oidc/mint-token", json.dumps({"token": shown}).encode())
        case "npm":
            path = "/-/npm/v1/oidc/token/exchange/package/ours"
            return stage.ask("POST", "registry.npmjs.org", path, Authorization=f"Bearer {shown}")
        case "crates":
            path = "/api/v1/trusted_publishing/tokens"
            return stage.ask("POST", "crates.io", path, json.dumps({"jwt": shown}).encode())
        case _:
            path = "/api/v1/oidc/trusted_publisher/exchange_token"
            return stage.ask("POST", "rubygems.org", path, json.dumps({"jwt": shown}).encode())


@pytest.mark.parametrize("kind", ["pypi", "npm", "crates", "rubygems"])
def test_registries_trust_publishers_and_no_others(counterpart: Start, kind: str) -> None:
    """Signature, issuer, audience, age and claims; PyPI and crates.io take a token once."""
    stage = counterpart(make_registries)
    audience = publishing.AUDIENCES[kind]
    shown = token(audience)
    assert buy(stage, kind, shown)[0] in {200, 201}
    assert buy(stage, kind, shown)[0] == (422 if kind in {"pypi", "crates"} else 201)
    for wrong in ({"aud": "x"}, {"iss": "https://other.test"}, {"exp": 1}, {"key": OTHER}, {"pipeline_slug": "other"}):
        shown = token(**{"audience": audience, **wrong})  # type: ignore[arg-type]
        assert buy(stage, kind, shown)[0] == 403


def test_a_publishing_token_is_for_one_package_and_one_registry(counterpart: Start) -> None:
    """Another package is 403; another registry's token, a stranger's, and one that has ended are 401."""
    stage = counterpart(make_registries)
    bought = {kind: stage.fake.buy(kind, token(publishing.AUDIENCES[kind])) for kind in ("npm", "crates")}
    old = stage.fake.buy("npm", token(publishing.AUDIENCES["npm"]), seconds=-1)
    for package, bearer, status in (
        ("ours", bought["npm"], 201),
        ("theirs", bought["npm"], 403),
        ("ours", bought["crates"], 401),
        ("ours", old, 401),
        ("ours", "x", 401),
    ):
        assert (
            stage.ask("PUT", "registry.npmjs.org", f"/{package}", b"{}", Authorization=f"Bearer {bearer}")[0] == status
        )


def make_realm(tls: ssl.SSLContext, folder: Path) -> realm.Realm:
    (folder / "signing").mkdir()
    made = realm.Realm(tls, *StageRoot(folder / "signing").issue("signing", ("signing.test",)))
    made.users, made.refresh_tokens = {"ci": "secret"}, {"refresh": "ci"}
    made.may = {("ci", "acme/app", "pull"), ("", "public/app", "pull")}
    return made


SCOPED = "/token?service=registry.test&scope=repository:acme/app:pull,push"


@pytest.mark.parametrize(
    "path, header, status, given",
    [
        (SCOPED, basic("ci", "secret"), 200, ["pull"]),
        (SCOPED, "", 200, []),
        (SCOPED, basic("ci", "wrong"), 401, None),
        (SCOPED, "Bearer x", 400, None),
        (SCOPED.replace("registry.test", "other.test"), basic("ci", "secret"), 400, None),
        (SCOPED.replace("/token", "/tokens"), basic("ci", "secret"), 400, None),
        (SCOPED.replace(":pull,push", ""), basic("ci", "secret"), 400, None),
        (f"{SCOPED}&admin=1", basic("ci", "secret"), 400, None),
    ],
)
def test_a_realm_gives_what_its_list_holds(
    counterpart: Start, path: str, header: str, status: int, given: list[str] | None
) -> None:
    """The right password or nobody's rights; service and scopes as the specification writes them."""
    stage = counterpart(make_realm)
    code, told = stage.ask("GET", "realm.test", path, Authorization=header)
    assert code == status
    if given is not None:
        claims = jwt.decode(told["token"], options={"verify_signature": False})
        assert claims["access"] == [{"type": "repository", "name": "acme/app", "actions": given}]


@pytest.mark.parametrize(
    "change, status",
    [
        ({}, 200),
        ({"refresh_token": "other"}, 401),
        ({"grant_type": "password"}, 400),
        ({"client_id": ...}, 400),
        ({"service": "other.test"}, 400),
    ],
)
def test_a_realm_takes_a_refresh_token_by_form(counterpart: Start, change: dict[str, Any], status: int) -> None:
    """OAuth2 Token Authentication: by POST, with a client id, and no other way at once."""
    stage = counterpart(make_realm)
    right = {
        "grant_type": "refresh_token",
        "refresh_token": "refresh",
        "client_id": "jobgate",
        "service": "registry.test",
    }
    form = changed(right | {"scope": "repository:acme/app:pull"}, change)
    assert stage.ask("POST", "realm.test", "/token", form)[0] == status
    assert stage.ask("POST", "realm.test", "/token", form, Authorization=basic("ci", "secret"))[0] == 400
