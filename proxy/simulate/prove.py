"""What a suggested change would do, over every recorded flow: one more pass, and only what it supports is shown."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from proxy.policy.compile import RuleSet
from proxy.simulate.history import habit_key
from proxy.simulate.replay import Again, Decider, Effect, Flow, FlowReader, describe
from proxy.simulate.suggestion import Proof, RemoveRule, SetList, Suggestion, Topic

_MAX_TOLD: Final = 50


def prove(records: Iterable[Mapping[str, Any]], rules: RuleSet, tried: Iterable[tuple[Suggestion, RuleSet]]) -> None:
    """Fill in the proof of each suggestion whose change gives the rule set beside it."""
    base = Decider(rules)
    trials = [_Trial(suggestion, changed) for suggestion, changed in tried]
    by_host: dict[str, list[_Trial]] = {}
    by_rule: dict[str, list[_Trial]] = {}
    for trial in trials:
        for host in trial.suggestion.hosts:
            by_host.setdefault(host, []).append(trial)
        if isinstance(trial.suggestion.patch, SetList | RemoveRule):
            by_rule.setdefault(trial.suggestion.patch.id, []).append(trial)
    for flow in FlowReader().read(records):
        before = base.decide(flow)
        concerned = {id(trial): trial for trial in by_host.get(flow.record["host"], ())}
        for name in before.rules:
            concerned.update((id(trial), trial) for trial in by_rule.get(name, ()))
        for trial in concerned.values():
            trial.add(flow, before)


class _Trial:
    """One change, tried."""

    def __init__(self, suggestion: Suggestion, rules: RuleSet) -> None:
        self.suggestion = suggestion
        self._proof = suggestion.proof = Proof()
        self._decider = Decider(rules)

    def add(self, flow: Flow, before: Again) -> None:
        """Count what becomes of a flow."""
        if _compare(self._proof, flow, before, self._decider.decide(flow)):
            self._proof.strays += habit_key(flow, before) not in self.suggestion.about


def weigh(records: Iterable[Mapping[str, Any]], rules: RuleSet, changed: RuleSet) -> Proof:
    """Return what other rules would do, over every recorded flow, against the rules of now."""
    proof, before, after = Proof(), Decider(rules), Decider(changed)
    for flow in FlowReader().read(records):
        _compare(proof, flow, before.decide(flow), after.decide(flow))
    return proof


def _compare(proof: Proof, flow: Flow, before: Again, after: Again) -> bool:
    """Count what becomes of a flow. Return whether it is newly allowed."""
    if (before.effect, before.grant) == (after.effect, after.grant) and after.is_certain == before.is_certain:
        return False
    if not after.is_certain or before.effect is after.effect:
        proof.others += 1
    elif before.effect is Effect.DENY:
        _count(proof.allows, describe(flow))
        return True
    elif after.effect is Effect.DENY:
        _count(proof.denies, describe(flow))
    else:
        proof.others += 1
    return False


def _count(told: dict[str, int], what: str) -> None:
    name = what if what in told or len(told) < _MAX_TOLD else "and more"
    told[name] = told.get(name, 0) + 1


def is_supported(suggestion: Suggestion) -> bool:
    """Whether replay bears a suggestion out: it does what it says, and nothing else."""
    if suggestion.patch is None:
        return True
    proof = suggestion.proof
    if proof is None or proof.denies or proof.others or proof.strays:
        return False
    return bool(proof.allows) if suggestion.topic is Topic.MISSING else proof.is_silent
