"""The desk: who may open a session, who a proxy password belongs to, and how a session ends.

A session exists only once its opening is on record. A token opens one session per proxy, whichever way it comes in.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from proxy.engine.kills import KillSwitch
from proxy.engine.ports import Clock, Entropy, KeySource, Minter, Trail
from proxy.engine.records import dropped_facts, identity_facts, job_facts
from proxy.engine.seam import Denial, Peer, Presented
from proxy.identity.profiles import check_trusted, find_drift, principal_of
from proxy.identity.sessions import (
    DEFAULT_CEILING,
    DEFAULT_MAXIMUM,
    DEFAULT_REMEMBERED,
    PlaceholderBook,
    ReplayRegister,
    SessionBook,
    digest_secret,
)
from proxy.identity.tokens import (
    MAX_TOKEN,
    UnverifiedHeader,
    digest_token,
    is_token,
    peek_unverified,
    peek_unverified_claims,
    replay_key,
    verify,
)
from proxy.model.errors import AuditError, IssuerError, TokenError
from proxy.model.grant import AGENT_TOKEN, Dropped, HeldToken, Secret
from proxy.model.identity import JobContext, Principal, Session, TrustedIssuer, UnverifiedToken, VerifiedClaims
from proxy.model.placeholder import PUBLIC, Placeholders, derive_placeholders
from proxy.model.reason import Reason
from proxy.model.record import AuditRecord, Fact, Kind

MAX_OTHER_TOKENS: Final = 8
# Claims that name one job: a token handed over beside the first must not come from another.
_SAME_JOB: Final = ("job_id", "run_id", "pipeline_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedSession:
    """A session and its password, which is given out once and kept by nobody here."""

    session: Session
    secret: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskParts:
    """The edges, wired by `app`.

    `new_lock` makes a mutual exclusion of the event loop (`asyncio.Lock`); `together` waits for several things at once
    (`asyncio.gather`): ending many sessions takes as long as the slowest issuer, not as all of them.
    """

    clock: Clock
    entropy: Entropy
    trail: Trail
    keys: KeySource
    minter: Minter
    new_lock: Callable[[], AbstractAsyncContextManager[object]]
    together: Callable[..., Awaitable[object]]
    kills: KillSwitch = field(default_factory=KillSwitch)
    placeholders: PlaceholderBook = field(default_factory=PlaceholderBook)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskLimits:
    """How long a session may live, how many may be open, how many used tokens are remembered."""

    ceiling: timedelta = DEFAULT_CEILING
    maximum: int = DEFAULT_MAXIMUM
    remembered: int = DEFAULT_REMEMBERED


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identified:
    """What a token proved, before anything was opened on it."""

    trusted: TrustedIssuer
    principal: Principal
    job: JobContext
    claims: VerifiedClaims = field(repr=False)
    replay: tuple[str, str]
    until: datetime
    tokens: Mapping[str, HeldToken]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What somebody who wants a session brought."""

    token: UnverifiedToken
    others: Sequence[UnverifiedToken]
    address: str
    placeholders: Placeholders
    declared: tuple[str, ...] | None = None
    agent_token: Secret | None = None
    trace: str | None = None


@dataclass(slots=True)
class _Turn:
    lock: AbstractAsyncContextManager[object]
    waiting: int = 0


