"""What jobs did, by step: one pass over a trail, decided again by the rules of now, in bounded memory.

Flows that differ only in their resource, branch or time are one `Habit`, with a few examples of each.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from proxy.model.identity import JobContext
from proxy.model.intent import Intent, RequestView
from proxy.model.reason import Reason
from proxy.model.record import Kind
from proxy.policy.compile import RuleSet
from proxy.policy.explain import FALLBACK
from proxy.policy.intents import parts_of
from proxy.policy.rule import Rule
from proxy.simulate.replay import Again, AskedFacts, Decider, Effect, Flow, FlowReader, read_job

MAX_HABITS: Final = 50_000
MAX_EXAMPLES: Final = 40
MAX_JOBS: Final = 200
_SAMPLES: Final = 5
_MAX_NAMES: Final = 6


type Record = Mapping[str, Any]
type Listener = Callable[[Record], None]


class Who(NamedTuple):
    """Whose habit it is: a step of a pipeline. Parts that the issuer does not state are None."""

    organization: str | None
    pipeline: str | None
    repository: str | None
    step: str | None


class HabitKey(NamedTuple):
    """What makes flows one habit: who, where, what kind of act, and what the rules of now say to it."""

    who: Who
    scheme: str
    host: str
    port: int
    method: str
    protocol: str
    action: str
    effect_class: str
    effect: Effect
    reason: str
    rules: tuple[str, ...]


@dataclass(slots=True)
class Seen:
    """How often, when, in which jobs, and a few flows to look up."""

    count: int = 0
    first: str = ""
    last: str = ""
    jobs: set[str] = field(default_factory=set)
    flows: list[str] = field(default_factory=list)

    def add(self, record: Mapping[str, Any]) -> None:
        """Count a record of a flow."""
        self.count += 1
        at = record["at"]
        if not self.first or at < self.first:
            self.first = at
        self.last = max(self.last, at)
        if len(self.jobs) < MAX_JOBS:
            job = record.get("job") or {}
            self.jobs.add(str(job.get("job_id") or record.get("session")))
        if len(self.flows) < _SAMPLES:
            self.flows.append(str(record["flow"]))

    def join(self, other: "Seen") -> None:
        """Take in what was seen elsewhere."""
        self.count += other.count
        self.first = min(filter(None, (self.first, other.first)), default="")
        self.last = max(self.last, other.last)
        self.jobs |= other.jobs
        self.flows = [*self.flows, *other.flows][:_SAMPLES]


@dataclass(slots=True)
class Habit:
    """Flows of one kind. `examples` holds one flow for each thing that was acted on; `more`: there were others."""

    key: HabitKey
    seen: Seen = field(default_factory=Seen)
    examples: dict[str, Flow] = field(default_factory=dict)
    more: bool = False
    facts: dict[str, set[str | None]] = field(default_factory=lambda: {"branch": set(), "tag": set()})
    lacks: Counter[tuple[tuple[str, str], ...]] = field(default_factory=Counter)

    def add(self, flow: Flow) -> None:
        """Count a flow."""
        self.seen.add(flow.record)
        for name, values in self.facts.items():
            if len(values) < MAX_EXAMPLES:
                values.add(getattr(flow.job, name))
        what = thing_of(flow.record)
        if what not in self.examples:
            if len(self.examples) >= MAX_EXAMPLES:
                self.more = True
            else:
                self.examples[what] = flow


@dataclass(slots=True)
class Usage:
    """How a rule of now was used. `entries`: of each of its lists, how often each entry was needed."""

    seen: Seen = field(default_factory=Seen)
    entries: Counter[tuple[str, int]] = field(default_factory=Counter)
    actions: dict[int, set[str]] = field(default_factory=dict)
    chances: set[str] = field(default_factory=set)
    """Jobs that the rule is for."""


@dataclass(slots=True)
class History:
    """What a trail tells."""

    habits: dict[HabitKey, Habit] = field(default_factory=dict)
    usage: dict[str, Usage] = field(default_factory=dict)
    flows: int = 0
    sessions: int = 0
    first: str = ""
    last: str = ""
    left_out: int = 0
    """Flows of habits beyond the most that are kept."""


class Uses(NamedTuple):
    """A decision of the rules of now, and which entries of the rules that allow it were needed."""

    again: Again
    entries: tuple[tuple[str, str, int, str], ...]


class Miner:
    """Reads a trail's records in order and hands what belongs together to those who look for something in it."""

    def __init__(self, rules: RuleSet, most: int = MAX_HABITS) -> None:
        """`most` habits are kept, and as many answers at once."""
        self._rules, self._most = rules, most
        self._by_id = {rule.id: rule for rule in rules.rules}
        self._reader = FlowReader()
        self._decider = Decider(rules)
        self._asked = AskedFacts(rules)
        self._uses: dict[object, Uses] = {}
        self._fitting: dict[object, tuple[str, ...]] = {}
        self._open: dict[str, Habit] = {}
        self.history = History(usage={rule.id: Usage() for rule in rules.rules if rule.is_enforced_allow})

    def read(
        self, records: Iterable[Mapping[str, Any]], listen: Iterable[Callable[[Mapping[str, Any]], None]] = ()
    ) -> None:
        """Take in records; `listen` are called with each of them too."""
        listeners = tuple(listen)
        for flow in self._reader.read(self._tap(records, listeners)):
            self._add(flow)

    def _tap(self, records: Iterable[Record], listeners: tuple[Listener, ...]) -> Iterator[Record]:
        history = self.history
        for record in records:
            kind = record["kind"]
            history.first = history.first or record["at"]
            history.last = record["at"]
            if kind == Kind.SESSION_OPENED:
                self._open_session(record)
            elif kind == Kind.OUTCOME:
                self._end(record)
            for listener in listeners:
                listener(record)
            yield record

    def _open_session(self, record: Mapping[str, Any]) -> None:
        self.history.sessions += 1
        job = read_job(record)
        key = self._asked.of_job(job)
        fitting = self._fitting.get(key)
        if fitting is None:
            fitting = tuple(
                rule.id
                for rule in self._rules.rules
                if rule.is_enforced_allow and all(test.holds(job) for test in rule.tests)
            )
            if len(self._fitting) >= self._most:
                self._fitting.clear()
            self._fitting[key] = fitting
        for name in fitting:
            chances = self.history.usage[name].chances
            if len(chances) < MAX_JOBS:
                chances.add(str(job.job_id or record["session"]))

    def _add(self, flow: Flow) -> None:
        history, record = self.history, flow.record
        history.flows += 1
        uses = self._decide(flow)
        for rule, name, index, action in uses.entries:
            usage = history.usage[rule]
            usage.entries[name, index] += 1
            if name == "intent" and len(usage.actions.setdefault(index, set())) < _MAX_NAMES:
                usage.actions[index].add(action)
        if uses.again.effect is not Effect.DENY:
            for rule in uses.again.rules:
                history.usage[rule].seen.add(record)
        key = habit_key(flow, uses.again)
        habit = history.habits.get(key)
        if habit is None:
            if len(history.habits) >= self._most:
                history.left_out += 1
                return
            habit = history.habits[key] = Habit(key)
        habit.add(flow)
        if len(self._open) < self._most:
            self._open[str(record["flow"])] = habit

    def _end(self, record: Mapping[str, Any]) -> None:
        habit = self._open.pop(str(record["flow"]), None)
        lack = record.get("shortfall")
        if habit is not None and lack:
            habit.lacks[tuple(sorted((str(name), str(value)) for name, value in lack.items()))] += 1

    def _decide(self, flow: Flow) -> Uses:
        key = self._asked.key(flow)
        found = None if key is None else self._uses.get(key)
        if found is None:
            again = self._decider.decide(flow)
            found = Uses(again, tuple(self._entries(flow, again)))
            if key is not None:
                if len(self._uses) >= self._most:
                    self._uses.clear()
                self._uses[key] = found
        return found

    def _entries(self, flow: Flow, again: Again) -> Iterator[tuple[str, str, int, str]]:
        if again.effect is Effect.DENY:
            return
        view, intent = flow.view, flow.intent
        for name in again.rules:
            yield from ((name, *entry) for entry in needed_entries(self._by_id[name], view, intent))


