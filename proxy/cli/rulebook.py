"""The rules as loaded with their files' texts, to be changed: what suggestions and proposals are tried on."""

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from proxy.connectors.registry import connector_scopes
from proxy.model.errors import RuleFileError
from proxy.policy.compile import RuleSet, compile_rules
from proxy.policy.parse import parse_rules
from proxy.policy.rule import Rule
from proxy.simulate.suggestion import AddRule, Patch, RemoveRule
from proxy.sources.patching import PatchError, add_rule, remove_rule, set_list
from proxy.sources.rules import RuleFolder
from proxy.sources.yaml import load_yaml

_NEW_FILE: Final = "suggested.yaml"


@dataclass(slots=True)
class RuleBook:
    """The rules as loaded, and their files' texts, to be changed. Raises RuleFileError."""

    paths: tuple[Path, ...]
    ruleset: RuleSet = field(init=False)
    texts: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        documents = RuleFolder(self.paths, connector_scopes()).read()
        self.ruleset = compile_rules(documents.rules)
        self.texts = {name: Path(name).read_text(encoding="utf-8") for name in documents.located}

    @property
    def new_file(self) -> str:
        """Where new rules go: a file of their own in the first folder, or the end of the one file there is."""
        folder = next((path for path in self.paths if path.is_dir()), None)
        return str(folder / _NEW_FILE) if folder is not None else str(self.paths[0])

    def patched(self, patch: Patch) -> tuple[str, str]:
        """Return which file a change is in, and its text then. Raises PatchError."""
        if isinstance(patch, AddRule):
            file = self.new_file
            return file, add_rule(self.texts.get(file, ""), patch.rule)
        files = [rule.file for rule in self.ruleset.rules if rule.id == patch.id]
        if not files:
            raise PatchError(f"no rule is called `{patch.id}`")
        file = files[0]
        text = self.texts[file]
        if isinstance(patch, RemoveRule):
            return file, remove_rule(text, patch.id)
        return file, set_list(text, patch.id, patch.field, patch.values)

    def changed(self, patch: Patch) -> RuleSet | None:
        """Return the rules with a change; None where the file cannot be changed so, or does not load then."""
        try:
            return self.with_file(*self.patched(patch))
        except (PatchError, RuleFileError):
            return None

    def with_file(self, file: str, text: str) -> RuleSet:
        """Return the rules with another text for one file. Raises RuleFileError."""
        return compile_rules([*(rule for rule in self.ruleset.rules if rule.file != file), *_parse(file, text)])

    def apply(self, patch: Patch) -> None:
        """Make a change. Raises PatchError, RuleFileError."""
        file, text = self.patched(patch)
        self.ruleset = self.with_file(file, text)
        self.texts[file] = text


def _parse(file: str, text: str) -> tuple[Rule, ...]:
    document = load_yaml(text, file)
    parsed = parse_rules(document.value, file, connector_scopes())
    if parsed.faults:
        raise RuleFileError([document.problem(fault.path, fault.message, fault.hint) for fault in parsed.faults])
    return parsed.rules


def diff_of(patch: Patch, book: RuleBook) -> str:
    """Return a change as a unified diff."""
    file, text = book.patched(patch)
    name = Path(file).as_posix()
    before = book.texts.get(file, "")
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), text.splitlines(keepends=True), name if before else "/dev/null", name, n=2
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
