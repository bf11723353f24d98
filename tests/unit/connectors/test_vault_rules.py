"""A Vault token goes to its own server and namespace only, and on nothing that makes tokens unless the rule says so."""

from typing import Any

import pytest

from proxy.connectors.vault_rules import check_request
from proxy.intents.registry import decode
from proxy.model.authority import Authority
from proxy.model.errors import CredentialError
from proxy.model.intent import Intent, RequestView
from proxy.model.reason import Reason
from proxy.policy.intents import parts_of, read_intent

HOST = "vault.test"
ADDRESS = Authority(HOST, 8200)


def view(path: str, method: str = "GET", headers: tuple[tuple[str, str], ...] = (), **more: Any) -> RequestView:
    basic: dict[str, Any] = {"scheme": "https", "authority": ADDRESS, "query": None}
    return RequestView(method=method, path=path, headers=headers, **(basic | more))


def refusal(asked: RequestView, namespace: str = "", lines: tuple[str, ...] = (), spoken: str = "vault") -> str | None:
    """Why the token is not put on a request; None when it is."""
    intent = decode(asked, frozenset({spoken}))
    assert isinstance(intent, Intent)
    try:
        check_request(asked, intent, ADDRESS, namespace, lines)
    except CredentialError as error:
        return str(error) if error.reason is Reason.CREDENTIAL_SCOPE else repr(error.reason)
    return None


@pytest.mark.parametrize(
    "path, method",
    [
        ("/v1/secret/data/app/db", "GET"),
        ("/v1/secret/data/app/db", "PUT"),
        ("/v1/secret/metadata/app/db", "DELETE"),
        ("/v1/database/creds/app", "GET"),
        ("/v1/pki/issue/leaf", "POST"),
        ("/v1/transit/encrypt/key", "POST"),
        ("/v1/sys/health", "GET"),
        ("/v1/sys/capabilities-self", "POST"),
        ("/v1/plain/key", "GET"),
    ],
)
def test_secrets_and_engines_are_what_a_token_is_for(path: str, method: str) -> None:
    """Whether the job may do it is the rule's matter, and the policies' of the role."""
    assert refusal(view(path, method)) is None


ELSEWHERE: list[Any] = [
    pytest.param({"authority": Authority("other.test", 8200)}, id="host"),
    pytest.param({"authority": Authority(HOST, 443)}, id="port"),
    pytest.param({"scheme": "http"}, id="plain"),
    pytest.param({"authority": Authority("vault.test.evil.test", 8200)}, id="suffix"),
]


@pytest.mark.parametrize("more", ELSEWHERE)
def test_a_token_goes_nowhere_else(more: dict[str, Any]) -> None:
    """Another host, another port and plain HTTP see none, whatever a rule's `to` says."""
    assert "goes nowhere else" in str(refusal(view("/v1/secret/data/app", **more)))


@pytest.mark.parametrize(
    "sent, namespace, is_right",
    [
        ((), "", True),
        (("",), "", True),
        (("root",), "", True),
        (("/",), "", True),
        (("team",), "team", True),
        (("/team/",), "team", True),
        (("team/a",), "team/a", True),
        (("team",), "", False),
        ((), "team", False),
        (("root",), "team", False),
        (("team/b",), "team", False),
        (("Team",), "team", False),
    ],
)
def test_the_namespace_is_the_rules(sent: tuple[str, ...], namespace: str, *, is_right: bool) -> None:
    """What was decided on is what is sent: a job that means another namespace, or none, is told so."""
    headers = tuple(("x-vault-namespace", each) for each in sent)
    said = refusal(view("/v1/secret/data/app", headers=headers), namespace)
    assert (said is None) is is_right
    if namespace and not is_right:
        assert "set VAULT_NAMESPACE=team" in str(said)


