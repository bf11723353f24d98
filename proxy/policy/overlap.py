"""Questions about two rules: can one request match both, and does one cover the other? Answers are provable or no."""

from proxy.policy.patterns import Glob, compile_glob, covers, overlaps
from proxy.policy.rule import FactTest, Rule
from proxy.policy.targets import target_covers, targets_overlap


def requests_overlap(one: Rule, other: Rule, *, hosts_only: bool = False) -> bool:
    """Whether some request matches both rules, conditions in `when` aside; `hosts_only`: whether some CONNECT does."""
    if not any(targets_overlap(left, right) for left in one.targets for right in other.targets):
        return False
    if hosts_only:
        return True
    if one.methods is not None and other.methods is not None and not one.methods & other.methods:
        return False
    return _paths_overlap(one, other) and _intents_overlap(one, other) and jobs_overlap(one, other)


def _intents_overlap(one: Rule, other: Rule) -> bool:
    """Whether some request may be meant by both; two allow rules of different protocols never share one."""
    if one.intents is None or other.intents is None or one.is_deny or other.is_deny:
        return True
    return not {test.protocol for test in one.intents}.isdisjoint({test.protocol for test in other.intents})


def _paths_overlap(one: Rule, other: Rule) -> bool:
    if one.paths is None or other.paths is None:
        return True
    return any(overlaps(left, right) for left in one.paths for right in other.paths)


def jobs_overlap(one: Rule, other: Rule) -> bool:
    """Whether some job fits both rules. Facts that only one of them names can take any value."""
    theirs = {test.name: test for test in other.tests}
    return all(_tests_overlap(test, theirs[test.name]) for test in one.tests if test.name in theirs)


def _tests_overlap(one: FactTest, other: FactTest) -> bool:
    if any(type(value) is type(same) and value == same for value in one.exact for same in other.exact):
        return True
    return any(overlaps(left, right) for left in _patterns(one) for right in _patterns(other))


def _patterns(test: FactTest) -> list[Glob]:
    return [*(compile_glob(value) for value in test.exact if isinstance(value, str)), *test.globs]


def rule_covers(wide: Rule, narrow: Rule) -> bool:
    """Whether every request that `narrow` could match is one that `wide` matches for certain."""
    return (
        wide.when is None
        and all(any(target_covers(left, right) for left in wide.targets) for right in narrow.targets)
        and (wide.methods is None or (narrow.methods is not None and narrow.methods <= wide.methods))
        and _paths_cover(wide, narrow)
        and _intents_cover(wide, narrow)
        and _tests_cover(wide, narrow)
    )


def _paths_cover(wide: Rule, narrow: Rule) -> bool:
    if wide.paths is None:
        return True
    return narrow.paths is not None and all(any(covers(left, right) for left in wide.paths) for right in narrow.paths)


def _intents_cover(wide: Rule, narrow: Rule) -> bool:
    """Whether every line of `narrow` stands in `wide`, word for word."""
    if wide.intents is None:
        return True
    return narrow.intents is not None and set(narrow.intents) <= set(wide.intents)


def _tests_cover(wide: Rule, narrow: Rule) -> bool:
    """Whether whoever fits `narrow` fits each test of `wide`."""
    named = {test.name: test for test in narrow.tests}
    return all(test.name in named and _test_covers(test, named[test.name]) for test in wide.tests)


def _test_covers(wide: FactTest, narrow: FactTest) -> bool:
    numbers = [value for value in narrow.exact if not isinstance(value, str)]
    if any(not any(type(one) is type(value) and one == value for one in wide.exact) for value in numbers):
        return False
    return all(any(covers(left, right) for left in _patterns(wide)) for right in _patterns(narrow))
