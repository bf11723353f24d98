"""Issuers' signing keys over HTTPS, cached. Edge; implements `engine.ports.KeySource`.

One fetch at a time per issuer, no redirects, bounded size and time. Keys are renewed in the background before anybody
waits for them; while an issuer is down the known ones serve until the staleness bound, then nothing verifies.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Final, Protocol

from proxy.identity.jwks import MAX_DOCUMENT, discovery_url, read_discovery, read_keys
from proxy.identity.profiles import jwks_url_of
from proxy.model.errors import IssuerError, JobgateError
from proxy.model.identity import KeySet, TrustedIssuer
from proxy.outbound import Answer, Call

_LONGEST_PAUSE: Final = 60.0
_JITTER: Final = SystemRandom().random


class Caller(Protocol):
    """Makes our own HTTPS calls, without redirects and within limits; `outbound.Outbound`."""

    async def call(self, call: Call) -> Answer:
        """Return the answer. Raises JobgateError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """Seconds. `fresh` until renewed in the background, `stale` until nothing verifies any more."""

    fresh: float = 300.0
    stale: float = 86_400.0
    unknown: float = 60.0
    """At most one refresh per issuer and this long for key ids nobody published."""
    fetch: float = 5.0


@dataclass(slots=True, kw_only=True)
class _State:
    """What is known of one issuer. Times are the timer's."""

    issuer: str
    algorithms: tuple[str, ...]
    configured: str | None
    discovered: str | None = None
    keys: KeySet | None = None
    fetched: float = 0.0
    asked: float | None = None
    failures: int = 0
    paused: float = float("-inf")
    fault: str = ""
    flight: asyncio.Task[None] | None = None
    ids: frozenset[str | None] = field(default_factory=frozenset)


class JwksCache:
    """The keys of the configured issuers. `timer` is monotonic seconds, `jitter` a number from 0 to 1."""

    def __init__(
        self,
        caller: Caller,
        issuers: Sequence[TrustedIssuer],
        limits: KeyLimits | None = None,
        *,
        timer: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = _JITTER,
    ) -> None:
        self._caller = caller
        self._limits = limits or KeyLimits()
        self._timer = timer
        self._jitter = jitter
        self._states = {name: _new_state(name, issuers) for name in {trusted.issuer for trusted in issuers}}

    @property
    def faults(self) -> Mapping[str, str]:
        """The issuers whose last fetch failed, and why: text that is safe to show an operator."""
        return {name: state.fault for name, state in self._states.items() if state.fault}

    async def keys(self, issuer: str, kid: str | None) -> KeySet:
        """Return the usable keys of a configured issuer; see `engine.ports.KeySource`."""
        state = self._states.get(issuer)
        if state is None:
            raise IssuerError("not a configured issuer")
        if self._usable(state) is None:
            if self._timer() >= state.paused:
                await self._refresh(state)
        elif kid is not None and kid not in state.ids and self._may_ask(state):
            state.asked = self._timer()
            await self._refresh(state)
        elif self._wants_renewal(state):
            self._take_off(state)
        keys = self._usable(state)
        if keys is None:
            raise IssuerError(f"the signing keys of {issuer} cannot be had: {state.fault or 'they are too old'}")
        return keys

    async def warm(self) -> None:
        """Fetch every issuer's keys, so that the first job need not wait. Failures show in `faults`."""
        await asyncio.gather(*(self._refresh(state) for state in self._states.values()))

    async def close(self) -> None:
        """Give up the fetches under way."""
        flights = [state.flight for state in self._states.values() if state.flight is not None]
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _usable(self, state: _State) -> KeySet | None:
        return state.keys if self._timer() - state.fetched <= self._limits.stale else None

    def _wants_renewal(self, state: _State) -> bool:
        now = self._timer()
        return now - state.fetched > self._limits.fresh and now >= state.paused

    def _may_ask(self, state: _State) -> bool:
        """Whether an unknown key id may cause a fetch: a flood of made-up ids must cost the issuer nothing."""
        if state.flight is not None:
            return True  # one is under way already: waiting for it costs nobody anything
        now = self._timer()
        return now >= state.paused and (state.asked is None or now - state.asked >= self._limits.unknown)

    async def _refresh(self, state: _State) -> None:
        # A caller that is cancelled must not take the fetch with it: others wait for the same one.
        await asyncio.shield(self._take_off(state))

    def _take_off(self, state: _State) -> asyncio.Task[None]:
        if state.flight is None:
            state.flight = asyncio.create_task(self._renew(state))
        return state.flight

    async def _renew(self, state: _State) -> None:
        """Fetch once and remember how it went. Never raises but when cancelled."""
        try:
            async with asyncio.timeout(self._limits.fetch * 2):
                keys = await self._read(state)
        except JobgateError as error:
            self._note_failure(state, str(error))
        except TimeoutError:
            self._note_failure(state, "no answer in time")
        except Exception as error:  # noqa: BLE001 - whatever a client library raises is one failed fetch, never a crash
            self._note_failure(state, type(error).__name__)
        else:
            state.keys, state.fetched = keys, self._timer()
            state.ids = frozenset(key.kid for key in keys.keys)
            state.failures, state.paused, state.fault = 0, float("-inf"), ""
        finally:
            state.flight = None

    def _note_failure(self, state: _State, fault: str) -> None:
        # Half to the whole of 1, 2, 4 ... 60 s: many proxies must not come back to a sick issuer in step.
        pause = min(2.0**state.failures, _LONGEST_PAUSE)
        state.failures = min(state.failures + 1, 16)
        state.paused = self._timer() + pause * (0.5 + self._jitter() / 2)
        state.fault = fault
        state.discovered = None

    async def _read(self, state: _State) -> KeySet:
        address = state.configured or state.discovered
        if address is None:
            address = read_discovery(await self._get(discovery_url(state.issuer)), state.issuer)
        keys = read_keys(await self._get(address), state.issuer, state.algorithms)
        state.discovered = address
        return keys

    async def _get(self, url: str) -> bytes:
        answer = await self._caller.call(
            Call(
                method="GET",
                url=url,
                headers={"accept": "application/json"},
                timeout=self._limits.fetch,
                limit=MAX_DOCUMENT,
            )
        )
        if answer.status != 200:
            raise IssuerError(f"the issuer answered {answer.status}")
        return answer.body


def _new_state(issuer: str, issuers: Sequence[TrustedIssuer]) -> _State:
    entries = [trusted for trusted in issuers if trusted.issuer == issuer]
    algorithms = dict.fromkeys(name for trusted in entries for name in trusted.algorithms)
    configured = next((url for trusted in entries if (url := jwks_url_of(trusted)) is not None), None)
    return _State(issuer=issuer, algorithms=tuple(algorithms), configured=configured)
