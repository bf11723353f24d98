"""What requests to Vault and OpenBao mean: never milder than what any engine mounted there would do."""

import pytest

from proxy.intents import vault
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import EffectClass, Headers, Intent, RequestView

SPOKEN = frozenset({"vault"})
NONE: frozenset[str] = frozenset()
HOST = "vault.example"
READ, LIST, WRITE, DELETE, ADMIN, EXECUTE, CREDENTIAL, UNKNOWN = (
    EffectClass.READ,
    EffectClass.LIST,
    EffectClass.WRITE,
    EffectClass.DELETE,
    EffectClass.ADMIN,
    EffectClass.EXECUTE,
    EffectClass.CREDENTIAL,
    EffectClass.UNKNOWN,
)


def ask(line: str, headers: Headers = (), host: str = HOST, spoken: frozenset[str] = SPOKEN) -> Intent | None:
    """Decode `METHOD /path?query`."""
    method, _, target = line.partition(" ")
    path, mark, query = target.partition("?")
    return vault.decode(
        RequestView(
            method=method,
            scheme="https",
            authority=Authority(host, 443),
            path=path,
            query=query if mark else None,
            headers=headers,
        ),
        spoken,
    )


def read(line: str, *headers: tuple[str, str]) -> Intent:
    found = ask(line, headers)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "line, action, effect",
    [
        # key-value, second version: what `vault kv` and `bao kv` send
        ("GET /v1/secret/data/app/db", "kv.get", CREDENTIAL),
        ("GET /v1/secret/data/app/db?version=2", "kv.get", CREDENTIAL),
        ("PUT /v1/secret/data/app/db", "kv.put", WRITE),
        ("POST /v1/secret/data/app/db", "kv.put", WRITE),
        ("PATCH /v1/secret/data/app/db", "kv.patch", WRITE),
        ("DELETE /v1/secret/data/app/db", "kv.remove", DELETE),
        ("GET /v1/secret/metadata/app?list=true", "kv.enumerate", LIST),
        ("LIST /v1/secret/metadata/app/", "kv.enumerate", LIST),
        ("GET /v1/secret/metadata/app/db", "kv.metadata.get", CREDENTIAL),
        ("POST /v1/secret/metadata/app/db", "kv.metadata.put", WRITE),
        ("DELETE /v1/secret/metadata/app/db", "kv.metadata.remove", DELETE),
        ("POST /v1/secret/delete/app/db", "kv.remove", DELETE),
        ("PUT /v1/secret/undelete/app/db", "kv.undelete", WRITE),
        ("PUT /v1/secret/destroy/app/db", "kv.destroy", DELETE),
        ("GET /v1/team/kv/data/app/config", "kv.get", CREDENTIAL),
        # anything else: the first version, other engines
        ("GET /v1/kv/app/db", "logical.get", CREDENTIAL),
        ("GET /v1/kv/app/config", "config.get", CREDENTIAL),
        ("GET /v1/kv/hash/x", "transit.hash.get", CREDENTIAL),
        ("GET /v1/kv/app?list=1", "logical.enumerate", LIST),
        ("POST /v1/kv/app/db", "logical.update", UNKNOWN),
        ("PATCH /v1/kv/app/db", "logical.patch", UNKNOWN),
        ("DELETE /v1/kv/app/db", "logical.remove", DELETE),
        ("GET /v1/database/creds/app", "creds.get", CREDENTIAL),
        ("PUT /v1/aws/sts/deploy", "creds", CREDENTIAL),
        ("PUT /v1/pki/issue/web", "pki.issue", CREDENTIAL),
        ("PUT /v1/ssh/sign/ci", "sign", CREDENTIAL),
        ("POST /v1/transit/encrypt/app", "transit.encrypt", EXECUTE),
        ("POST /v1/transit/decrypt/app", "transit.decrypt", EXECUTE),
        ("POST /v1/transit/keys/app", "keys", ADMIN),
        ("GET /v1/transit/keys?list=true", "keys.enumerate", LIST),
        ("DELETE /v1/pki/roles/web", "roles.remove", DELETE),
        ("POST /v1/database/config/main", "config", ADMIN),
        # logins and tokens
        ("PUT /v1/auth/jwt/login", "login", CREDENTIAL),
        ("POST /v1/auth/approle/login", "login", CREDENTIAL),
        ("POST /v1/auth/userpass/login/ada", "login", CREDENTIAL),
        ("POST /v1/auth/oidc/oidc/auth_url", "login", CREDENTIAL),
        ("POST /v1/auth/token/create", "token.create", CREDENTIAL),
        ("POST /v1/auth/token/create-orphan", "token.create", CREDENTIAL),
        ("PUT /v1/auth/token/renew-self", "token.renew", CREDENTIAL),
        ("GET /v1/auth/token/lookup-self", "token.lookup", READ),
        ("PUT /v1/auth/token/revoke-self", "token.revoke", DELETE),
        ("PUT /v1/auth/token/revoke", "token.revoke", ADMIN),
        ("PUT /v1/auth/token/roles/x", "auth.update", ADMIN),
        ("GET /v1/auth/token", "auth.get", ADMIN),
        ("PUT /v1/auth/approle/role/ci/secret-id", "approle.secret", CREDENTIAL),
        ("POST /v1/auth/jwt/role/ci", "auth.update", ADMIN),
        ("LIST /v1/auth/approle/role", "auth.enumerate", LIST),
        # the rest of what every Vault has
        ("GET /v1/sys/health", "sys.status", READ),
        ("GET /v1/sys/seal-status", "sys.status", READ),
        ("POST /v1/sys/capabilities-self", "sys.status", READ),
        ("GET /v1/sys/init", "sys.status", READ),
        ("PUT /v1/sys/init", "sys.update", ADMIN),
        ("GET /v1/sys/internal/ui/mounts/secret/app", "sys.status", READ),
        ("PUT /v1/sys/internal/ui/mounts/secret", "sys.update", ADMIN),
        ("GET /v1/sys/internal/counters/activity", "sys.get", ADMIN),
        ("PUT /v1/sys/policies/acl/x", "sys.update", ADMIN),
        ("GET /v1/sys/raw/x", "sys.get", ADMIN),
        ("GET /v1/sys/policies/acl?list=true", "sys.enumerate", LIST),
        ("PUT /v1/sys/seal", "sys.update", ADMIN),
        ("PUT /v1/sys/wrapping/unwrap", "unwrap", CREDENTIAL),
        ("PUT /v1/sys/wrapping/wrap", "wrap", CREDENTIAL),
        ("PUT /v1/sys/leases/renew", "lease.renew", CREDENTIAL),
        ("PUT /v1/sys/leases/revoke", "lease.revoke", DELETE),
        ("PUT /v1/sys/leases/revoke-prefix/aws", "lease.revoke", ADMIN),
        ("GET /v1/identity/oidc/token/ci", "identity.token", CREDENTIAL),
        ("GET /v1/identity/entity/id/x", "identity.get", READ),
        ("LIST /v1/identity/entity/id", "identity.enumerate", LIST),
        ("POST /v1/identity/entity", "identity.update", ADMIN),
        ("GET /v1/cubbyhole/x", "cubbyhole.get", CREDENTIAL),
        ("GET /v1/cubbyhole", "cubbyhole", CREDENTIAL),
        # a namespace in the path, or a secret that is called like it
        ("PUT /v1/team/auth/jwt/login", "login", CREDENTIAL),
        ("PUT /v1/team/a/b/sys/policies/acl/x", "sys.update", ADMIN),
        ("GET /v1/kv/sys/health", "sys.status", ADMIN),
        ("GET /v1/kv/auth/token/lookup", "token.lookup", ADMIN),
        ("LIST /v1/team/sys/mounts", "sys.enumerate", LIST),
        ("BREW /v1/secret/data/x", "unknown", UNKNOWN),
    ],
)
def test_requests(line: str, action: str, effect: EffectClass) -> None:
    """A capability on a path, called by what it does where that is known."""
    found = read(line)
    assert (found.name, found.effect) == (f"vault {action}", effect)
    path = line.split(" ")[1].partition("?")[0].removeprefix("/v1/").rstrip("/")
    assert found.resource.id == f"{HOST}/{path}"
    assert found.exact is not action.startswith(("logical.", "unknown"))


