"""Kubernetes: which verb on which resource of which namespace, read as the API server reads it.

Source: k8s.io/apiserver, `RequestInfoFactory`, and the API conventions. An action is
`VERB:GROUP/RESOURCE[/SUBRESOURCE]` with `core` for the group without a name (`create:core/pods/exec`,
`patch:apps/deployments`), a resource's id `HOST/NAMESPACE/NAME`: `-` where there is no namespace, or no name is told.
Who acts as somebody else does that too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proxy.intents.kubernetes_bodies import read_name
from proxy.intents.packages import read_site
from proxy.intents.reading import decode_component, parse_pairs
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, EffectClass, Intent, RequestView, Resource

_ENDINGS: Final = (".eks.amazonaws.com", ".eks.amazonaws.com.cn", ".azmk8s.io", ".gke.goog", ".k8s.ondigitalocean.com")
_OWN: Final = frozenset(
    {"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
)
_VERBS: Final = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_EFFECTS: Final = {
    "get": EffectClass.READ,
    "list": EffectClass.LIST,
    "watch": EffectClass.LIST,
    "create": EffectClass.WRITE,
    "update": EffectClass.WRITE,
    "patch": EffectClass.WRITE,
    "delete": EffectClass.DELETE,
    "deletecollection": EffectClass.DELETE,
}
_LOOKS: Final = frozenset({"get", "list", "watch"})
_CONNECTS: Final = frozenset({"exec", "attach", "portforward", "proxy"})
"""Subresources that are a way in, whichever method opens them."""
_ADMIN_GROUPS: Final = frozenset(
    {"rbac.authorization.k8s.io", "admissionregistration.k8s.io", "apiregistration.k8s.io", "apiextensions.k8s.io"}
    | {"flowcontrol.apiserver.k8s.io", "policy.networking.k8s.io"}
)
"""Groups whose objects say who may do what, and what the API is."""
_REVIEWS: Final = frozenset({"authorization.k8s.io", "authentication.k8s.io"})
_NAMESPACE_PARTS: Final = frozenset({"status", "finalize"})
_SEGMENTS: Final = 64
_IMPERSONATES: Final = {"impersonate-user": "users", "impersonate-group": "groups", "impersonate-uid": "uids"}
_EXTRA: Final = "impersonate-extra-"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What RequestInfo calls a resource request."""

    verb: str
    group: str
    namespace: str = ""
    resource: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def action(self) -> str:
        parts = [self.group or "core", self.resource, *([self.subresource] if self.subresource else [])]
        return f"{self.verb}:{'/'.join(parts)}"


def claims(host: str, spoken: frozenset[str]) -> bool:
    """Whether a request to this host may be ours."""
    return host in _OWN or host.endswith(_ENDINGS) or "k8s" in spoken


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | BodyWanted | None:
    """Read a request to an API server; None when it is none. Raises IntentError."""
    host = view.authority.host
    if not claims(host, spoken):
        return None
    segments = [decode_component(part) for part in view.path[1:].rstrip("/").split("/")]
    if len(segments) > _SEGMENTS:
        raise IntentError("the path has more segments than any resource")
    query = _read_query(view)
    verb = _VERBS.get(view.method)
    asked = None if verb is None else _read_path(segments, verb, query)
    others = _impersonations(view, host)
    if asked is None:
        return _read_other(view, segments, others)
    name = read_name(view) if asked.verb == "create" and not asked.name else asked.name
    if isinstance(name, BodyWanted):
        return name
    return _tell(view, asked, name, query, others)


def _read_query(view: RequestView) -> dict[str, str]:
    """Return the parameters, each named once but for `command`: of that the program, and how many words follow."""
    pairs = parse_pairs(view.query or "")
    command = [value for name, value in pairs if name == "command"]
    rest = [(name, value) for name, value in pairs if name != "command"]
    found = dict(rest)
    if len(found) != len(rest):
        raise IntentError("a parameter of the query was sent twice")
    if command:
        found |= {"command": command[0], "arguments": str(len(command) - 1)}
    return found


def _read_path(segments: list[str], verb: str, query: Mapping[str, str]) -> _Asked | None:
    """Cut a path as `RequestInfoFactory.NewRequestInfo` does; None for a path that names no resource."""
    if segments[0] == "api" and len(segments) >= 3:
        group, rest = "", segments[2:]
    elif segments[0] == "apis" and len(segments) >= 4:
        group, rest = segments[1], segments[3:]
    else:
        return None
    if rest[0] in {"watch", "proxy"} and len(rest) > 1:  # the old prefixes: they say the verb
        verb, rest = ("watch" if rest[0] == "watch" else "proxy"), rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_PARTS:
            rest = rest[2:]
    resource, name, subresource = (*rest[:3], "", "")[:3]
    if verb == "get" and not name:
        verb = "watch" if _is_true(query, "watch") else "list"
    if verb == "delete" and not name:
        verb = "deletecollection"
    if verb in {"list", "watch", "deletecollection"} and not name:
        name = _selected(query)
    return _Asked(verb=verb, group=group, namespace=namespace, resource=resource, name=name, subresource=subresource)


