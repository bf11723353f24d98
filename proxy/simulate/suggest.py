"""Suggestions from a trail: mined in one pass, proved in a second, sorted by what matters. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from proxy.policy.compile import RuleSet
from proxy.simulate.excess import find_broad, find_entries, find_unused
from proxy.simulate.history import History, Miner
from proxy.simulate.missing import find_lacking, find_missing, find_undeclared
from proxy.simulate.prove import is_supported, prove
from proxy.simulate.suggestion import Confidence, Patch, Suggestion, Topic
from proxy.simulate.waste import Observer

MOST_TRIED: Final = 200
"""So many changes are tried against the trail, the surest and most frequent first."""

type Records = Callable[[str], Iterable[Mapping[str, Any]]]
"""Gives out the trail's records from the beginning; called once for each pass, with what it is read for."""


def mine(records: Records, rules: RuleSet) -> tuple[History, list[Suggestion]]:
    """Return what a trail tells, and what it suggests, without proof."""
    miner, observer = Miner(rules), Observer()
    miner.read(records("reading"), (observer.listen,))
    history = miner.history
    found = [
        *find_missing(history, rules),
        *find_unused(history, rules),
        *find_entries(history, rules),
        *find_broad(history, rules),
        *find_undeclared(history),
        *find_lacking(history),
        *observer.findings(),
    ]
    return history, sorted(found, key=_order)


def keep_supported(
    records: Records, rules: RuleSet, found: Iterable[Suggestion], change: Callable[[Patch], RuleSet | None]
) -> list[Suggestion]:
    """Return what replay bears out. `change` gives the rules as patched; None where they do not load."""
    tried = list(_changed(found, change))
    changing = [(suggestion, changed) for suggestion, changed in tried if changed is not None]
    if changing:
        prove(records("proving"), rules, changing)
    return [suggestion for suggestion, _ in tried if is_supported(suggestion)]


def _changed(
    found: Iterable[Suggestion], change: Callable[[Patch], RuleSet | None]
) -> Iterator[tuple[Suggestion, RuleSet | None]]:
    count = 0
    for suggestion in found:
        if suggestion.patch is None:
            yield suggestion, None
        elif count < MOST_TRIED:
            count += 1
            yield suggestion, change(suggestion.patch)


def at_least(found: Iterable[Suggestion], least: Confidence) -> list[Suggestion]:
    """Return those that are sure enough."""
    return [suggestion for suggestion in found if suggestion.confidence.rank >= least.rank]


def _order(suggestion: Suggestion) -> tuple[int, int, int, str]:
    topics = list(Topic)
    return (-suggestion.confidence.rank, topics.index(suggestion.topic), -suggestion.seen.count, suggestion.id)