GUARDED: list[Any] = [
    ("auth/token/create", "POST", "token.create"),
    ("auth/token/create-orphan", "POST", "token.create"),
    ("auth/token/create/role", "POST", "token.create"),
    ("auth/token/renew-self", "POST", "token.renew"),
    ("auth/token/lookup-self", "GET", "token.lookup"),
    ("auth/token/lookup-accessor", "POST", "token.lookup"),
    ("auth/token/revoke-self", "POST", "token.revoke"),
    ("auth/token/revoke-accessor", "POST", "token.revoke"),
    ("auth/jwt/login", "POST", "login"),
    ("auth/approle/role/x/secret-id", "POST", "approle.secret"),
    ("sys/wrapping/wrap", "POST", "wrap"),
    ("sys/wrapping/unwrap", "POST", "unwrap"),
    ("sys/leases/renew", "PUT", "lease.renew"),
    ("sys/leases/revoke", "PUT", "lease.revoke"),
    ("sys/leases/revoke-prefix/aws", "PUT", "lease.revoke"),
    ("identity/oidc/token/role", "GET", "identity.token"),
    ("cubbyhole/x", "GET", "cubbyhole.get"),
    ("sys/policies/acl/app", "PUT", "sys.update"),
    ("sys/mounts", "GET", "sys.get"),
    ("auth/jwt/role/storefront", "POST", "auth.update"),
    ("identity/entity", "POST", "identity.update"),
    ("database/config/main", "POST", "config"),
    ("database/rotate-root/main", "POST", "rotate"),
    ("team/auth/token/create", "POST", "token.create"),
]


@pytest.mark.parametrize("path, method, action", GUARDED)
def test_what_makes_tokens_or_rules_the_server_must_be_named(path: str, method: str, action: str) -> None:
    """No rule about paths, no wildcard and no effect class means it; a line with the very action and resource does."""
    asked, where = view(f"/v1/{path}", method), f"{HOST}:8200/{path}"
    intent = decode(asked, frozenset({"vault"}))
    assert isinstance(intent, Intent)
    vague = ("vault * **", f"vault * {where}", f"vault {intent.effect} {where}", f"aws {action} {where}", "unknown")
    assert refusal(asked, lines=vague) == f"vault: {action} needs an `intent` line of the rule that names it"
    assert refusal(asked, lines=(f"vault {action} {HOST}:8200/elsewhere",)) is not None
    assert refusal(asked, lines=(*vague, f"vault {action} {where}")) is None


def test_a_wrapped_answer_is_a_token() -> None:
    """A read that asks for wrapping needs a line that says `wrap` of that path."""
    asked = view("/v1/secret/data/app", headers=(("x-vault-wrap-ttl", "5m"),))
    line = f"vault kv.get {HOST}:8200/secret/data/app"
    assert refusal(asked, lines=(line,)) == "vault: wrap needs an `intent` line of the rule that names it"
    assert refusal(asked, lines=(line, f"vault wrap {HOST}:8200/secret/data/*")) is None
    renewed = view("/v1/sys/wrapping/wrap", "POST", headers=(("x-vault-wrap-ttl", "5m"),))
    assert refusal(renewed, lines=(f"vault wrap {HOST}:8200/sys/wrapping/wrap",)) is None


def test_an_overridden_policy_must_be_named() -> None:
    """Asking Vault to pass over a policy makes the mildest read an administrator's."""
    asked = view("/v1/secret/data/app", headers=(("x-vault-policy-override", "true"),))
    assert "kv.get needs" in str(refusal(asked))


@pytest.mark.parametrize(
    "path, method, spoken",
    [
        ("/v1/secret/data/app", "GET", "http"),
        ("/ui/vault", "GET", "vault"),
        ("/v1/secret/data/app", "OPTIONS", "vault"),
    ],
)
def test_what_is_not_read_as_vaults_api_gets_no_token(path: str, method: str, spoken: str) -> None:
    """A rule set that never says `vault` of a server of one's own, the web interface, a method nobody knows."""
    assert "name `vault`" in str(refusal(view(path, method), spoken=spoken))


@pytest.mark.parametrize(
    "pattern",
    ["**", "vault.test:8200/**", "vault.test:8200/auth/**", "vault.test:8200/**/lookup-self", "*:8200/auth/token/*",
     "vault.test:8200/auth/*/lookup-self", "vault.test:8200/*", "vault.test:8200/auth/token/lookup", "*", "/**"],
)  # fmt: skip
def test_a_named_resource_is_never_wider_than_the_rule_reads_it(pattern: str) -> None:
    """What the guard takes for named, the rule's own matching takes too."""
    asked = view("/v1/auth/token/lookup-self")
    intent = decode(asked, frozenset({"vault"}))
    assert isinstance(intent, Intent)
    line = f"vault token.lookup {pattern}"
    if refusal(asked, lines=(line,)) is None:
        assert all(read_intent(line).covers(part) for part in parts_of(intent))
