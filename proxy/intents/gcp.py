"""Google Cloud's APIs: the method that a REST or gRPC path is, and the full name of what it acts on.

Cloud Storage is read precisely (gcp_storage.py). The other services follow Google's API design (AIP-121 to AIP-136):
collections and ids take turns, a custom method stands behind a colon: `/v1/projects/p/secrets/s/versions/1:access` is
`secretmanager.projects.secrets.versions.access`. What such a method does is told by its name, where the name is one
of the few that mean the same everywhere; any other has an effect that nobody knows. Ids are full resource names without
version: `secretmanager.googleapis.com/projects/p/secrets/s`.
"""

import re
from typing import Final

from proxy.intents.gcp_storage import is_storage, read_storage
from proxy.intents.packages import read_site
from proxy.intents.reading import decode_component, media_type, read_query
from proxy.intents.routes import cut_path
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, EffectClass, Intent, RequestView, Resource

_ENDING: Final = ".googleapis.com"
_OVERRIDES: Final = frozenset({"x-http-method-override", "x-http-method", "x-method-override"})
_VERSION: Final = re.compile(r"v[0-9]+(?:(?:alpha|beta|p)[0-9]*)*(?:beta[0-9]+)?")
_SERVICE: Final = re.compile(r"[a-z][a-z0-9-]{1,62}")
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f/#\\*]{1,1024}")
_LOCATION: Final = re.compile(r"[a-z]+-[a-z]+[0-9]-")
_METHODS: Final = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "remove"}
_EFFECTS: Final = {
    "get": EffectClass.READ,
    "enumerate": EffectClass.LIST,
    "create": EffectClass.WRITE,
    "update": EffectClass.WRITE,
    "patch": EffectClass.WRITE,
    "remove": EffectClass.DELETE,
}
_CUSTOM: Final = {
    **dict.fromkeys(("getIamPolicy", "testIamPermissions", "search", "lookup", "aggregatedList"), EffectClass.READ),
    **dict.fromkeys(("setIamPolicy", "addIamPolicyBinding", "setOrgPolicy", "enable", "disable"), EffectClass.ADMIN),
    **dict.fromkeys(
        ("generateAccessToken", "generateIdToken", "signBlob", "signJwt", "access", "token", "exchangeToken"),
        EffectClass.CREDENTIAL,
    ),
    **dict.fromkeys(
        ("encrypt", "decrypt", "asymmetricSign", "asymmetricDecrypt", "macSign", "run"), EffectClass.EXECUTE
    ),
    **dict.fromkeys(("publish", "write", "commit", "addVersion", "pull", "acknowledge", "cancel"), EffectClass.WRITE),
    **dict.fromkeys(("destroy", "purge", "delete"), EffectClass.DELETE),
    "undelete": EffectClass.WRITE,
}
"""Custom methods that mean the same in every service. Any other is unknown."""
_READS_BY_POST: Final = frozenset({"getIamPolicy", "testIamPermissions", "search", "lookup"})
_TOKENS: Final = frozenset({"oauth2.googleapis.com", "sts.googleapis.com", "securetoken.googleapis.com"})
_ADMIN_SERVICES: Final = frozenset(
    {
        "cloudresourcemanager",
        "serviceusage",
        "orgpolicy",
        "iam",
        "accesscontextmanager",
        "cloudbilling",
        "essentialcontacts",
    }
)
"""Services whose objects say who may do what: whatever is written there is an administrator's."""
_KEYS: Final = frozenset({"keys", "hmacKeys", "apiKeys"})
_CREDENTIAL_SERVICES: Final = frozenset({"iamcredentials", "sts", "oauth2", "apikeys"})
_RUNS: Final = frozenset({"jobs", "builds", "executions", "queries"})
"""Collections in which to create something is to run it."""
_GRPC: Final = re.compile(r"/(?:google\.)?([A-Za-z0-9_.]+)\.([A-Za-z0-9_]+)/([A-Za-z0-9_]+)")


def claims(host: str, _: frozenset[str]) -> bool:
    """Whether a request to this host may be ours."""
    return host.endswith(_ENDING) or is_storage(host)


def decode(view: RequestView, spoken: frozenset[str]) -> Intent | BodyWanted | None:
    """Read a request to Google's APIs; None when it is none. Raises IntentError."""
    host = view.authority.host
    if not claims(host, spoken):
        return None
    if any(name in _OVERRIDES for name, _ in view.headers):
        raise IntentError("a header asks for another method than the request line, which Google's APIs obey")
    if is_storage(host):
        return read_storage(view)
    if media_type(view).startswith("application/grpc"):
        return _read_grpc(view)
    if view.path.startswith(("/batch", "/upload/", "/resumable/")):  # may hold any request, or any number of them
        return _intent(view, "unknown", EffectClass.UNKNOWN, view.path.strip("/"), exact=False)
    if host in _TOKENS:
        return _intent(view, f"{host.partition('.')[0]}.token", EffectClass.CREDENTIAL, "")
    return _read_rest(view, _service(host))


