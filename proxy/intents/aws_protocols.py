"""Which operation a request to a service is, by the protocols its model knows: all of them are tried, two are refused.

`json`: X-Amz-Target. `query` and `ec2`: Action, in the query or a form; every service without paths of its own may take
it. RPC v2: the path. `rest-json` and `rest-xml`: method, path and query. Source: Smithy 2.0, AWS protocols.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.intents.aws_members import BODY_LIMIT, form_tree
from proxy.intents.aws_routes import Match
from proxy.intents.aws_table import Operation, Service, load_service
from proxy.intents.reading import media_type, parse_pairs, read_body, single_header
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, EffectClass, RequestView

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")
_RPC_PATH: Final = re.compile(r"/service/(?P<target>[A-Za-z0-9_.]+)/operation/(?P<name>[A-Za-z0-9_]+)")
_JSON: Final = frozenset({"application/x-amz-json-1.0", "application/x-amz-json-1.1", "application/json"})
_FORM: Final = "application/x-www-form-urlencoded"

type _Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An operation, and where its members are: a body of a `kind` still to be read, or all of them in `tree`."""

    operation: Operation
    kind: str
    tree: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)


def read_call(view: RequestView, names: Sequence[str]) -> Call | BodyWanted:
    """Find the operation among those of some services. Raises IntentError for none, for two, and for a doubtful one."""
    services = sorted(map(load_service, names), key=lambda each: each.name != each.prefix)
    pairs = parse_pairs(view.query or "")
    if any(name.lower() in {"x-amz-target", "smithy-protocol"} for name, _ in pairs):
        raise IntentError("the query names an operation as only a header field may")
    target, protocol = single_header(view, "x-amz-target"), single_header(view, "smithy-protocol")
    is_action = any(name == "Action" for name, _ in pairs)
    if (target != "") + (protocol != "") + is_action > 1:
        raise IntentError("the request names its operation twice")
    if target:
        return _by_target(view, services, target)
    if protocol:
        return _by_rpc_path(view, services, protocol)
    rest = [each for each in services if each.has_paths]
    others = [each for each in services if not each.has_paths]
    if is_action or (others and (not rest or view.path == "/" or media_type(view) == _FORM)):
        return _by_action(view, others, pairs)
    return _by_route(view, rest, pairs)


def _named(services: Sequence[Service], name: str) -> Operation:
    """Return an operation by its name; one that no model has yet may do anything."""
    if not services or _NAME.fullmatch(name) is None:
        raise IntentError("the service takes no operation by name, or the name is none")
    for service in services:
        operation = service.operation(name)
        if operation is not None:
            return operation
    first = services[0]
    return Operation(
        service=first.name,
        name=name,
        action=f"{first.prefix}:{name}",
        effect=EffectClass.UNKNOWN,
        is_known=False,
        roles=frozenset(),
    )


def _by_target(view: RequestView, services: Sequence[Service], target: str) -> Call:
    prefix, _, name = target.rpartition(".")
    if view.method != "POST" or media_type(view) not in _JSON:
        raise IntentError("X-Amz-Target goes with a POST of JSON")
    fitting = [each for each in services if each.target == prefix and not each.has_paths]
    return Call(operation=_named(fitting, name), kind="json")


def _by_rpc_path(view: RequestView, services: Sequence[Service], protocol: str) -> Call:
    found = _RPC_PATH.fullmatch(view.path)
    is_cbor = media_type(view) == "application/cbor" or (view.body_length == 0 and not media_type(view))
    if protocol != "rpc-v2-cbor" or view.method != "POST" or found is None or not is_cbor:
        raise IntentError("smithy-protocol goes with a POST of CBOR to /service/NAME/operation/NAME")
    fitting = [each for each in services if each.target == found["target"]]
    return Call(operation=_named(fitting, found["name"]), kind="cbor")


def _by_action(view: RequestView, services: Sequence[Service], query: _Pairs) -> Call | BodyWanted:
    pairs = list(query)
    if view.method == "POST" and view.body_length != 0:
        if media_type(view) not in {"", _FORM}:
            raise IntentError("a body that may name the operation is no form")
        body = read_body(view, BODY_LIMIT)
        if isinstance(body, BodyWanted):
            return body
        try:
            pairs += parse_pairs(body.decode("ascii"))
        except UnicodeDecodeError:
            raise IntentError("the form is not percent-encoded") from None
    elif view.method not in {"GET", "POST"} or view.body_length != 0:
        raise IntentError("an Action goes with a GET, or a POST of a form")
    actions = [(name, value) for name, value in pairs if name.lower() == "action"]
    if len(actions) != 1 or actions[0][0] != "Action":
        raise IntentError("the request names no single Action")
    return Call(operation=_named(services, actions[0][1]), kind="form", tree=form_tree(pairs))


def _by_route(view: RequestView, services: Sequence[Service], pairs: _Pairs) -> Call:
    query: dict[str, list[str]] = {}
    for name, value in pairs:
        query.setdefault(name, []).append(value)
    found: dict[str, Call] = {}
    for service in services:
        match = service.router.find(view.method, view.path, query)
        if match is None:
            continue
        operation = service.operation(match.names[0])
        if operation is None or len(match.names) > 1 or match.is_odd or _is_ambiguous(view, service, match, query):
            raise IntentError("the path and query may mean several operations")
        kind = "rest-xml" if "rest-xml" in service.protocols else "rest-json"
        found.setdefault(
            operation.action, Call(operation=operation, kind=kind, labels=match.labels, query=_flatten(query))
        )
    if len(found) != 1:
        raise IntentError(f"the request is {'no operation' if not found else 'several operations'} of the service")
    return next(iter(found.values()))


def _is_ambiguous(view: RequestView, service: Service, match: Match, query: Mapping[str, Sequence[str]]) -> bool:
    """Whether a server that decodes slashes before it cuts the path would see another operation."""
    if "%2F" not in view.path and "%2f" not in view.path:
        return False
    other = service.router.find(view.method, view.path.replace("%2F", "/").replace("%2f", "/"), query)
    return other is not None and other.names != match.names


def _flatten(query: Mapping[str, list[str]]) -> dict[str, Any]:
    return {name: values[0] if len(values) == 1 else values for name, values in query.items()}
