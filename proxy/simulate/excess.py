"""Grants that nobody uses, and lists that are wider than what is done: rules and entries to take away.

Nothing is said of a rule whose jobs have not run: a job that runs once a year is not in a month's record.
"""

from collections.abc import Iterator
from typing import Final

from proxy.policy.compile import RuleSet
from proxy.policy.intents import UNKNOWN
from proxy.policy.rule import Rule
from proxy.simulate.history import History, Usage
from proxy.simulate.suggestion import Confidence, RemoveRule, SetList, Suggestion, Topic

ENOUGH: Final = 5
"""So many jobs must have run before their not using something means anything."""
PLENTY: Final = 20
_FEW_ACTIONS: Final = 3


def find_unused(history: History, rules: RuleSet) -> Iterator[Suggestion]:
    """Give out allow rules that none of the jobs they are for used."""
    for rule, usage in _allows(history, rules):
        if usage.seen.count or len(usage.chances) < ENOUGH:
            continue
        usage.seen.jobs = set(usage.chances)
        usage.seen.first, usage.seen.last = history.first, history.last
        yield Suggestion(
            topic=Topic.UNUSED_RULE,
            who=None,
            what=rule.id,
            said=f"{_counted(usage)} that {rule.id} is for ran, and none used it",
            seen=usage.seen,
            confidence=_confidence(usage),
            patch=RemoveRule(id=rule.id),
        )


def find_entries(history: History, rules: RuleSet) -> Iterator[Suggestion]:
    """Give out entries of rules' lists that were never needed, in rules that are used."""
    for rule, usage in _allows(history, rules):
        if len(usage.seen.jobs) < ENOUGH:
            continue
        for name, written in _lists(rule).items():
            kept = tuple(text for index, text in enumerate(written) if usage.entries[name, index])
            if not kept or len(kept) == len(written):
                continue
            idle = [text for text in written if text not in kept]
            yield Suggestion(
                topic=Topic.UNUSED_ENTRY,
                who=None,
                what=f"{rule.id} {name} {' '.join(idle)}",
                said=f"{len(usage.seen.jobs)} jobs used {rule.id} {usage.seen.count} times, "
                f"never for {name} {', '.join(idle)}",
                seen=usage.seen,
                confidence=_confidence(usage),
                patch=SetList(id=rule.id, field=name, values=kept),
            )


def find_broad(history: History, rules: RuleSet) -> Iterator[Suggestion]:
    """Give out intents that name a class of actions, or a pattern, where one or a few actions are all that is done."""
    for rule, usage in _allows(history, rules):
        if len(usage.seen.jobs) < ENOUGH or rule.intents is None:
            continue
        lines: list[str] = []
        for index, test in enumerate(rule.intents):
            actions = sorted(usage.actions.get(index, ()))
            is_wide = test.protocol != UNKNOWN and (test.action is None or not test.action.is_exact)
            if not is_wide or not 0 < len(actions) <= _FEW_ACTIONS:
                lines.append(test.text)
                continue
            resource = test.text.split(" ", 2)[2]
            lines += (f"{test.protocol} {action} {resource}" for action in actions)
        if lines != [test.text for test in rule.intents]:
            yield Suggestion(
                topic=Topic.BROAD,
                who=None,
                what=f"{rule.id} intent",
                said=f"{len(usage.seen.jobs)} jobs used {rule.id} {usage.seen.count} times, for no more than "
                + "; ".join(dict.fromkeys(lines)),
                seen=usage.seen,
                confidence=_confidence(usage),
                patch=SetList(id=rule.id, field="intent", values=tuple(dict.fromkeys(lines))),
            )


def share_unused(history: History, rules: RuleSet) -> float:
    """Return the share of allow rules, of those whose jobs ran, that nobody used: 0 to 1."""
    judged = [usage for _, usage in _allows(history, rules) if usage.seen.count or len(usage.chances) >= ENOUGH]
    idle = [usage for usage in judged if not usage.seen.count]
    return len(idle) / len(judged) if judged else 0.0


def _allows(history: History, rules: RuleSet) -> Iterator[tuple[Rule, Usage]]:
    return ((rule, history.usage[rule.id]) for rule in rules.rules if rule.id in history.usage)


def _lists(rule: Rule) -> dict[str, tuple[str, ...]]:
    """Return a rule's lists as written."""
    return {
        "to": tuple(target.text for target in rule.targets),
        "path": tuple(glob.text for glob in rule.paths or ()),
        "intent": tuple(test.text for test in rule.intents or ()),
    }


def _counted(usage: Usage) -> str:
    return f"{len(usage.chances)} jobs"


def _confidence(usage: Usage) -> Confidence:
    return Confidence.HIGH if len(usage.chances | usage.seen.jobs) >= PLENTY else Confidence.MEDIUM