def test_a_namespace_is_part_of_the_path() -> None:
    """However it is spelled; the root namespace is none."""
    for value, where in (("team", "team/"), ("/team/a/", "team/a/"), ("", ""), ("root", ""), ("root/", "")):
        assert read("GET /v1/secret/data/x", ("x-vault-namespace", value)).resource.id == f"{HOST}/{where}secret/data/x"


def test_facts_and_overrides() -> None:
    """A wrapped answer is told; who overrides policies is an administrator."""
    found = read("GET /v1/auth/token/lookup-self", ("x-vault-wrap-ttl", "60"), ("x-vault-policy-override", "true"))
    assert found.facts == {"capability": "get", "wrap_ttl": "60"}
    assert found.effect is ADMIN


@pytest.mark.parametrize(
    "line, headers",
    [
        ("GET /v1/secret/data/a%2Fb", ()),
        ("GET /v1/secret/../sys/raw", ()),
        ("GET /v1/secret//x", ()),
        ("GET /v1/secret/+/x", ()),
        ("GET /v1/secret/*", ()),
        ("GET /v1/", ()),
        ("GET /v1/secret/data/x?list=yes", ()),
        ("GET /v1/secret/data/x?list=true&list=false", ()),
        ("GET /v1/secret/data/x", (("x-vault-namespace", "a"), ("x-vault-namespace", "b"))),
        ("GET /v1/secret/data/x", (("x-vault-namespace", "a/../b"),)),
        ("POST /v1/secret/data/x", (("x-http-method-override", "DELETE"),)),
    ],
)
def test_two_readings_are_refused(line: str, headers: Headers) -> None:
    """Hidden segments, wildcards, doubled names and other methods are denied."""
    with pytest.raises(IntentError):
        ask(line, headers)


def test_whose_requests_they_are() -> None:
    """HashiCorp's cloud is known by name; elsewhere rules say so, and only below /v1."""
    cloud = "acme.vault.hashicorp.cloud"
    found = ask("GET /ui/", host=cloud, spoken=NONE)
    assert found is not None
    assert (found.effect, found.exact) == (UNKNOWN, False)
    assert ask("GET /v1/secret/data/x", host=cloud, spoken=NONE) is not None
    assert ask("GET /v1/secret/data/x", spoken=NONE) is None
    assert ask("GET /ui/") is None
