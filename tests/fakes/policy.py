"""Rules, jobs and requests in one line each, with two connectors' schemas that stand for the real ones."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from proxy.intents.fallback import decode
from proxy.model.authority import DEFAULT_PORTS, parse_authority
from proxy.model.decision import AccessRequest
from proxy.model.identity import JobContext
from proxy.model.intent import RequestView
from proxy.policy.compile import RuleSet, compile_rules
from proxy.policy.faults import Fault
from proxy.policy.parse import Scopes, parse_rules
from proxy.policy.rule import Rule

NOON: Final = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class Statement(BaseModel):
    """One entry of a session policy."""

    model_config = ConfigDict(extra="forbid")

    action: str


class RoleScope(BaseModel):
    """A role to assume."""

    model_config = ConfigDict(extra="forbid")

    role: str
    actions: tuple[str, ...] = ()
    intents: tuple[str, ...] = ()
    policy: list[Statement] | None = None
    subject: str = "job"
    rule: str | None = None


class TokenScope(BaseModel):
    """A secret from a file; it knows the duration itself."""

    model_config = ConfigDict(extra="forbid")

    file: str
    duration: str | None = None


SCOPES: Final[Scopes] = {"aws": RoleScope, "header": TokenScope}


def a_rule(**keys: Any) -> dict[str, Any]:
    """Return the text of a rule that allows reading `example.com`, changed by `keys`; None takes a key away."""
    text = {"id": "read", "why": "a test", "to": "example.com", **keys}
    return {key: value for key, value in text.items() if value is not None}


def faults_of(*texts: Mapping[str, Any]) -> list[Fault]:
    """Return what is wrong with a file of these rules."""
    return list(parse_rules({"rules": list(texts)}, "test.yaml", SCOPES).faults)


def rules_of(*texts: Mapping[str, Any]) -> list[Rule]:
    """Return the rules of a file that must have no faults."""
    parsed = parse_rules({"rules": list(texts)}, "test.yaml", SCOPES)
    assert parsed.faults == ()
    return list(parsed.rules)


def ruleset_of(*texts: Mapping[str, Any]) -> RuleSet:
    """Return the compiled rules of a file that must have no faults."""
    return compile_rules(rules_of(*texts))


def a_view(
    method: str = "GET", url: str = "https://example.com/", headers: Mapping[str, str] | None = None
) -> RequestView:
    """Return a request as a lane would show it."""
    scheme, _, rest = url.partition("://")
    place, slash, target = rest.partition("/")
    path, mark, query = f"{slash}{target}".partition("?")
    return RequestView(
        method=method,
        scheme=scheme,
        authority=parse_authority(place, DEFAULT_PORTS[scheme]),
        path=path or "/",
        query=query if mark else None,
        headers=tuple((headers or {}).items()),
    )


def a_request(
    job: JobContext | None = None,
    method: str = "GET",
    url: str = "https://example.com/",
    headers: Mapping[str, str] | None = None,
) -> AccessRequest:
    """Return one request of one job at noon."""
    view = a_view(method, url, headers)
    return AccessRequest(job=job or JobContext(), view=view, intent=decode(view), now=NOON)
