"""Missing permissions: what was denied for want of a rule, and the smallest rule, or addition, that allows it."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from proxy.model.authority import DEFAULT_PORTS
from proxy.model.decision import AccessRequest
from proxy.model.durations import format_duration
from proxy.model.intent import EffectClass
from proxy.model.reason import Reason
from proxy.policy.compile import RuleSet
from proxy.policy.evaluate import first_failing
from proxy.policy.explain import FALLBACK, is_sayable
from proxy.policy.intents import parts_of
from proxy.policy.rule import READ_METHODS, Rule
from proxy.simulate.generalize import cover, is_literal
from proxy.simulate.history import Habit, HabitKey, History, Seen, Who, is_missing
from proxy.simulate.replay import Flow
from proxy.simulate.suggestion import AddRule, Confidence, Patch, SetList, Suggestion, Topic, say_who

_MILD: Final = frozenset({EffectClass.READ.value, EffectClass.LIST.value})
_OFTEN: Final = 3
_CONNECT: Final = "CONNECT"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Habits of one step at one place, of one kind of harm: one suggestion."""

    who: Who
    habits: tuple[Habit, ...]

    @property
    def key(self) -> HabitKey:
        return self.habits[0].key

    @property
    def flows(self) -> list[Flow]:
        return [flow for habit in self.habits for flow in habit.examples.values()]

    def seen(self) -> Seen:
        seen = Seen()
        for habit in self.habits:
            seen.join(habit.seen)
        return seen

    def values(self, name: str) -> set[str | None]:
        return set().union(*(habit.facts[name] for habit in self.habits))


def find_missing(history: History, rules: RuleSet) -> Iterator[Suggestion]:
    """Give out what was denied for want of a rule, with the change that would allow it."""
    for group in _grouped(history):
        seen = group.seen()
        patch = _patch(group, rules)
        if patch is None:
            continue
        key = group.key
        what = f"{key.protocol} {key.effect_class or key.method} {key.scheme}://{key.host}:{key.port}"
        yield Suggestion(
            topic=Topic.MISSING,
            who=group.who,
            what=what,
            said=f"{say_who(group.who)} was refused {_say(group)} at {key.host}: no rule speaks of it",
            seen=seen,
            confidence=_confidence(group, seen),
            patch=patch,
            about=frozenset(habit.key for habit in group.habits),
            hosts=frozenset({key.host}),
        )


def find_undeclared(history: History) -> Iterator[Suggestion]:
    """Give out what steps do beyond what they declared: lines for the pipeline, not for the rules."""
    found: defaultdict[Who, list[Habit]] = defaultdict(list)
    for key, habit in history.habits.items():
        if key.reason == Reason.UNDECLARED and key.protocol != FALLBACK:
            found[key.who].append(habit)
    for who, habits in found.items():
        group = _Group(who=who, habits=tuple(habits))
        lines = _intent_lines(group.flows)
        if lines is None:
            continue
        yield Suggestion(
            topic=Topic.UNDECLARED,
            who=who,
            what="; ".join(lines),
            said=f"{say_who(who)} does more than it declares; if it should, add to JOBGATE_INTENT: {'; '.join(lines)}",
            seen=group.seen(),
            confidence=Confidence.MEDIUM,
        )


def find_lacking(history: History) -> Iterator[Suggestion]:
    """Give out what upstreams said our credentials lacked: for whoever owns the role, not for the rules."""
    found: dict[tuple[Who, tuple[str, ...], tuple[tuple[str, str], ...]], list[Habit]] = {}
    counts: defaultdict[object, int] = defaultdict(int)
    for key, habit in history.habits.items():
        for lack, count in habit.lacks.items():
            found.setdefault((key.who, key.rules, lack), []).append(habit)
            counts[key.who, key.rules, lack] += count
    for (who, rules, lack), habits in found.items():
        seen = Seen()
        for habit in habits:
            seen.join(habit.seen)
        seen.count = counts[who, rules, lack]
        facts = dict(lack)
        missing = facts.get("permission") or facts.get("code", "a permission")
        place = f" on {facts['resource']}" if "resource" in facts else ""
        policy = f" ({facts['because']} policy)" if "because" in facts else ""
        yield Suggestion(
            topic=Topic.LACKING,
            who=who,
            what=f"{habits[0].key.host} {missing}{place}",
            said=f"{habits[0].key.host} refused {say_who(who)}: the credential of {' and '.join(rules)} "
            f"lacks {missing}{place}{policy}",
            seen=seen,
            confidence=Confidence.HIGH if seen.count >= _OFTEN else Confidence.MEDIUM,
        )


