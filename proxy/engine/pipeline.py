"""Identify, decode, decide, record, mint, edit, record. Deny first, allow last; a record before anything leaves."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Protocol

from proxy.engine import hygiene, records
from proxy.engine.answers import AnswerCollector
from proxy.engine.approvals import BODY_LIMIT, ApprovalBook, Approver, Question
from proxy.engine.builds import BuildBook
from proxy.engine.decide import AccessQuestion, Verdict, decide
from proxy.engine.kills import KillSwitch, is_aimed_at_flow
from proxy.engine.leads import LeadBook, led_by
from proxy.engine.misuse import Carried, is_astray
from proxy.engine.ports import Clock, Entropy, Meter, Minter, Trail
from proxy.engine.repeats import Repeats
from proxy.engine.seam import Clearance, ConnectionEnd, Denial, Outcome, Peer, Presented, Tunnel
from proxy.intents.leads import ANSWER_LIMIT as LEADS_LIMIT
from proxy.intents.leads import may_lead, read_leads, told_fields
from proxy.intents.refusals import Refusal, put_in_words
from proxy.intents.shortfall import ANSWER_LIMIT as SHORTFALL_LIMIT
from proxy.intents.shortfall import STATUSES, read_shortfall
from proxy.model.authority import Authority
from proxy.model.decision import Decision, Effect
from proxy.model.errors import AuditError, CredentialError
from proxy.model.grant import NO_EDITS, PLAIN, AnswerReader, Credential, Edits, Grant, MintRequest, Need, Plan
from proxy.model.identity import JobContext, Session
from proxy.model.intent import BodyWanted, Headers, Intent, RequestView
from proxy.model.kill import Kill
from proxy.model.reason import Reason
from proxy.model.record import Fact
from proxy.policy.compile import RuleSet
from proxy.policy.evaluate import may_match, reach

_REMEMBERED = 100_000
"""Fingerprints of credentials that were issued, of ended sessions too: whoever sends one has what no job gets."""
_COOKIES = frozenset({"cookie", "cookie2"})
_NONE = frozenset[str]()
# OPTIONS may be answered by anyone in front of the service and reflects what it was sent: never a credential (B03).
_NEVER_CREDENTIALED = frozenset({"OPTIONS"})


class Desk(Protocol):
    """Who holds the sessions; `engine.sessions.SessionDesk`."""

    async def authenticate(self, presented: Presented | None, peer: Peer) -> Session | Denial:
        """Return the session a proxy password belongs to."""

    def is_open(self, session: Session, now: datetime) -> bool:
        """Return whether a session is still open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The edges, wired by `app`.

    `rules` returns the current rule set, atomically replaced by a reload; `new_lock` makes a mutual exclusion of the
    event loop (`asyncio.Lock`).
    """

    clock: Clock
    entropy: Entropy
    trail: Trail
    minter: Minter
    meter: Meter
    desk: Desk
    rules: Callable[[], RuleSet]
    new_lock: Callable[[], AbstractAsyncContextManager[object]]
    kills: KillSwitch = field(default_factory=KillSwitch)
    approvals: ApprovalBook = field(default_factory=ApprovalBook)
    builds: BuildBook = field(default_factory=BuildBook)
    teams: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Who may unblock what, by the name of their team: ids and email addresses in lower case."""
    tell: Callable[[Question], None] = lambda _: None
    """Called with each question that a person is asked."""
    issued: Callable[[str, Credential], None] = lambda _, __: None
    """Called with the session's id and each credential that it is given."""


@dataclass(slots=True)
class _OpenFlow:
    """An allowed exchange whose outcome is still to come."""

    session: Session
    host: str
    rule_ids: tuple[str, ...]
    connector: str | None = None
    credential: str | None = None
    shortfall: Mapping[str, str] | None = None