def _service(host: str) -> str:
    """Return the service of a host: `run` for `europe-west1-run.googleapis.com`, `compute.mtls` and `X.rep` alike."""
    name = host.removesuffix(_ENDING)
    for middle in (".mtls", ".rep", ".p"):
        name = name.removesuffix(middle)
    name = _LOCATION.sub("", name.partition(".")[0], count=1)
    if _SERVICE.fullmatch(name) is None:
        raise IntentError("the host is not one of Google's services")
    return name


def _intent(view: RequestView, action: str, effect: EffectClass, name: str, *, exact: bool = True) -> Intent:
    where = f"{read_site(view)}/{name}".rstrip("/")
    return Intent(
        protocol="gcp",
        action=action,
        resource=Resource(type="gcp-resource", id=where),
        effect=effect,
        exact=exact and effect is not EffectClass.UNKNOWN,
    )


def _read_rest(view: RequestView, service: str) -> Intent:
    query = read_query(view)
    if any(name.lower() in {"$httpmethod", "x-http-method-override"} for name in query):
        raise IntentError("a parameter asks for another method than the request line")
    segments = [decode_component(part) for part in cut_path(view.path)]
    if segments[:1] == [service]:  # /compute/v1/..., /bigquery/v2/...
        segments = segments[1:]
    if not segments or _VERSION.fullmatch(segments[0]) is None:
        return _intent(view, "unknown", EffectClass.UNKNOWN, "/".join(segments), exact=False)
    *parts, last = segments[1:] or [""]
    last, colon, custom = last.partition(":")
    parts += [last] if last else []
    if any(_NAME.fullmatch(part) is None or part in {".", ".."} for part in parts):
        raise IntentError("the path names what no resource of Google's is called")
    collections = [part for at, part in enumerate(parts) if at % 2 == 0 and part != "global"]
    if "global" in parts:
        after = parts[parts.index("global") + 1 :]
        collections = [*parts[: parts.index("global")][::2], *after[::2]]
    verb = custom if colon else _verb(view, parts)
    action = ".".join((service, *collections, verb))
    return _intent(view, action, _effect(view, service, collections, verb, is_custom=bool(colon)), "/".join(parts))


def _verb(view: RequestView, parts: list[str]) -> str:
    verb = _METHODS.get(view.method, "unknown")
    count = len(parts) - (1 if "global" in parts else 0)
    return "enumerate" if verb == "get" and count % 2 == 1 else verb


def _effect(view: RequestView, service: str, collections: list[str], verb: str, *, is_custom: bool) -> EffectClass:
    """Say how harmful a method is; of two answers the harsher."""
    effect = _CUSTOM.get(verb, EffectClass.UNKNOWN) if is_custom else _EFFECTS.get(verb, EffectClass.UNKNOWN)
    if is_custom and view.method == "GET" and effect is EffectClass.UNKNOWN:
        return EffectClass.UNKNOWN
    if effect in {EffectClass.READ, EffectClass.LIST}:
        is_told = view.method == "GET" or verb in _READS_BY_POST
        return effect if is_told else EffectClass.UNKNOWN
    if service in _CREDENTIAL_SERVICES or (collections and collections[-1] in _KEYS and verb == "create"):
        return EffectClass.CREDENTIAL
    if service in _ADMIN_SERVICES and effect is not EffectClass.CREDENTIAL:
        return EffectClass.ADMIN
    if collections and collections[-1] in _RUNS and verb == "create":
        return EffectClass.EXECUTE
    return effect


def _read_grpc(view: RequestView) -> Intent:
    """Read `/google.PACKAGE.Service/Method`: what is acted on stands in the message, and is not told."""
    found = _GRPC.fullmatch(view.path)
    if found is None or view.method != "POST":
        raise IntentError("the path is not a gRPC method's")
    package, service, method = found[1], found[2], found[3]
    name = method[:1].lower() + method[1:]
    effect = EffectClass.UNKNOWN
    if name in _CUSTOM:
        effect = _CUSTOM[name]
    elif method.startswith("List"):
        effect = EffectClass.LIST
    elif method.startswith("Delete"):
        effect = EffectClass.DELETE
    return _intent(view, f"{package}.{service}.{method}", effect, "*", exact=False)