def _grouped(history: History) -> list[_Group]:
    found: defaultdict[object, list[Habit]] = defaultdict(list)
    for key, habit in history.habits.items():
        if is_missing(key):
            harm = "mild" if key.effect_class in _MILD else key.effect_class or key.method
            found[key.who, key.scheme, key.host, key.port, key.protocol, harm].append(habit)
    return [_Group(who=habits[0].key.who, habits=tuple(habits)) for habits in found.values()]


def _say(group: _Group) -> str:
    actions = sorted({f"{key.protocol} {key.action}" if key.action else key.method for key in _keys(group)})
    return ", ".join(actions[:3]) + (f" and {len(actions) - 3} more" if len(actions) > 3 else "")


def _keys(group: _Group) -> Iterable[HabitKey]:
    return (habit.key for habit in group.habits)


def _confidence(group: _Group, seen: Seen) -> Confidence:
    """Tell how sure it is: a harmless thing that many jobs were refused is wanted; what could hurt is for a person."""
    if group.key.method == _CONNECT or len(seen.jobs) < 2:
        return Confidence.LOW
    is_often = len(seen.jobs) >= _OFTEN
    if group.key.effect_class in _MILD:
        return Confidence.HIGH if is_often else Confidence.MEDIUM
    return Confidence.MEDIUM if is_often else Confidence.LOW


def _patch(group: _Group, rules: RuleSet) -> Patch | None:
    """Return the change that allows all of a group; None where no rule could say it, or not narrowly."""
    what = _what(group)
    who = _job_block(group)
    if what is None or who is None:
        return None
    near = _nearest(group, rules)
    if near is not None:
        rule, field = near
        if field in what and _pins(rule, who) and _adds_only(rule, field, group):
            return SetList(id=rule.id, field=field, values=(*_written(rule, field), *what[field]))
    return AddRule(rule=_new_rule(group, who, what, rules))


def _what(group: _Group) -> dict[str, tuple[str, ...]] | None:
    """Return the fields of a rule that say what was done."""
    key = group.key
    if key.method == _CONNECT:
        return {}
    if key.protocol != FALLBACK:
        lines = _intent_lines(group.flows)
        return None if lines is None else {"intent": lines}
    paths = cover(flow.record["path"] for flow in group.flows)
    if paths is None:
        return None
    methods = {each.method for each in _keys(group)}
    return {"path": paths} if methods <= READ_METHODS else {"method": tuple(sorted(methods)), "path": paths}


