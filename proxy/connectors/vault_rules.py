"""Which requests a Vault token may be put on: those to its own server and namespace that a rule means. Pure.

What makes, extends or unveils tokens and leases, and what administers the server, needs an `intent` line of the rule
that names the action: no wildcard, no effect class and no rule about paths alone ever meant it.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from proxy.connectors.named import is_named, parts_of
from proxy.model.authority import Authority
from proxy.model.errors import CredentialError
from proxy.model.intent import EffectClass, Intent, RequestView
from proxy.model.reason import Reason

_PROTOCOL: Final = "vault"
_NAMESPACE: Final = "x-vault-namespace"
_GUARDED: Final = frozenset(
    {
        "approle.secret",
        "identity.token",
        "lease.renew",
        "lease.revoke",
        "login",
        "token.create",
        "token.lookup",
        "token.renew",
        "token.revoke",
        "unwrap",
        "wrap",
    }
)
_DRAWER: Final = "cubbyhole"


def check_request(view: RequestView, intent: Intent, address: Authority, namespace: str, lines: Iterable[str]) -> None:
    """Raise CredentialError (`credential-scope`) unless a token of `address` and `namespace` may be put on the request.

    `lines` are the rule's `intent` lines.
    """
    if view.scheme != "https" or view.authority != address:
        raise outside(f"the token is for {address} and goes nowhere else")
    if _namespace_of(view) != namespace:
        said = f"set VAULT_NAMESPACE={namespace}" if namespace else "send no X-Vault-Namespace"
        raise outside(f"the rule's namespace is {namespace or 'the root'}: {said}")
    for part in parts_of(intent):
        if part.protocol != _PROTOCOL or part.effect is EffectClass.UNKNOWN:
            raise outside("the request is none that Vault's API is known for; name `vault` in the rule's `intent`")
        for action in _guarded(part):
            if not is_named(lines, part, action):
                raise outside(f"{action} needs an `intent` line of the rule that names it")


def outside(why: str) -> CredentialError:
    """Return the refusal of a request that this credential is not for."""
    return CredentialError(f"vault: {why}", Reason.CREDENTIAL_SCOPE)


def _namespace_of(view: RequestView) -> str:
    """Return the namespace as the decoder read it: one at most, without its slashes."""
    text = next((value for name, value in view.headers if name == _NAMESPACE), "").strip("/")
    return "" if text == "root" else text


def _guarded(part: Intent) -> Iterator[str]:
    """Yield each thing the request does that must be named. A wrapped answer is a token that others can use."""
    first = part.action.partition(".")[0]
    if part.action in _GUARDED or first == _DRAWER or part.effect is EffectClass.ADMIN:
        yield part.action
    if "wrap_ttl" in part.facts and part.action != "wrap":
        yield "wrap"
