"""An engine that remembers every call and does on cue what a broken one would: deny, raise, hang, cancel, exit, lie."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from proxy.engine.seam import Clearance, ConnectionEnd, Denial, Outcome, Peer, Presented, Tunnel
from proxy.model.authority import Authority
from proxy.model.decision import Decision, Effect
from proxy.model.grant import NO_EDITS, Edits, Grant, Plan
from proxy.model.identity import JobContext, Principal, Session
from proxy.model.intent import BodyWanted, RequestView
from proxy.model.reason import Reason

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def make_session(name: str) -> Session:
    return Session(
        id=name,
        principal=Principal(provider="generic", issuer="https://issuer.test", subject=name, token_digest="0" * 64),
        job=JobContext(pipeline=name),
        opened_at=EPOCH,
        expires_at=EPOCH.replace(year=2030),
    )


class FakeEngine:
    """`gateway.ports.Path`. Any password opens the session of that name; `faults` maps a method to what it does.

    A fault is a Denial or any value (returned), an exception (raised), or "hang". `edits`, `grant`, `needs_digest`,
    `inspect` shape the answers; `deny` refuses what it is true for.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.faults: dict[str, Any] = {}
        self.edits: Edits = NO_EDITS
        self.grant: Grant | None = None
        self.passes_cookies = False
        self.needs_digest = False
        self.wanted: BodyWanted | None = None
        self.is_insatiable = False
        self.inspect = True
        self.presented: list[str | None] = []
        self.views: list[RequestView] = []
        self.digests: list[str | None] = []
        self.opened: list[str] = []
        self.outcomes: dict[str, list[Outcome]] = {}
        self.refusals: list[tuple[Reason, str]] = []
        self.ends: list[ConnectionEnd] = []
        self.denied_paths: set[str] = set()
        self.denied_hosts: set[str] = set()
        self.needs_password = True
        self._flows = 0

    async def authenticate(self, presented: Presented | None, peer: Peer) -> Session | Denial:
        secret = presented.secret.reveal() if presented is not None else None
        self.presented.append(secret)
        await self._act("authenticate")
        if "authenticate" in self.faults:
            return self.faults["authenticate"]  # type: ignore[no-any-return]
        if secret is None and self.needs_password:
            return Denial(reason=Reason.IDENTITY_MISSING, flow_id=self._flow())
        return make_session(secret or "sidecar")

    async def open_tunnel(self, session: Session, authority: Authority, peer: Peer) -> Tunnel | Denial:
        await self._act("open_tunnel")
        if "open_tunnel" in self.faults:
            return self.faults["open_tunnel"]  # type: ignore[no-any-return]
        if authority.host in self.denied_hosts:
            return Denial(reason=Reason.NO_RULE, flow_id=self._flow())
        flow = self._flow()
        if not self.inspect:
            self.opened.append(flow)
        return Tunnel(flow_id=flow, inspect=self.inspect)

    async def admit(self, session: Session, view: RequestView, peer: Peer) -> Clearance | Denial | BodyWanted:
        self.views.append(view)
        if self.wanted is not None and (view.body is None or self.is_insatiable):
            return self.wanted
        await self._act("admit")
        if "admit" in self.faults:
            return self.faults["admit"]  # type: ignore[no-any-return]
        if view.path in self.denied_paths or view.authority.host in self.denied_hosts:
            return Denial(reason=Reason.NO_RULE, flow_id=self._flow(), rule_ids=("some-rule",))
        flow = self._flow()
        self.opened.append(flow)
        return Clearance(
            flow_id=flow,
            session=session,
            view=view,
            decision=Decision(
                effect=Effect.ALLOW,
                reason=Reason.ALLOWED,
                rule_ids=("allow",),
                revision="r",
                passes_cookies=self.passes_cookies,
            ),
            grant=self.grant,
            stripped=frozenset(),
            plan=Plan(needs_digest=self.needs_digest),
        )

    def equip_at_once(self, clearance: Clearance) -> Edits | None:
        if "equip_at_once" in self.faults:
            fault = self.faults["equip_at_once"]
            if isinstance(fault, BaseException):
                raise fault
            return fault  # type: ignore[no-any-return]
        return None

    async def equip(self, clearance: Clearance, body_digest: str | None) -> Edits | Denial:
        self.digests.append(body_digest)
        await self._act("equip")
        if "equip" in self.faults:
            answer = self.faults["equip"]
            if isinstance(answer, Denial):
                self.conclude(clearance.flow_id, Outcome(reason=answer.reason))
            return answer  # type: ignore[no-any-return]
        return self.edits

    async def refuse(
        self, reason: Reason, peer: Peer, session: Session | None, detail: str = "", authority: Authority | None = None
    ) -> Denial:
        await self._act("refuse")
        if "refuse" in self.faults:
            return self.faults["refuse"]  # type: ignore[no-any-return]
        self.refusals.append((reason, detail))
        return Denial(reason=reason, flow_id=self._flow(), detail=detail)

    def conclude(self, flow_id: str, outcome: Outcome) -> None:
        self.outcomes.setdefault(flow_id, []).append(outcome)

    def close_connection(self, end: ConnectionEnd) -> None:
        self.ends.append(end)

    @property
    def last_outcome(self) -> Outcome:
        return self.outcomes[self.opened[-1]][-1]

    def unbalanced(self) -> list[str]:
        """Flows not concluded exactly once, and connections not ended exactly once."""
        flows = [flow for flow in self.opened if len(self.outcomes.get(flow, [])) != 1]
        ends = Counter(end.peer.connection_id for end in self.ends)
        return flows + [name for name, count in ends.items() if count != 1]

    async def _act(self, method: str) -> None:
        fault = self.faults.get(method)
        self.calls.append((method, fault))
        if isinstance(fault, BaseException):
            raise fault
        if fault == "hang":
            await asyncio.Event().wait()

    def _flow(self) -> str:
        self._flows += 1
        return f"flow-{self._flows}"