def needed_entries(rule: Rule, view: RequestView, intent: Intent | None) -> Iterator[tuple[str, int, str]]:
    """Return the entries of a rule's lists that a request matches: the field, the index, and the action it was."""
    lists: tuple[tuple[str, Iterable[bool]], ...] = (
        ("to", (target.matches(view.scheme, view.authority) for target in rule.targets)),
        ("method", (method == view.method for method in sorted(rule.methods or ()))),
        ("path", (glob.matches(view.path) for glob in rule.paths or ())),
    )
    for name, answers in lists:
        yield from ((name, index, "") for index, answer in enumerate(answers) if answer)
    for index, test in enumerate(rule.intents or ()):
        yield from (("intent", index, part.action) for part in _parts(intent) if test.covers(part))


def _parts(intent: Intent | None) -> Iterable[Intent]:
    return () if intent is None else parts_of(intent)


def who_of(job: JobContext) -> Who:
    """Return the step that a job is a run of."""
    return Who(job.organization, job.pipeline, job.repository, job.step)


def thing_of(record: Mapping[str, Any]) -> str:
    """Return what a flow acted on: its resource where it was read, else its path."""
    if record.get("protocol", FALLBACK) == FALLBACK:
        return str(record.get("path", ""))
    return str(record["resource"])


def habit_key(flow: Flow, again: Again) -> HabitKey:
    """Return which habit a flow belongs to, as the rules of now decide it."""
    record = flow.record
    return HabitKey(
        who=who_of(flow.job),
        scheme=record["scheme"],
        host=record["host"],
        port=record["port"],
        method=record["method"],
        protocol=record.get("protocol", FALLBACK),
        action=record.get("action", ""),
        effect_class=record.get("class", ""),
        effect=again.effect,
        reason=again.reason,
        rules=again.rules,
    )


def is_missing(key: HabitKey) -> bool:
    """Whether no rule speaks of a habit, so that a further one could allow it."""
    return key.effect is Effect.DENY and key.reason in {Reason.NO_RULE, Reason.OBSERVED}