class Engine:
    """The one way a request becomes bytes upstream. Lanes call it; they decide nothing themselves.

    Every method may raise anything (a port may break): the lane's guard turns that, cancellation and timeouts into
    `refuse(..., Reason.INTERNAL)` and a 503. Nothing has left when that happens.
    """

    def __init__(self, parts: Parts, remembered: int = _REMEMBERED) -> None:
        self._parts = parts
        self._remembered = remembered
        self._open: dict[str, _OpenFlow] = {}
        self._recorded: set[tuple[str, str]] = set()
        self._recording = parts.new_lock()
        self._issued: dict[str, None] = {}
        self._repeats: dict[str, Repeats] = {}
        self._leads = LeadBook()
        self._approver = Approver(
            parts.approvals, parts.builds, parts.teams, parts.clock, parts.entropy, parts.trail, parts.tell
        )

    @property
    def open_flows(self) -> int:
        """How many allowed exchanges have no outcome yet."""
        return len(self._open)

    def forget_session(self, session_id: str) -> None:
        """Drop what is remembered of a closed session."""
        self._recorded = {pair for pair in self._recorded if pair[0] != session_id}
        self._repeats.pop(session_id, None)
        self._leads.forget(session_id)
        self._parts.approvals.forget_session(session_id)

    async def authenticate(self, presented: Presented | None, peer: Peer) -> Session | Denial:
        """Return the session of a proxy password, or of the sidecar's own job when there is none."""
        found = await self._parts.desk.authenticate(presented, peer)
        if isinstance(found, Session):
            return found
        return await self.refuse(found.reason, peer, None, found.detail)

    async def open_tunnel(self, session: Session, authority: Authority, peer: Peer) -> Tunnel | Denial:
        """Say whether any rule could let this job talk to this place. Called before the name is resolved."""
        flow_id, now = self._parts.entropy.new_id(), self._now()
        known = self._known(session, now)
        parts: dict[str, Fact] = {"connection": peer.connection_id, **known.facts, **records.connect_facts(authority)}
        if (unfit := self._unfit(session, now)) is not None:
            return await self._deny(flow_id, parts, unfit)
        job = self._with_events(session, parts)
        decision = reach(self._parts.rules(), job, authority, now, session.declared)
        # Of a tunnel that is inspected only the host is decided here: other rules may speak for the requests inside.
        decision = self._stop(decision, authority.host, only_host=decision.inspect)
        if decision.is_allowed and decision.inspect:
            return Tunnel(flow_id=flow_id, inspect=True)  # each request inside is decided, and recorded, on its own
        if (failed := await self._record_decision(flow_id, parts, decision, session)) is not None:
            return failed
        if not decision.is_allowed:
            return _denial(flow_id, decision)
        return Tunnel(flow_id=flow_id, inspect=False)

    async def admit(self, session: Session, view: RequestView, peer: Peer) -> Clearance | Denial | BodyWanted:
        """Decide one request and put the decision on record. A Clearance means: recorded, durable, may be sent.

        A BodyWanted is on no record: read that much of the body, nothing leaving meanwhile, and ask again with it.
        """
        flow_id, now = self._parts.entropy.new_id(), self._now()
        known = self._known(session, now)
        parts: dict[str, Fact] = {"connection": peer.connection_id, **known.facts, **records.request_facts(view)}
        if (unfit := self._unfit(session, now)) is not None:
            return await self._deny(flow_id, parts, unfit)
        led, told = self._follow(session, view, now)
        carried = known.carried(view, told)
        stripped = carried.stripped
        if stripped:
            parts["stripped"] = [*sorted(stripped)]
        if carried.texts and (forbidden := self._find_forbidden(view, carried)) is not None:
            return await self._deny(flow_id, parts, *forbidden)
        job = self._with_events(session, parts)
        verdict = self._judge(AccessQuestion(view, job, self._parts.rules(), now, session.declared, led))
        if isinstance(verdict, BodyWanted):
            return verdict
        decision = self._stop(verdict.decision, view.authority.host)
        if decision.is_allowed and decision.approvals:
            decision = await self._approver.settle(session, view, decision, parts)
        stripped = _spare_cookies(decision, stripped, parts)
        if verdict.fault:
            parts["detail"] = verdict.fault
        parts.update(records.intent_facts(verdict.intent))
        plan = PLAIN
        if decision.is_allowed:
            plan, decision = self._serve(view, verdict.intent, decision, carried.texts, parts)
        if (failed := await self._record_decision(flow_id, parts, decision, session)) is not None:
            return failed
        if not decision.is_allowed:
            return _tell(view, verdict.intent, _denial(flow_id, decision, str(parts.get("detail", ""))))
        return Clearance(
            flow_id=flow_id,
            session=session,
            view=view,
            decision=decision,
            grant=None if view.method in _NEVER_CREDENTIALED else decision.grant,
            stripped=stripped,
            plan=plan,
            intent=verdict.intent,
        )

    def equip_at_once(self, clearance: Clearance) -> Edits | None:
        """Return the edits where nothing has to be waited for. After None, or an error, ask `equip`: it tells why."""
        session, grant, now = clearance.session, clearance.grant, self._now()
        if grant is None:
            return self._edits(clearance, None, None)
        credential = self._parts.minter.held(session.id, grant, clearance.plan.need, now)
        if credential is None or (session.id, credential.fingerprint) not in self._recorded:
            return None
        if self._unfit(session, now) is not None:
            return None
        edits = self._edits(clearance, credential, None)
        self._open[clearance.flow_id].credential = credential.fingerprint
        return edits

    async def equip(self, clearance: Clearance, body_digest: str | None) -> Edits | Denial:
        """Mint what the decision granted and return the edits.

        A Denial here is already on record and the flow concluded.
        """
        session, grant = clearance.session, clearance.grant
        if grant is None:
            return self._edits(clearance, None, body_digest)
        try:
            credential = await self._mint(session, grant, clearance.plan.need)
            edits = self._edits(clearance, credential, body_digest)
        except (CredentialError, AuditError) as error:
            self.conclude(clearance.flow_id, Outcome(reason=error.reason, detail=str(error)))
            detail = str(error) if error.reason is not Reason.CREDENTIAL_REFUSED else ""
            denial = Denial(
                reason=error.reason, flow_id=clearance.flow_id, rule_ids=clearance.decision.rule_ids, detail=detail
            )
            return _tell(clearance.view, clearance.intent, denial)
        # A session may end while its credential is being minted; what was allowed then is not allowed now.
        if (unfit := self._unfit(session, self._now())) is not None:
            self.conclude(clearance.flow_id, Outcome(reason=unfit))
            return Denial(reason=unfit, flow_id=clearance.flow_id)
        self._open[clearance.flow_id].credential = credential.fingerprint
        return edits

    def _edits(self, clearance: Clearance, credential: Credential | None, body_digest: str | None) -> Edits:
        """Return what puts a credential on the request, and who reads the answer. Raises CredentialError."""
        grant = clearance.grant
        if grant is None or credential is None:
            edits = Edits(remove=clearance.stripped) if clearance.stripped else NO_EDITS
            if clearance.intent is None or not may_lead(clearance.intent):
                return edits
        else:
            edits = self._parts.minter.apply(clearance.view, grant, credential, body_digest)
        return edits.joined(clearance.stripped, partial(self._read, clearance))

    def _find_forbidden(self, view: RequestView, carried: Carried) -> tuple[Reason, str] | None:
        """Return why a request is refused for a credential in it, whatever the rules say."""
        real = carried.finding
        if real is None and not self._issued.keys().isdisjoint(carried.fingerprints):
            real = "credential of ours"
        if real is not None:
            self._count_misuse(Reason.CREDENTIAL_MISUSE)
            return Reason.CREDENTIAL_MISUSE, f"a {real.replace('_', ' ')}"
        name = hygiene.find_query_credential(view)
        return None if name is None else (Reason.CREDENTIAL_PRESENT, f"the query parameter `{name}`")

    def _with_events(self, session: Session, parts: dict[str, Fact]) -> JobContext:
        """Return the job with what events have said of it, which goes on record with the decision."""
        job = session.job
        events = self._parts.builds.about(job, session.principal.provider)
        if not events:
            return job
        parts["events"] = {name: fact for name, fact in events.items() if isinstance(fact, (str, bool))}
        return replace(job, events=events)

    @staticmethod
    def _judge(question: AccessQuestion) -> Verdict | BodyWanted:
        """Return what rules say, or how much of the body they need: all, where a person may have to be asked."""
        view, rules = question.view, question.ruleset
        is_here = view.body is not None or view.body_length == 0
        if not is_here and rules.asks(view.authority.host) and may_match(rules, question.job, view):
            return BodyWanted(limit=BODY_LIMIT)
        return decide(question)

    def _serve(
        self,
        view: RequestView,
        intent: Intent | None,
        decision: Decision,
        sent: tuple[str, ...],
        parts: dict[str, Fact],
    ) -> tuple[Plan, Decision]:
        """Return how an allowed request will be served, and what stands of its decision if it cannot be."""
        try:
            return self._plan(view, intent, decision, sent), decision
        except CredentialError as error:
            parts["detail"] = str(error)
            self._count_misuse(error.reason)
            return PLAIN, replace(decision, effect=Effect.DENY, reason=error.reason, grant=None)

    def _plan(self, view: RequestView, intent: Intent | None, decision: Decision, sent: tuple[str, ...]) -> Plan:
        """Return how an allowed request will be served. Raises CredentialError for one that may not be after all."""
        if decision.grant is None:
            if is_astray(sent, view.authority.host):
                raise CredentialError("a placeholder at a host that it is not for", Reason.CREDENTIAL_MISUSE)
            return PLAIN
        if intent is None or view.method in _NEVER_CREDENTIALED:
            return PLAIN
        return self._parts.minter.plan(view, intent, decision.grant)

    def _count_misuse(self, reason: Reason) -> None:
        if reason is Reason.CREDENTIAL_MISUSE:
            self._parts.meter.count_event(reason)

    def _follow(self, session: Session, view: RequestView, now: datetime) -> tuple[Intent | None, frozenset[str]]:
        """Return what the request means if an answer led to it, and the fields that the answer told to send with it."""
        lead = self._leads.find(session.id, view, now)
        return (None, _NONE) if lead is None else (lead.intent, told_fields(lead, view.headers))

    def _read(self, clearance: Clearance, status: int, coding: str | None, fields: Headers) -> AnswerReader | None:
        """Return what reads the answer: for where it leads, or for what it says the credential lacked."""
        flow_id, intent = clearance.flow_id, clearance.intent
        if status == 200 and intent is not None and may_lead(intent):
            return AnswerCollector(coding, LEADS_LIMIT, partial(self._lead, clearance.session, flow_id, intent))
        if status in STATUSES and clearance.grant is not None:
            self._lack(flow_id, read_shortfall(fields, b""))
            tell = partial(self._lack_told, flow_id, fields)
            return AnswerCollector(coding, SHORTFALL_LIMIT, tell, is_prefix_enough=True)
        return None

    def _lack_told(self, flow_id: str, fields: Headers, body: bytes) -> None:
        self._lack(flow_id, read_shortfall(fields, body))

    def _lead(self, session: Session, flow_id: str, intent: Intent, body: bytes) -> None:
        leads, now = read_leads(intent, body), self._now()
        if leads and self._parts.desk.is_open(session, now):
            self._leads.remember(session.id, [led_by(lead, flow_id) for lead in leads], now)

    def _lack(self, flow_id: str, shortfall: Mapping[str, str]) -> None:
        flow = self._open.get(flow_id)
        if flow is not None and shortfall:
            flow.shortfall = shortfall

    async def refuse(
        self, reason: Reason, peer: Peer, session: Session | None, detail: str = "", authority: Authority | None = None
    ) -> Denial:
        """Record a refusal that the lane itself had to make (malformed, ambiguous, too slow) and return its answer."""
        parts = records.who_facts(session, peer)
        if authority is not None:
            parts |= {"host": authority.host, "port": authority.port}
        return await self._deny(self._parts.entropy.new_id(), parts, reason, detail)

    def conclude(self, flow_id: str, outcome: Outcome) -> None:
        """Record how an allowed exchange or a passed-through tunnel ended. Only the first call for a flow counts."""
        flow = self._open.pop(flow_id, None)
        if flow is None:
            return
        self._parts.trail.post(records.outcome_record(self._now(), flow_id, outcome, flow.credential, flow.shortfall))

    def close_connection(self, end: ConnectionEnd) -> None:
        """Record the end of a connection. Call exactly once for each accepted connection."""
        self._parts.trail.post(records.connection_record(self._now(), end))

    def _known(self, session: Session, now: datetime) -> Repeats:
        """Return what was worked out for a session before, kept while it is open."""
        known = self._repeats.get(session.id)
        if known is None:
            known = Repeats(session)
            if self._parts.desk.is_open(session, now):
                self._repeats[session.id] = known
        return known

    def _now(self) -> datetime:
        return self._parts.clock.now()

    def _unfit(self, session: Session, now: datetime) -> Reason | None:
        """Return why nothing may be allowed at this moment, whatever the rules say."""
        if not self._parts.desk.is_open(session, now):
            return Reason.SESSION_EXPIRED
        if self._parts.kills.of_job(session.job) is not None:
            return Reason.KILLED
        if not self._parts.trail.is_writable():
            return Reason.TRAIL_UNAVAILABLE
        return None

    def _stop(self, decision: Decision, host: str, *, only_host: bool = False) -> Decision:
        """Return the decision, denied where an operator has stopped its host, a rule that spoke, or its connector."""
        connector = None if decision.grant is None else decision.grant.connector
        spoken = ((), None) if only_host else (decision.rule_ids, connector)
        if self._parts.kills.of_flow(host, *spoken) is None:
            return decision
        return replace(decision, effect=Effect.DENY, reason=Reason.KILLED, grant=None)

    def flows_of(self, kill: Kill) -> frozenset[str]:
        """Return the open flows that a kill is aimed at by host, rule or connector."""
        return frozenset(
            flow_id
            for flow_id, flow in self._open.items()
            if is_aimed_at_flow(kill, flow.host, frozenset(flow.rule_ids), flow.connector)
        )

    async def _mint(self, session: Session, grant: Grant, need: Need) -> Credential:
        credential = await self._parts.minter.mint(
            MintRequest(
                grant=grant,
                session_id=session.id,
                labels=self._known(session, self._now()).labels,
                tokens=session.tokens,
                need=need,
            )
        )
        mark = (session.id, credential.fingerprint)
        if mark in self._recorded:
            return credential
        async with self._recording:  # of many that wait for one credential the first records it, and none goes before
            if mark not in self._recorded:
                record = records.credential_record(self._now(), session, grant.key, credential, need)
                await self._parts.trail.append(record)
                self._recorded.add(mark)
                self._issued[credential.fingerprint] = None
                self._parts.issued(session.id, credential)
                if len(self._issued) > self._remembered:
                    del self._issued[next(iter(self._issued))]
        return credential

    async def _deny(self, flow_id: str, parts: dict[str, Fact], reason: Reason, detail: str = "") -> Denial:
        try:
            await self._parts.trail.append(records.refusal_record(self._now(), flow_id, parts, reason, detail))
        except AuditError as error:
            return self._unrecorded(flow_id, error)
        decision = Decision(effect=Effect.DENY, reason=reason, rule_ids=(), revision="")
        self._parts.meter.count_decision(decision)
        return _denial(flow_id, decision, detail)

    async def _record_decision(
        self, flow_id: str, parts: dict[str, Fact], decision: Decision, session: Session
    ) -> Denial | None:
        """Return once the decision is durable, with an allowed flow open; a Denial when it may not be."""
        if decision.is_allowed:
            connector = None if decision.grant is None else decision.grant.connector
            self._open[flow_id] = _OpenFlow(session, str(parts["host"]), decision.rule_ids, connector)
        try:
            await self._parts.trail.append(records.decision_record(self._now(), flow_id, parts, decision))
        except AuditError as error:
            self._open.pop(flow_id, None)
            return self._unrecorded(flow_id, error)
        except BaseException:
            # Whoever waited is gone, the record may stay: an allow without an end would look like one still open.
            self.conclude(flow_id, Outcome(reason=Reason.INTERRUPTED))
            raise
        self._parts.meter.count_decision(decision)
        return None

    def _unrecorded(self, flow_id: str, error: AuditError) -> Denial:
        """Return what is said when there is no record of what would have been said."""
        self._parts.meter.count_event(Reason.TRAIL_UNAVAILABLE)
        return Denial(reason=error.reason, flow_id=flow_id)


def _tell(view: RequestView, intent: Intent | None, denial: Denial) -> Denial:
    """Put a denial into the words of the protocol that the request was read as, where it has some."""
    if intent is None:
        return denial
    line = f"jobgate: {denial.reason.value}: {denial.message} (decision {denial.flow_id})"
    refusal = Refusal(status=403 if denial.status == 407 else denial.status, message=line, fields=denial.describe())
    return replace(denial, told=put_in_words(view, intent, refusal))


def _denial(flow_id: str, decision: Decision, detail: str = "") -> Denial:
    return Denial(reason=decision.reason, flow_id=flow_id, rule_ids=decision.rule_ids, detail=detail)


def _spare_cookies(decision: Decision, stripped: frozenset[str], parts: dict[str, Fact]) -> frozenset[str]:
    """Return what is removed of a request once its decision is known."""
    if not decision.passes_cookies or not stripped & _COOKIES:
        return stripped
    parts["stripped"] = [*sorted(stripped - _COOKIES)]
    return stripped - _COOKIES
