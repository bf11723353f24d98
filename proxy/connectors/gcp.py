"""Google Cloud: an access token for the job's own, by workload identity federation; a service account's if wanted.

A token for Cloud Storage is bounded to the buckets and the kind of right that a request needs. Sources: IAM, "Workload
Identity Federation", "Create short-lived credentials for a service account"; "Credential Access Boundaries".
"""

from typing import Annotated, ClassVar, Final

from pydantic import Field, StringConstraints
from pydantic.json_schema import SkipJsonSchema

from proxy.connectors.answers import bearer
from proxy.connectors.gcp_calls import CLOUD_PLATFORM, Google, GoogleIdentity, GoogleToken
from proxy.connectors.named import is_named, parts_of
from proxy.connectors.parts import ConnectorParts, fingerprint, recordable
from proxy.connectors.sigv4 import query_names
from proxy.connectors.subjects import SubjectModel
from proxy.model.errors import CredentialError
from proxy.model.grant import Credential, Edits, MintRequest, Plan
from proxy.model.intent import EffectClass, Intent, RequestView
from proxy.model.reason import Reason

_PROTOCOL: Final = "gcp"
_ENDING: Final = ".googleapis.com"
_TOKENS: Final = frozenset({"sts", "iamcredentials", "oauth2", "securetoken", "accounts", "www"})
"""Services of these hosts hand out tokens, or whatever they are asked for; storage at `www` is told by its intent."""
_STORAGE: Final = "gcp-storage"
_RIGHTS: Final = {
    EffectClass.READ: "objectViewer",
    EffectClass.LIST: "objectViewer",
    EffectClass.WRITE: "objectUser",
    EffectClass.DELETE: "objectUser",
    EffectClass.ADMIN: "admin",
}
"""Roles of Cloud Storage, each wider than the one before."""
_ADMIN: Final = "admin"
_OWN_KEYS: Final = frozenset({"key", "access_token", "oauth_token", "upload_token"})

_OAuthScope = Annotated[str, StringConstraints(pattern=r"^https://www\.googleapis\.com/auth/[a-z._-]+$")]


class GcpScope(SubjectModel, GoogleIdentity):
    """Which provider takes the job's token, and whose token is wanted."""

    scopes: tuple[_OAuthScope, ...] = Field(
        (CLOUD_PLATFORM,),
        strict=False,
        min_length=1,
        description="OAuth scopes of the token.",
    )
    intents: SkipJsonSchema[tuple[str, ...]] = Field(
        (), strict=False, description="The rule's own `intent` lines. Put here when the rule is read, never written."
    )


class GcpConnector:
    """Exchanges, impersonates, bounds, and sends what it got as a bearer token to Google's APIs alone."""

    name: ClassVar[str] = "gcp"
    Scope: ClassVar[type[GcpScope]] = GcpScope

    def __init__(self, parts: ConnectorParts) -> None:
        self._parts = parts

    def plan(self, view: RequestView, intent: Intent, scope: GcpScope) -> Plan:
        """Return which buckets are needed, and what for. Raises CredentialError for a request that no token is for."""
        host = view.authority.host
        if view.scheme != "https" or view.authority.port != 443 or not host.endswith(_ENDING):
            raise _outside("the token is for Google's APIs, https://*.googleapis.com, and goes nowhere else")
        if query_names(view.query) & _OWN_KEYS:
            raise _outside("the query holds a key or token of the job's own")
        wanted: dict[str, str] = {}
        for part in parts_of(intent):
            if part.protocol != _PROTOCOL or part.effect is EffectClass.UNKNOWN:
                raise _outside("the request is none that Google's APIs are known for; name `gcp` in `intent`")
            if _must_be_named(part) and not is_named(scope.intents, part, part.action):
                raise _outside(f"{part.action} needs an `intent` line of the rule that names it")
            if part.resource.type == _STORAGE:
                _add_bucket(wanted, part)
            elif host.partition(".")[0] in _TOKENS and not is_named(scope.intents, part, part.action):
                raise _outside(f"{host} hands out tokens; a line of the rule must name {part.action}")
        return Plan(need=tuple(sorted(wanted.items())))

    async def mint(self, request: MintRequest, scope: GcpScope) -> Credential:
        """Ask Google. Raises CredentialError."""
        google = Google(caller=self._parts.caller, now=self._parts.clock.now())
        made = await google.identify(self._parts, request, scope, scope.scopes)
        if request.need:
            made = await google.bound(made, request.need)
        return self._credential(made, request, scope)

    def apply(
        self,
        view: RequestView,  # noqa: ARG002 - the interface
        scope: GcpScope,  # noqa: ARG002 - the interface
        credential: Credential,
        body_digest: str | None,  # noqa: ARG002 - the interface
    ) -> Edits:
        """Return the bearer token as Authorization."""
        return bearer(credential.secrets["token"])

    def _credential(self, made: GoogleToken, request: MintRequest, scope: GcpScope) -> Credential:
        facts = {
            "provider": scope.provider,
            "service_account": scope.service_account,
            "buckets": " ".join(f"{bucket}:{right}" for bucket, right in request.need) or None,
        }
        return Credential(
            connector=self.name,
            secrets={"token": made.token},
            facts=recordable(facts),
            fingerprint=fingerprint(made.token.reveal()),
            expires_at=min(made.expires_at, self._parts.clock.now() + request.grant.lifetime),
            ends_at=made.expires_at,
        )


def _add_bucket(wanted: dict[str, str], part: Intent) -> None:
    """Note which right on which bucket one thing needs, the wider of two. Raises CredentialError for none."""
    bucket = part.resource.id.split("/")[1] if "/" in part.resource.id else ""
    is_settings = part.action.startswith(("storage.buckets.", "storage.settings."))
    right = _ADMIN if is_settings else _RIGHTS.get(part.effect)
    if not bucket or right is None:
        raise _outside(f"{part.action} is of no bucket that a token could be bounded to")
    order = tuple(dict.fromkeys(_RIGHTS.values()))
    if order.index(right) >= order.index(wanted.get(bucket, order[0])):
        wanted[bucket] = right


def _must_be_named(part: Intent) -> bool:
    """Whether it makes a credential, which no wildcard means. Reading a secret's value is not that."""
    return part.effect is EffectClass.CREDENTIAL and not part.action.endswith(".access")


def _outside(why: str) -> CredentialError:
    return CredentialError(f"gcp: {why}", Reason.CREDENTIAL_SCOPE)
