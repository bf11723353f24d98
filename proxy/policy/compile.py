"""Rules -> RuleSet: compiled once, found by host and then by pipeline, so that unrelated rules cost nothing.

The revision is a digest of what the rules mean, not of how they are filed: two instances with the same rules agree.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Self

from proxy.model.decision import Decision
from proxy.model.identity import JobContext
from proxy.policy.rule import Rule

# Facts most rules fix to exact values, in the order they narrow best: the second level of the index.
_KEYS: Final = ("pipeline", "repository", "step", "organization")
REMEMBERED: Final = 4096
"""Hosts, and sets of rules, of which one rule set remembers what it found."""


@dataclass(frozen=True, slots=True)
class _Bucket:
    """The rules of one host: those for everyone, and those that only a job with a certain fact can match."""

    rules: tuple[Rule, ...]
    always: tuple[Rule, ...]
    keyed: Mapping[tuple[str, object], tuple[Rule, ...]]
    names: tuple[str, ...]
    spoken: frozenset[str]
    """The protocols that the rules' intents name."""
    asks: bool
    """Whether any of them wants a person's yes."""

    def find(self, job: JobContext) -> Iterable[Rule]:
        if not self.names:
            return self.always
        found = [*self.always]
        for name in self.names:
            found += self.keyed.get((name, getattr(job, name)), ())
        return found


@dataclass(frozen=True, slots=True)
class _Place:
    """All that the rules say of one host."""

    buckets: tuple[_Bucket, ...]
    spoken: frozenset[str]
    asks: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """Compiled rules, and the revision that names them in every record."""

    rules: tuple[Rule, ...]
    revision: str
    observes: bool = False
    """Whether what no rule allows is let through everywhere, without a credential, and marked on record."""
    combined: dict[tuple[str, ...], Decision] = field(default_factory=dict, compare=False, repr=False)
    """What the rules of these names come to together, once it was asked: nothing else about a request changes it."""
    _hosts: Mapping[str, _Bucket]
    _suffixes: Mapping[str, _Bucket]
    _known: dict[str, _Place] = field(default_factory=dict, compare=False, repr=False)
    _fitting: dict[tuple[str, int], tuple[JobContext, tuple[Rule, ...]]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @classmethod
    def empty(cls) -> Self:
        """Return the set that denies everything, for the time before any rules are loaded."""
        return cls(rules=(), revision="none", _hosts={}, _suffixes={})

    def find(self, host: str, job: JobContext) -> list[Rule]:
        """Return every rule that could match `job` at `host`, once each; a few that do not may be among them."""
        found = [rule for bucket in self._at(host).buckets for rule in bucket.find(job)]
        return found if len(found) < 2 else list({rule.id: rule for rule in found}.values())

    def fitting(self, host: str, job: JobContext) -> tuple[Rule, ...]:
        """Return the rules for `host` that are for `job`. A job asks again and again, and its facts do not change."""
        known = self._fitting.get((host, id(job)))
        if known is not None and known[0] is job:
            return known[1]
        found = tuple([rule for rule in self.find(host, job) if rule.misfit(job) is None])
        if not job.events:  # what events say changes: with them a job is made for each request
            if len(self._fitting) >= REMEMBERED:
                self._fitting.clear()
            self._fitting[host, id(job)] = (job, found)
        return found

    def find_all(self, host: str) -> list[Rule]:
        """Return every rule that names `host`, whoever asks, sorted by id: for explain."""
        found = {rule.id: rule for bucket in self._at(host).buckets for rule in bucket.rules}
        return [found[name] for name in sorted(found)]

    def spoken(self, host: str) -> frozenset[str]:
        """Return the protocols that the intents of the rules for `host` name; with any, it is governed by them."""
        return self._at(host).spoken

    def asks(self, host: str) -> bool:
        """Return whether a rule for `host` wants a person's yes."""
        return self._at(host).asks

    def _at(self, host: str) -> _Place:
        """Return what is said of a host. Its requests come in many; strangers' hosts do not fill the memory."""
        known = self._known.get(host)
        if known is None:
            buckets = tuple(self._buckets(host))
            spoken = frozenset[str]().union(*(bucket.spoken for bucket in buckets))
            known = _Place(buckets, spoken, any(bucket.asks for bucket in buckets))
            if len(self._known) < REMEMBERED:
                self._known[host] = known
        return known

    def _buckets(self, host: str) -> Iterator[_Bucket]:
        if (bucket := self._hosts.get(host)) is not None:
            yield bucket
        if not self._suffixes:
            return
        at = host.find(".")
        while at >= 0:
            if (bucket := self._suffixes.get(host[at + 1 :])) is not None:
                yield bucket
            at = host.find(".", at + 1)


def compile_rules(rules: Iterable[Rule], *, observes: bool = False) -> RuleSet:
    """Index rules. Raises ValueError for two rules of one id: records name rules by it.

    `observes`: what none of them allows, and none denies, is let through to be seen.
    """
    ordered = tuple(sorted(rules, key=lambda rule: rule.id))
    twice = find_duplicates(ordered)
    if twice:
        raise ValueError(f"two rules are called `{twice[0][1].id}`")
    hosts: defaultdict[str, list[Rule]] = defaultdict(list)
    suffixes: defaultdict[str, list[Rule]] = defaultdict(list)
    for rule in ordered:
        for host in sorted({target.host for target in rule.targets if target.depth == 0}):
            hosts[host].append(rule)
        for host in sorted({target.host for target in rule.targets if target.depth != 0}):
            suffixes[host].append(rule)
    return RuleSet(
        rules=ordered,
        revision=f"observe-{revision_of(ordered)}" if observes else revision_of(ordered),
        observes=observes,
        _hosts={host: _make_bucket(found) for host, found in hosts.items()},
        _suffixes={host: _make_bucket(found) for host, found in suffixes.items()},
    )


def revision_of(rules: Iterable[Rule]) -> str:
    """Return the first 12 hex digits of the SHA-256 over the rules' digests, in any order."""
    return sha256("".join(sorted(rule.digest for rule in rules)).encode()).hexdigest()[:12]


def find_duplicates(rules: Iterable[Rule]) -> list[tuple[Rule, Rule]]:
    """Return pairs of (first, later) rules that share an id."""
    first: dict[str, Rule] = {}
    return [(first[rule.id], rule) for rule in rules if first.setdefault(rule.id, rule) is not rule]


def _make_bucket(rules: list[Rule]) -> _Bucket:
    always: list[Rule] = []
    keyed: defaultdict[tuple[str, object], list[Rule]] = defaultdict(list)
    for rule in rules:
        keys = _keys_of(rule)
        if not keys:
            always.append(rule)
        for key in keys:
            keyed[key].append(rule)
    names = tuple(name for name in _KEYS if any(key[0] == name for key in keyed))
    spoken = frozenset(test.protocol for rule in rules for test in rule.intents or ())
    return _Bucket(
        rules=tuple(rules),
        always=tuple(always),
        keyed={key: tuple(found) for key, found in keyed.items()},
        names=names,
        spoken=spoken,
        asks=any(rule.approval is not None and rule.approval.step is None for rule in rules),
    )


def _keys_of(rule: Rule) -> list[tuple[str, object]]:
    """Return the facts of which a job must have one for the rule to match; none when that cannot be said.

    A deny rule also matches jobs whose issuer does not state the fact, so it is never filed under one.
    """
    if rule.is_deny:
        return []
    tests = {test.name: test for test in rule.tests if not test.globs}
    for name in _KEYS:
        if name in tests:
            return [(name, value) for value in tests[name].exact]
    return []
