"""A change to the rules that somebody proposes, a person or a model: through schema, lint and replay, never applied."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.cli.rulebook import RuleBook, diff_of
from proxy.model.errors import RuleFileError
from proxy.policy.lint import Severity, lint
from proxy.policy.rule import Rule
from proxy.simulate.prove import weigh
from proxy.simulate.suggestion import AddRule, Patch, Proof
from proxy.sources.patching import PatchError
from proxy.sources.yaml import load_yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What came of it. With any problem there is no patch; `warnings` are what lint newly finds and may be meant."""

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    patch: str = ""
    proof: Proof = field(default_factory=Proof)

    def as_json(self) -> dict[str, Any]:
        """Return it in plain values."""
        return {
            "is_sound": not self.problems,
            "problems": list(self.problems),
            "warnings": list(self.warnings),
            "patch": self.patch.splitlines(),
            "newly_allows": self.proof.allows,
            "newly_denies": self.proof.denies,
            "otherwise": self.proof.others,
        }


def read_rule(text: str) -> AddRule:
    """Return the new rule that a text holds: a mapping, or `rules:` with one. Raises RuleFileError, ValueError."""
    value = load_yaml(text, "proposal").value
    if isinstance(value, dict) and isinstance(value.get("rules"), list):
        value = value["rules"]
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        raise ValueError("a proposal is one rule: a mapping with `id`, `why` and `to`")  # noqa: TRY004 - of a text
    return AddRule(rule=value)


def propose(book: RuleBook, patch: Patch, records: Callable[[str], Iterable[Mapping[str, Any]]]) -> Proposal:
    """Return what a change would do. Nothing is written."""
    try:
        changed = book.with_file(*book.patched(patch))
        diff = diff_of(patch, book)
    except (PatchError, RuleFileError, ValueError) as error:
        return Proposal(problems=tuple(str(error).splitlines()))
    errors, warnings = _new_findings(book.ruleset.rules, changed.rules)
    if errors:
        return Proposal(problems=errors, warnings=warnings)
    return Proposal(warnings=warnings, patch=diff, proof=weigh(records("weighing"), book.ruleset, changed))


def _new_findings(before: Iterable[Rule], after: Iterable[Rule]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    known = {(each.id, each.rule.id, each.message) for each in lint(before)}
    found = [each for each in lint(after) if (each.id, each.rule.id, each.message) not in known]
    said = [(each.severity, f"{each.rule.id}: {each.message}. {each.fix}") for each in found]
    return (
        tuple(text for severity, text in said if severity is Severity.ERROR),
        tuple(text for severity, text in said if severity is Severity.WARNING),
    )
