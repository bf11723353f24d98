"""All connectors behind one door. One credential per session, grant and need: never shared, minted once at a time.

A cached credential is used until shortly before it expires; then one request fetches the next while others keep using
the old one, as long as it lives. Failures are remembered for a moment, so that a storm of requests is one call.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError

from proxy.connectors.parts import Clock, Connector, Revoking
from proxy.model.errors import CredentialError, JobgateError
from proxy.model.grant import Credential, Dropped, Edits, Fate, Grant, MintRequest, Need, Plan
from proxy.model.intent import Intent, RequestView
from proxy.model.reason import Reason

_MINT_TIME: Final = 4.5  # within the gateway's five seconds for a decision, so that the reason given is ours
_MARGIN: Final = timedelta(seconds=60)
"""A credential this close to its end, or in the last quarter of a short life, is not put on a request."""
_REVOKE_TIME: Final = 3.0  # seconds; ending a session waits for it
_EARLY: Final = timedelta(minutes=5)
_REMEMBER_FAILURE: Final = timedelta(seconds=2)
_MAXIMUM: Final = 10_000

type _Key = tuple[str, str, Need]


@dataclass(slots=True)
class _Slot:
    """What is known for one session, grant and need."""

    grant: Grant
    credential: Credential | None = None
    life: timedelta = timedelta()
    """How long the credential was to live when it arrived; issuers may give less than was asked for."""
    minting: asyncio.Task[Credential] | None = None
    failure: CredentialError | None = None
    failed_at: datetime | None = None
    replaced: list[Credential] = field(default_factory=list)
    """Those that this one followed and that may still live at their issuer."""

    def is_fresh(self, now: datetime) -> bool:
        """Whether nothing has to be done about the credential yet."""
        return self.credential is not None and _lives(self.credential, now, min(_EARLY, self.life / 3))


class CredentialMinter:
    """`engine.ports.Minter` over the connectors. Use it on one event loop."""

    def __init__(self, connectors: Mapping[str, Connector], clock: Clock, maximum: int = _MAXIMUM) -> None:
        self._connectors = connectors
        self._clock = clock
        self._maximum = maximum
        self._scopes: dict[str, Any] = {}
        self._slots: dict[_Key, _Slot] = {}

    def plan(self, view: RequestView, intent: Intent, grant: Grant) -> Plan:
        """Return how the request will be served. Raises CredentialError."""
        return self._connector(grant).plan(view, intent, self._scope(grant))

    def apply(self, view: RequestView, grant: Grant, credential: Credential, body_digest: str | None) -> Edits:
        """Return the edits. Raises CredentialError."""
        return self._connector(grant).apply(view, self._scope(grant), credential, body_digest)

    def held(self, session_id: str, grant: Grant, need: Need, now: datetime) -> Credential | None:
        """Return a credential of this session that is far from its end, None where there is none."""
        slot = self._slots.get((session_id, grant.key, need))
        return slot.credential if slot is not None and slot.is_fresh(now) else None

    async def mint(self, request: MintRequest) -> Credential:
        """Return a live credential of this session for this grant. Raises CredentialError."""
        key = (request.session_id, request.grant.key, request.need)
        now = self._clock.now()
        slot = self._slots.get(key) or self._new_slot(key, request.grant, now)
        current = slot.credential
        if current is not None:
            if slot.is_fresh(now):
                return current
            if not _lives(current, now, min(_MARGIN, slot.life / 4)):
                slot.replaced.append(current)
                current = slot.credential = None
        if slot.minting is None:
            failure = slot.failure
            if failure is not None and slot.failed_at is not None and now - slot.failed_at < _REMEMBER_FAILURE:
                if current is not None:
                    return current
                raise CredentialError(str(failure), failure.reason)
            slot.minting = asyncio.ensure_future(self._fetch(request, key, slot))
            slot.minting.add_done_callback(_retrieve)  # nobody may be waiting for a successor
        # A credential that still lives is used while its successor is fetched in the background.
        return current if current is not None else await _outcome(slot.minting)

    def _new_slot(self, key: _Key, grant: Grant, now: datetime) -> _Slot:
        if len(self._slots) >= self._maximum:
            for each in [each for each, slot in self._slots.items() if _is_spent(slot, now)]:
                del self._slots[each]
        if len(self._slots) >= self._maximum:
            raise CredentialError("too many credentials are held")
        slot = self._slots[key] = _Slot(grant)
        return slot

    async def drop(self, session_id: str) -> Sequence[Dropped]:
        """Forget every credential of a session, revoke what can be, and return what became of each.

        What is being minted meanwhile is waited for where it can be revoked, and cancelled where it cannot.
        """
        slots = [self._slots.pop(key) for key in [key for key in self._slots if key[0] == session_id]]
        ended = await asyncio.gather(*map(self._end, slots))
        return [each for dropped in ended for each in dropped]

    async def _end(self, slot: _Slot) -> list[Dropped]:
        connector = self._connectors.get(slot.grant.connector)
        if slot.minting is not None:
            if not isinstance(connector, Revoking):
                slot.minting.cancel()
            await asyncio.wait([slot.minting], timeout=_MINT_TIME)
        now = self._clock.now()
        held = [*slot.replaced, *([] if slot.credential is None else [slot.credential])]
        living = [credential for credential in held if _is_alive(credential, now)]
        fates = await asyncio.gather(*(self._revoke(connector, credential, slot.grant) for credential in living))
        return [Dropped(credential=each, fate=fate) for each, fate in zip(living, fates, strict=True)]

    async def _revoke(self, connector: object, credential: Credential, grant: Grant) -> Fate:
        if not isinstance(connector, Revoking):
            return Fate.EXPIRES
        try:
            async with asyncio.timeout(_REVOKE_TIME):
                return Fate.REVOKED if await connector.revoke(credential, self._scope(grant)) else Fate.EXPIRES
        except Exception:  # noqa: BLE001 - one connector's fault must not hide what became of the others' credentials
            return Fate.REVOKE_FAILED

    async def _fetch(self, request: MintRequest, key: _Key, slot: _Slot) -> Credential:
        try:
            async with asyncio.timeout(_MINT_TIME):
                scope = self._scope(request.grant)
                if getattr(scope, "subject", "job") == "jobgate":
                    request = replace(request, rule=scope.rule or "")
                credential = await self._connector(request.grant).mint(request, scope)
            self._check_arrival(credential)
        except TimeoutError:
            error = CredentialError("the credential's issuer did not answer in time")
        except CredentialError as caught:
            error = caught
        except JobgateError as caught:
            error = CredentialError(str(caught))
        else:
            if slot.credential is not None:
                slot.replaced.append(slot.credential)
            now = self._clock.now()
            slot.replaced = [each for each in slot.replaced if _is_alive(each, now)]
            slot.credential, slot.failure, slot.life = credential, None, _life(request, credential, now)
            if self._slots.get(key) is not slot:
                raise CredentialError("the session ended while the credential was minted", Reason.SESSION_EXPIRED)
            return credential
        finally:
            slot.minting = None
        slot.failure, slot.failed_at = error, self._clock.now()
        raise error

    def _check_arrival(self, credential: Credential) -> None:
        if credential.expires_at is not None and credential.expires_at <= self._clock.now():
            raise CredentialError("the credential had expired when it arrived")

    def _connector(self, grant: Grant) -> Connector:
        try:
            return self._connectors[grant.connector]
        except KeyError:
            raise CredentialError(f"no connector is called {grant.connector}") from None

    def _scope(self, grant: Grant) -> Any:
        scope = self._scopes.get(grant.key)
        if scope is None:
            kind = type(self._connector(grant)).Scope
            try:
                scope = kind.model_validate(dict(grant.scope))
            except ValidationError:
                raise CredentialError("the rule's credential block is not valid") from None
            if len(self._scopes) < self._maximum:
                self._scopes[grant.key] = scope
        return scope


def _retrieve(task: asyncio.Task[Credential]) -> None:
    if not task.cancelled():
        task.exception()


def _lives(credential: Credential, now: datetime, margin: timedelta) -> bool:
    return credential.expires_at is None or now + margin < credential.expires_at


def _is_alive(credential: Credential, now: datetime) -> bool:
    """Whether its issuer still takes it, used here or not."""
    return _lives(credential, now, timedelta()) or (credential.ends_at is not None and now < credential.ends_at)


def _life(request: MintRequest, credential: Credential, now: datetime) -> timedelta:
    return request.grant.lifetime if credential.expires_at is None else credential.expires_at - now


def _is_spent(slot: _Slot, now: datetime) -> bool:
    """Whether forgetting the slot loses nothing: no credential that lives, none on its way."""
    held = [*slot.replaced, *([] if slot.credential is None else [slot.credential])]
    return slot.minting is None and not any(_is_alive(each, now) for each in held)


async def _outcome(minting: asyncio.Task[Credential]) -> Credential:
    """Wait for what another request may wait for too. A mint that was dropped is a refusal, not a cancellation."""
    try:
        return await asyncio.shield(minting)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling() or not minting.cancelled():
            raise
        raise CredentialError("the session ended while the credential was minted", Reason.SESSION_EXPIRED) from None