def _is_true(query: Mapping[str, str], name: str) -> bool:
    """Read a flag of the query as `strconv.ParseBool` and the API's own conversion do: anything but no is yes."""
    return name in query and query[name].lower() not in {"0", "f", "false"}


def _selected(query: Mapping[str, str]) -> str:
    """Return the one name that `fieldSelector=metadata.name=x` leaves of a collection."""
    selectors = query.get("fieldSelector", "").split(",")
    names = [each.partition("=")[2].lstrip("=") for each in selectors if each.startswith("metadata.name=")]
    return names[0] if len(names) == 1 and len(selectors) == 1 else ""


_KINDS: Final = {
    ("", "secrets", "look"): EffectClass.CREDENTIAL,
    ("", "serviceaccounts/token", "change"): EffectClass.CREDENTIAL,
    ("", "pods/eviction", "change"): EffectClass.DELETE,
    ("", "pods/ephemeralcontainers", "change"): EffectClass.EXECUTE,
}
_GROUPS: Final = {
    "certificates.k8s.io": EffectClass.CREDENTIAL,
    **dict.fromkeys(_ADMIN_GROUPS, EffectClass.ADMIN),
    **dict.fromkeys(_REVIEWS, EffectClass.READ),
}
"""What changes to a whole group's objects are; a review is created to be read."""


def _effect(asked: _Asked) -> EffectClass:
    """Say how harmful it is; the harsher where two could be said."""
    if asked.subresource in _CONNECTS or asked.verb == "proxy":
        return EffectClass.EXECUTE
    manner = "look" if asked.verb in _LOOKS else "change"
    part = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    found = _KINDS.get((asked.group, part, manner))
    if found is None and manner == "change":
        found = _GROUPS.get(asked.group)
    return found or _EFFECTS[asked.verb]


def _plain(text: str) -> str:
    """Return a segment of an id. Raises IntentError for one that would be two."""
    if not text:
        return "-"
    if text in {".", "..", "-", "*"} or set(text) & set("/#@\\%") or not text.isprintable():
        raise IntentError("the path names what nothing in a cluster is called")
    return text


def _tell(view: RequestView, asked: _Asked, name: str, query: Mapping[str, str], others: tuple[Intent, ...]) -> Intent:
    facts: dict[str, str] = {}
    if query.get("dryRun"):
        facts["dryRun"] = query["dryRun"][:16]
    # Of a command the program alone: what follows it may be a secret.
    facts |= {
        name: query[name][:128] for name in ("container", "command", "arguments", "fieldManager") if name in query
    }
    for part in (asked.group, asked.resource, asked.subresource):
        if part and _plain(part) != part.lower():
            raise IntentError("a group or resource is not in lower case")
    where = f"{read_site(view)}/{_plain(asked.namespace)}/{_plain(name)}"
    kind = asked.resource if asked.group == "" else f"{asked.resource}.{asked.group}"
    return Intent(
        protocol="k8s",
        action=asked.action,
        resource=Resource(type=f"k8s-{kind}", id=where),
        effect=_effect(asked),
        exact=asked.verb != "proxy",
        facts=facts,
        also=others,
    )


def _read_other(view: RequestView, segments: list[str], others: tuple[Intent, ...]) -> Intent:
    """Read a path that names no resource: health, versions, discovery; the verb is the method in lower case."""
    is_read = view.method in {"GET", "HEAD", "OPTIONS"}
    path = "/".join(_plain(segment) for segment in segments)
    return Intent(
        protocol="k8s",
        action=f"{view.method.lower()}:nonresource",
        resource=Resource(type="k8s-path", id=f"{read_site(view)}/{path}"),
        effect=EffectClass.READ if is_read else EffectClass.UNKNOWN,
        exact=is_read,
        also=others,
    )


def _impersonations(view: RequestView, host: str) -> tuple[Intent, ...]:
    """Return who else the request acts as: each is a right of its own (`impersonate`), and a great one."""
    found = []
    for name, value in view.headers:
        kind = _IMPERSONATES.get(name) or ("userextras" if name.startswith(_EXTRA) else None)
        if kind is not None:
            found.append((kind, value if kind != "userextras" else f"{name.removeprefix(_EXTRA)}={value}"))
    return tuple(
        Intent(
            protocol="k8s",
            action=f"impersonate:{kind}",
            resource=Resource(type="k8s-identity", id=f"{host}/-/{value}"),
            effect=EffectClass.ADMIN,
            exact=True,
        )
        for kind, value in found
    )