class SessionDesk:
    """Opens, recognises and ends sessions. Raises ConfigError for an issuer that would be trusted too far.

    Every refusal is a value and leaves a record. What a port raises beyond its contract passes through: the caller's
    guard denies.
    """

    def __init__(self, parts: DeskParts, issuers: Sequence[TrustedIssuer], limits: DeskLimits | None = None) -> None:
        for trusted in issuers:
            check_trusted(trusted)
        self._parts = parts
        self._issuers = tuple(issuers)
        self._limits = limits or DeskLimits()
        self._book = SessionBook()
        self._replays = ReplayRegister(self._limits.remembered)
        self._own: Session | None = None
        self._has_own = False
        self._opening = 0
        self._declared: dict[tuple[str, str], tuple[tuple[str, ...], datetime]] = {}
        self._turns: dict[str, _Turn] = {}
        self._listeners: list[Callable[[str], None]] = []

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The open sessions."""
        now = self._now()
        return tuple(session for session in self._book if now < session.expires_at)

    def on_close(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the name of every session that ends."""
        self._listeners.append(listener)

    def is_open(self, session: Session, now: datetime) -> bool:
        """Return whether a session is still open."""
        return self._book.is_open(session.id, now)

    def find_owner(self, secret: Secret) -> Session | None:
        """Return the open session this is the password of, without opening one."""
        found = self._book.match(digest_secret(secret.reveal()))
        return found if found is not None and self.is_open(found, self._now()) else None

    async def open(
        self,
        token: UnverifiedToken,
        others: Sequence[UnverifiedToken],
        peer_address: str,
        declared: tuple[str, ...] | None = None,
        agent_token: Secret | None = None,
        trace: str | None = None,
    ) -> OpenedSession | Denial:
        """Exchange a token, and the job's tokens for other audiences, for a session and its password.

        `declared` is what the step says it will do. The first declaration of a job stands for all its sessions.
        `agent_token` is what the job's agent calls its CI with, for the connector that does so in the job's name.
        `trace` is the job's own `traceparent`: a label for telemetry.
        """
        secret = self._parts.entropy.new_secret()
        asked = _Asked(token, others, peer_address, derive_placeholders(secret.reveal()), declared, agent_token, trace)
        opened = await self._open(asked, digest_secret(secret.reveal()))
        return opened if isinstance(opened, Denial) else OpenedSession(session=opened, secret=secret)

    async def adopt_own(
        self, token: UnverifiedToken, others: Sequence[UnverifiedToken], declared: tuple[str, ...] | None = None
    ) -> Session | Denial:
        """Open the sidecar's own session: its job needs no proxy password. A later call replaces the earlier one."""
        unknown = digest_secret(self._parts.entropy.new_secret().reveal())
        opened = await self._open(_Asked(token, others, "own", PUBLIC, declared), unknown)
        if isinstance(opened, Session):
            self.set_own(opened)
        return opened

    async def open_local(self, job: JobContext, declared: tuple[str, ...] | None = None) -> Session:
        """Open the own session of `exec`, on the word of whoever started it; the record says that nobody verified it.

        Raises AuditError when the opening cannot be recorded.
        """
        now = self._now()
        session = Session(
            id=self._parts.entropy.new_id(),
            principal=Principal(provider="local", issuer="local", subject="unverified", token_digest=""),
            job=job,
            opened_at=now,
            expires_at=now + self._limits.ceiling,
            declared=declared,
        )
        facts: dict[str, Fact] = {"session": session.id, "provider": "local", **identity_facts(job), "verified": False}
        if declared is not None:
            facts["declared"] = [*declared]
        await self._parts.trail.append(AuditRecord(kind=Kind.SESSION_OPENED, at=now, facts=facts))
        self._book.add(session, digest_secret(self._parts.entropy.new_secret().reveal()))
        self.set_own(session)
        return session

    def now(self) -> datetime:
        """Return the desk's time."""
        return self._now()

    def set_own(self, session: Session) -> None:
        """Let whoever presents no password be this session's job. Raises ValueError when it is not open."""
        if not self.is_open(session, self._now()):
            raise ValueError("only an open session can be the sidecar's own")
        self._own = session
        self._has_own = True

    async def authenticate(self, presented: Presented | None, peer: Peer) -> Session | Denial:
        """Return the session of a proxy password: an opaque secret, or a raw token that opens one at its first use.

        No password means the sidecar's own session where there is one. A wrong password is never taken for none.
        """
        if presented is None:
            return self._own_session()
        text = presented.secret.reveal()
        if len(text) > MAX_TOKEN:
            return self._deny(Reason.IDENTITY_OVERSIZED)
        digest = digest_secret(text)
        found = self._book.match(digest)
        if found is not None:
            return self._if_open(found)
        if not is_token(text):
            return self._deny(Reason.SESSION_UNKNOWN)
        async with self._turn(digest):
            # Whoever waited here finds what the first one opened: one token, one verification, one session.
            found = self._book.match(digest)
            if found is not None:
                return self._if_open(found)
            return await self._open(_Asked(UnverifiedToken(text), (), peer.address, derive_placeholders(text)), digest)

    async def close(self, session_id: str, why: str) -> bool:
        """End a session and drop its credentials. Returns False when no such session is open."""
        session = self._book.close(session_id)
        if session is None:
            return False
        self._parts.placeholders.remove(session.placeholders)
        if self._own is session:
            self._own = None
        try:
            for listener in self._listeners:
                listener(session_id)
        finally:
            await self._drop(session, why)
        return True

    async def _drop(self, session: Session, why: str) -> None:
        dropped: Sequence[Dropped] | None = None
        try:
            dropped = await self._parts.minter.drop(session.id)
        except Exception:  # noqa: BLE001 - the session is over whatever its credentials' issuers say; the record tells
            dropped = None
        finally:
            self._parts.trail.post(_closed_record(self._now(), session, why, dropped))

    async def close_all(self, why: str) -> None:
        """End every session, at shutdown."""
        await self._parts.together(*[self.close(session.id, why) for session in tuple(self._book)])

    async def sweep(self) -> int:
        """End the sessions whose time is up and forget tokens that expired since. Returns how many ended."""
        now = self._now()
        self._replays.purge(now)
        self._declared = {key: held for key, held in self._declared.items() if now < held[1]}
        over = self._book.expired(now)
        await self._parts.together(*[self.close(session.id, "expired") for session in over])
        return len(over)

    def _own_session(self) -> Session | Denial:
        if self._own is not None:
            return self._if_open(self._own)
        return self._deny(Reason.SESSION_EXPIRED if self._has_own else Reason.IDENTITY_MISSING)

    def _if_open(self, session: Session) -> Session | Denial:
        return session if self.is_open(session, self._now()) else self._deny(Reason.SESSION_EXPIRED)

    async def _open(self, asked: _Asked, digest: str) -> Session | Denial:
        token, address = asked.token, asked.address
        if not self._parts.trail.is_writable():
            return self._deny(Reason.TRAIL_UNAVAILABLE)
        if len(self._book) >= self._limits.maximum:
            await self.sweep()
        try:
            identified = await self._identify(token, asked.others)
        except (TokenError, IssuerError) as error:
            return self._refuse(error.reason, str(error), token, address)
        if self._parts.kills.of_job(identified.job) is not None:
            return self._refuse(Reason.KILLED, "an operator has stopped this job", token, address)
        # From here to the reservation nothing is awaited: of two that come at once, one wins.
        now = self._now()
        if self._replays.is_used(identified.replay):
            return self._refuse(Reason.IDENTITY_REPLAYED, "the token has been used", token, address)
        is_full = self._replays.is_full(now) or len(self._declared) >= self._limits.remembered
        if len(self._book) + self._opening >= self._limits.maximum or is_full:
            return self._refuse(Reason.SESSION_LIMIT, "no room for another session", token, address)
        session = Session(
            id=self._parts.entropy.new_id(),
            principal=identified.principal,
            job=identified.job,
            opened_at=now,
            expires_at=now + self._limits.ceiling,
            tokens=_with_agent(identified.tokens, asked.agent_token, now + self._limits.ceiling),
            declared=self._declare(identified, asked.declared),
            placeholders=asked.placeholders,
            trace=asked.trace,
        )
        return await self._enter(session, identified, address, digest)

    def _declare(self, identified: _Identified, declared: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Return what holds for this session: the job's first declaration, if it ever made one.

        A job can close the session that its step's hook opened, and open others, but not undo what the hook said.
        """
        job_id = identified.job.job_id
        if job_id is None:
            return declared
        key = (identified.principal.issuer, job_id)
        if declared is not None and key not in self._declared:
            self._declared[key] = (declared, self._now() + self._limits.ceiling)
        return self._declared[key][0] if key in self._declared else None

    async def _enter(self, session: Session, identified: _Identified, address: str, digest: str) -> Session | Denial:
        self._replays.remember(identified.replay, identified.until)
        self._opening += 1
        entered = False
        try:
            await self._parts.trail.append(_opened_record(session, identified, address))
            self._book.add(session, digest)
            self._parts.placeholders.add(session.placeholders)
            entered = True
        except AuditError:
            return self._deny(Reason.TRAIL_UNAVAILABLE)
        finally:
            self._opening -= 1
            if not entered:
                # Nobody was given this session. Its record may have been kept all the same: say that it is over.
                self._replays.forget(identified.replay)
                self._parts.trail.post(_closed_record(self._now(), session, "never-opened", ()))
        return session

    async def _identify(self, token: UnverifiedToken, others: Sequence[UnverifiedToken]) -> _Identified:
        header = peek_unverified(token)
        candidates = [trusted for trusted in self._issuers if trusted.issuer == header.issuer]
        if not candidates:
            raise TokenError("`iss` is not a trusted issuer", Reason.IDENTITY_ISSUER)
        keys = await self._parts.keys.keys(header.issuer, header.kid)
        now, digest = self._now(), digest_token(token)
        refused: TokenError | None = None
        for trusted in candidates:
            try:
                claims = verify(token, keys, trusted, now)
                principal, job = principal_of(claims, trusted, digest)
            except TokenError as error:
                refused = refused or error
                continue
            return _Identified(
                trusted=trusted,
                principal=principal,
                job=job,
                claims=claims,
                replay=replay_key(token, claims),
                until=datetime.fromtimestamp(int(str(claims["exp"])), UTC) + trusted.leeway,
                tokens=_hold_tokens(others, trusted, claims, now),
            )
        raise refused or TokenError("`iss` is not a trusted issuer", Reason.IDENTITY_ISSUER)

    def _deny(self, reason: Reason, detail: str = "") -> Denial:
        return Denial(reason=reason, flow_id=self._parts.entropy.new_id(), detail=detail)

    def _refuse(self, reason: Reason, detail: str, token: UnverifiedToken, address: str) -> Denial:
        facts: dict[str, Fact] = {
            "reason": reason.value,
            "detail": detail,
            "client": address,
            "token": digest_token(token),
        }
        issuer = _trusted_name(token, self._issuers)
        if issuer is not None:
            facts["issuer"] = issuer
        self._parts.trail.post(AuditRecord(kind=Kind.SESSION_REFUSED, at=self._now(), facts=facts))
        return self._deny(reason, detail)

    def _now(self) -> datetime:
        return self._parts.clock.now()

    @asynccontextmanager
    async def _turn(self, digest: str) -> AsyncIterator[None]:
        """Let the first users of one token go one by one; the entry lives only while somebody is here."""
        turn = self._turns.setdefault(digest, _Turn(self._parts.new_lock()))
        turn.waiting += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._turns[digest]


def _trusted_name(token: UnverifiedToken, issuers: Sequence[TrustedIssuer]) -> str | None:
    """Return the issuer of a refused token, if it is one of ours: the only thing of it that goes on record."""
    try:
        header: UnverifiedHeader = peek_unverified(token)
    except TokenError:
        return None
    return next((trusted.issuer for trusted in issuers if trusted.issuer == header.issuer), None)


def _hold_tokens(
    others: Sequence[UnverifiedToken], trusted: TrustedIssuer, claims: VerifiedClaims, now: datetime
) -> dict[str, HeldToken]:
    """Sort a job's other tokens by audience. Their audiences verify them; here they must be plausible and ours not."""
    if len(others) > MAX_OTHER_TOKENS:
        raise TokenError("more than eight other tokens", Reason.IDENTITY_OVERSIZED)
    held: dict[str, HeldToken] = {}
    for other in others:
        token = _hold_token(other, trusted, claims)
        if token.audience == trusted.audience or token.audience in held:
            raise TokenError("two tokens for one audience", Reason.IDENTITY_AUDIENCE)
        if token.expires_at <= now:
            raise TokenError("another token's `exp` has passed", Reason.IDENTITY_EXPIRED)
        held[token.audience] = token
    return held


def _with_agent(held: Mapping[str, HeldToken], token: Secret | None, until: datetime) -> Mapping[str, HeldToken]:
    """Add the agent's token, which lives longer than any session; a job's token cannot pass for it."""
    own = {} if token is None else {AGENT_TOKEN: HeldToken(audience=AGENT_TOKEN, token=token, expires_at=until)}
    return {name: each for name, each in held.items() if name != AGENT_TOKEN} | own


def _hold_token(other: UnverifiedToken, trusted: TrustedIssuer, claims: VerifiedClaims) -> HeldToken:
    stated = peek_unverified_claims(other)
    if stated.get("iss") != trusted.issuer:
        raise TokenError("another token's `iss` is not that of the first", Reason.IDENTITY_ISSUER)
    if any(name in stated and name in claims and stated[name] != claims[name] for name in _SAME_JOB):
        raise TokenError("another token is not of the same job", Reason.IDENTITY_CLAIMS)
    return HeldToken(
        audience=_one_audience(stated.get("aud")), token=Secret(other), expires_at=_read_expiry(stated.get("exp"))
    )


def _one_audience(value: Any) -> str:
    audience = value[0] if isinstance(value, list) and len(value) == 1 else value
    if not isinstance(audience, str) or not 0 < len(audience) <= 256 or not audience.isprintable():
        raise TokenError("another token's `aud` is not one short text", Reason.IDENTITY_AUDIENCE)
    return audience


def _read_expiry(value: Any) -> datetime:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**37:
        raise TokenError("another token's `exp` is missing or not a whole number of seconds", Reason.IDENTITY_CLAIMS)
    return datetime.fromtimestamp(value, UTC)


def _opened_record(session: Session, identified: _Identified, address: str) -> AuditRecord:
    facts: dict[str, Fact] = {
        "session": session.id,
        "client": address,
        "provider": session.principal.provider,
        "issuer": session.principal.issuer,
        "subject": session.principal.subject,
        "token": session.principal.token_digest,
        **identity_facts(session.job),
        "audiences": [*sorted(session.tokens)],
        "expires_at": session.expires_at.isoformat(),
    }
    if session.declared is not None:
        facts["declared"] = [*session.declared]
    if session.trace is not None:
        facts["trace"] = session.trace
    drift = find_drift(identified.claims, identified.trusted)
    if drift:
        facts["drift"] = list(drift)
    return AuditRecord(kind=Kind.SESSION_OPENED, at=session.opened_at, facts=facts)


def _closed_record(at: datetime, session: Session, why: str, dropped: Sequence[Dropped] | None) -> AuditRecord:
    facts: dict[str, Fact] = {"session": session.id, "job": job_facts(session.job), "why": why}
    if dropped is None:
        facts["drop_failed"] = True
    else:
        facts["dropped"] = dropped_facts(dropped)
    return AuditRecord(kind=Kind.SESSION_CLOSED, at=at, facts=facts)
