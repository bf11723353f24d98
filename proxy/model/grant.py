"""With what: grants, secrets, minted credentials, and the edits that put them on a request."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NoReturn, Protocol

from proxy.model.intent import Headers
from proxy.model.quick import quick

REDACTED: Final = "[redacted]"


class Secret:
    """Text that cannot be printed, formatted, compared, hashed or pickled by accident. Only `reveal` gives it out."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text. Call it only where the secret goes on a wire or into a signature."""
        return self._text

    def __repr__(self) -> str:
        return REDACTED

    def __str__(self) -> str:
        return REDACTED

    def __format__(self, spec: str) -> str:
        return REDACTED

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("secrets are not compared; use hmac.compare_digest on what reveal() returns")

    def __hash__(self) -> NoReturn:
        raise TypeError("secrets are not hashed")

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are not pickled")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldToken:
    """A job's token for another audience, kept for a connector. Not verified here: its audience verifies it."""

    audience: str
    token: Secret
    expires_at: datetime


AGENT_TOKEN: Final = "buildkite-agent"  # noqa: S105 - where it stands, not what it is
"""Where the token of the job's agent stands among a session's tokens. It is no audience's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a decision lets be minted: by which connector, with which scope, for how long.

    `scope` is the rule's `credential:` block, JSON-shaped and validated by the connector's own schema.
    `key` is a digest of connector and scope: together with the session it names one cached credential.
    """

    connector: str
    scope: Mapping[str, object]
    lifetime: timedelta
    key: str


type Need = tuple[tuple[str, str], ...]
"""What one request needs of a credential, in a connector's own words, sorted: `repository`, `permission`, ...

A connector that can mint narrower than its rule says so with it; requests of the same need share one credential.
"""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a connector will serve one request. Made before the decision is on record, and before anything is minted."""

    needs_digest: bool = False
    """Whether `apply` wants the SHA-256 of the body."""
    need: Need = ()


PLAIN: Final = Plan()


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class MintRequest:
    """All a connector learns about a job: enough to ask for a credential, nothing to decide by."""

    grant: Grant
    session_id: str
    labels: Mapping[str, str]
    """`organization`, `pipeline`, `step`, `branch`, `build_number`, `job_id`, ...: for session names and tags; and
    `issuer`, who states them."""
    tokens: Mapping[str, HeldToken]
    need: Need = ()
    rule: str | None = None
    """The rule that wants jobgate's own token about the job, in place of the job's; None for the job's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What was minted. `secrets` by the connector's own names; `facts` may be recorded, `secrets` never."""

    connector: str
    secrets: Mapping[str, Secret] = field(repr=False)
    facts: Mapping[str, str]
    fingerprint: str
    """First 16 hex digits of the SHA-256 of the secret: names it in records without showing it."""
    expires_at: datetime | None
    """When it is no longer used."""
    ends_at: datetime | None = None
    """When its issuer ends it, where that is later: until then there is something to take back."""


class Fate(StrEnum):
    """What becomes of a credential that is dropped."""

    REVOKED = "revoked"
    """Its issuer confirmed that it is void."""
    EXPIRES = "expires"
    """Its issuer cannot take it back: it is forgotten here and dies at its end."""
    REVOKE_FAILED = "revoke-failed"
    """Its issuer could have taken it back and did not say that it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A credential that nobody gets any more."""

    credential: Credential
    fate: Fate


class BodyRewriter(Protocol):
    """Rewrites a body on its way, piece by piece, without changing its length. One for each time it is sent."""

    def feed(self, piece: bytes) -> bytes:
        """Return what may be sent of the bytes so far. Raises ProtocolError to break the request off."""

    def feed_last(self, piece: bytes) -> bytes:
        """As `feed`, for the last piece. Raises ProtocolError when the body ends too early."""

    def finish(self) -> bytes:
        """As `feed_last`, for no piece."""


class AnswerReader(Protocol):
    """Reads a response's body as it passes, and changes nothing. One for each response."""

    def feed(self, piece: bytes) -> None:
        """Read a piece, content coding and all."""

    def finish(self) -> None:
        """Note that the body is whole. Called before its last bytes go to the job."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    """The difference between the request we decided on and the one we send. Data, so that simulate can show it.

    Names are lower case. `query` of None leaves the query as it is. `watch` is what must not come back in a response.
    `rewriter` makes what signs the body's parts again; None for a body that is sent as it is. `reader` is asked, with a
    response's status, content coding and fields, for what reads its body; None where nothing of it needs to be known.
    """

    remove: frozenset[str] = frozenset()
    put: tuple[tuple[str, str | Secret], ...] = ()
    query: str | None = None
    watch: tuple[Secret, ...] = ()
    rewriter: Callable[[], BodyRewriter] | None = field(default=None, repr=False)
    reader: Callable[[int, str | None, Headers], AnswerReader | None] | None = field(default=None, repr=False)

    def joined(
        self, remove: frozenset[str], reader: Callable[[int, str | None, Headers], AnswerReader | None]
    ) -> "Edits":
        """Return the same edits with more fields to remove, and who reads the answer."""
        return Edits(
            remove=self.remove if remove <= self.remove else self.remove | remove,
            put=self.put,
            query=self.query,
            watch=self.watch,
            rewriter=self.rewriter,
            reader=reader,
        )


NO_EDITS: Final = Edits()