def _intent_lines(flows: Iterable[Flow]) -> tuple[str, ...] | None:
    """Return the `intent` lines that name all that these flows did; None where words cannot."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for flow in flows:
        intent = flow.intent
        if intent is None or not all(map(is_sayable, parts_of(intent))):
            return None
        for part in parts_of(intent):
            found[part.name].add(part.resource.id)
    lines: list[str] = []
    for name in sorted(found):
        covered = cover(found[name])
        if covered is None:
            return None
        lines += (f"{name} {pattern}" for pattern in covered)
    return tuple(lines)


def _job_block(group: _Group) -> dict[str, Any] | None:
    """Return the `job` of a rule for this step alone; None for a job that states nothing to know it by."""
    block: dict[str, Any] = {
        name: value for name, value in zip(Who._fields, group.who, strict=True) if value is not None
    }
    if not block.keys() & {"pipeline", "repository"}:
        return None
    for name in ("branch", "tag"):
        values = group.values(name)
        if None in values or not values:
            continue
        covered = cover(str(value) for value in values)
        if covered is not None:
            block[name] = covered[0] if len(covered) == 1 else list(covered)
    return block if all(value is None or is_literal(value) for value in group.who) else None


def _nearest(group: _Group, rules: RuleSet) -> tuple[Rule, str] | None:
    """Return the one allow rule that differs from all of these flows in one list only, and that list."""
    common: dict[tuple[str, str], Rule] | None = None
    for flow in group.flows:
        intent = flow.intent
        if intent is None:
            return None
        asked = AccessRequest(job=flow.job, view=flow.view, intent=intent, now=flow.at, declared=flow.declared)
        found = {
            (rule.id, failing): rule
            for rule in rules.find(flow.view.authority.host, flow.job)
            if rule.is_enforced_allow and (failing := first_failing(rules, rule, asked)) in {"path", "intent"}
        }
        common = found if common is None else {key: rule for key, rule in common.items() if key in found}
    if not common:
        return None
    (_, failing), rule = min(common.items())
    return rule, str(failing)


def _pins(rule: Rule, who: Mapping[str, Any]) -> bool:
    """Whether a rule is for these jobs alone: adding to one that is for others too would give it to them."""
    pinned = {test.name for test in rule.tests if not test.globs}
    needed = {name for name in who if name != "organization"}
    return needed <= pinned and all(len(test.exact) == 1 for test in rule.tests if test.name in {"pipeline", "step"})


def _adds_only(rule: Rule, field: str, group: _Group) -> bool:
    """Whether a longer list gives no more than was seen: a path is given with every method of its rule."""
    if len(rule.targets) != 1 or rule.targets[0].depth != 0:
        return False
    if field == "path":
        return rule.methods is not None and rule.methods <= {key.method for key in _keys(group)} | READ_METHODS
    return True


def _written(rule: Rule, field: str) -> tuple[str, ...]:
    """Return a rule's list as it is written."""
    if field == "path":
        return tuple(glob.text for glob in rule.paths or ())
    return tuple(test.text for test in rule.intents or ())


def _new_rule(
    group: _Group, who: Mapping[str, Any], what: Mapping[str, tuple[str, ...]], rules: RuleSet
) -> dict[str, Any]:
    key = group.key
    taken = {rule.id for rule in rules.rules}
    harm = "reads" if key.effect_class in _MILD else key.effect_class or key.method.lower()
    base = _slug(f"{key.who.pipeline or key.who.repository}-{key.who.step or 'job'}-{harm}-{key.host}")
    name, number = base, 2
    while name in taken:
        name, number = f"{base[:58]}-{number}", number + 1
    rule: dict[str, Any] = {
        "id": name,
        "why": f"{say_who(key.who)} needs {_say(group)} (suggested from its record)"[:500],
    }
    rule |= {"job": dict(who), "to": _place(key)}
    for field in ("method", "path", "intent"):
        if field in what:
            values = what[field]
            rule[field] = values[0] if len(values) == 1 else list(values)
    credential = _credential(group, rules)
    return rule if credential is None else {**rule, "credential": credential}


def _credential(group: _Group, rules: RuleSet) -> dict[str, Any] | None:
    """Return the credential that these jobs are given at this host already, where it is one and the same."""
    grants = {}
    for flow in group.flows:
        for rule in rules.find(flow.record["host"], flow.job):
            is_theirs = rule.is_enforced_allow and all(test.holds(flow.job) for test in rule.tests)
            if is_theirs and rule.grant is not None and any(t.host == flow.record["host"] for t in rule.targets):
                own = {name: value for name, value in rule.grant.scope.items() if name not in {"intents", "rule"}}
                block = {**own, "duration": format_duration(rule.grant.lifetime)}
                grants[repr((rule.grant.connector, block))] = {rule.grant.connector: block}
    return next(iter(grants.values())) if len(grants) == 1 else None


def _place(key: HabitKey) -> str:
    host = f"[{key.host}]" if ":" in key.host else key.host
    scheme = "" if key.scheme == "https" else f"{key.scheme}://"
    return f"{scheme}{host}" if key.port == DEFAULT_PORTS.get(key.scheme) else f"{scheme}{host}:{key.port}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].rstrip("-") or "rule"
