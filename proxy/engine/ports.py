"""What the path needs from the edges. Each interface states its obligations; edges fulfil them structurally."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from proxy.model.decision import Decision
from proxy.model.grant import Credential, Dropped, Edits, Grant, MintRequest, Need, Plan, Secret
from proxy.model.identity import KeySet
from proxy.model.intent import Intent, RequestView
from proxy.model.record import AuditRecord


class Clock(Protocol):
    """Time, injected so that replay and simulate cannot lie."""

    def now(self) -> datetime:
        """Return the wall clock, in UTC, with a time zone."""


class Entropy(Protocol):
    """Names and secrets."""

    def new_id(self) -> str:
        """Return a short name unique to this instance and across restarts. Not a secret."""

    def new_secret(self) -> Secret:
        """Return an unguessable URL-safe text of at least 256 bits."""


class KeySource(Protocol):
    """Issuers' public keys."""

    async def keys(self, issuer: str, kid: str | None) -> KeySet:
        """Return the usable keys of a configured issuer, refreshed at most once a minute when `kid` is not among them.

        Never blocks the loop; one fetch at a time per issuer; keys older than the staleness bound are not returned.
        Raises IssuerError when no keys can be had.
        """


class Trail(Protocol):
    """The audit trail."""

    async def append(self, record: AuditRecord) -> None:
        """Return only once the record is durable. Raise AuditError if it may not be. Cancelling loses no record."""

    def post(self, record: AuditRecord) -> None:
        """Queue a record in order without waiting. If it cannot become durable, `is_writable` turns False."""

    def is_writable(self) -> bool:
        """Return False while the trail cannot take records: nothing may be allowed then."""


class Minter(Protocol):
    """All connectors behind one door, with one cache per session and grant."""

    def plan(self, view: RequestView, intent: Intent, grant: Grant) -> Plan:
        """Return how the request will be served: what it needs, and whether its body must be digested first.

        Raise CredentialError (`signing-unsupported`, `signing-scope`, `credential-scope`) when the request can never
        be given this credential. Pure; called before anything is minted.
        """

    def held(self, session_id: str, grant: Grant, need: Need, now: datetime) -> Credential | None:
        """Return what `mint` would return at once, None where it would have something to do."""

    async def mint(self, request: MintRequest) -> Credential:
        """Return a live credential of this session for this grant: cached, refreshed early, minted once at a time.

        Raises CredentialError: `credential-unavailable` when the issuer cannot be reached in time,
        `credential-refused` when it says no.
        """

    def apply(self, view: RequestView, grant: Grant, credential: Credential, body_digest: str | None) -> Edits:
        """Return what to change so that `view` carries `credential`. Pure. Raises CredentialError.

        `view` still holds the job's own credential fields; they are removed whatever is returned.
        """

    async def drop(self, session_id: str) -> Sequence[Dropped]:
        """Forget every credential of a session, revoke what can be, within seconds; return what became of each."""


class Meter(Protocol):
    """Counters. Labels are bounded: never a host or a path."""

    def count_decision(self, decision: Decision) -> None:
        """Count one decision by effect, reason and rule."""

    def count_event(self, name: str) -> None:
        """Count one named event of a fixed list."""
