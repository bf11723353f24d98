"""Rule files -> RuleSet. All problems at once, all or nothing: a bad file never changes what is in force.

A folder is read whole: every `*.yaml` below it, but for hidden entries and folders called `tests`. A link that leads
out of its folder is refused: what was reviewed is what is loaded.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from proxy.model.errors import Problem, RuleFileError
from proxy.policy.compile import RuleSet, compile_rules, find_duplicates
from proxy.policy.faults import Fault
from proxy.policy.parse import Scopes, parse_rules
from proxy.policy.rule import Rule
from proxy.sources.yaml import MAX_BYTES, Located, load_yaml

MAX_FILES = 1000


@dataclass(frozen=True, slots=True)
class Documents:
    """Rules as parsed, with the documents they came from."""

    rules: tuple[Rule, ...]
    located: dict[str, Located] = field(repr=False)

    def problem(self, rule: Rule, keys: tuple[str | int, ...], message: str, hint: str = "") -> Problem:
        """Describe something about a rule, at one of its keys."""
        document = self.located[rule.file]
        return document.problem(("rules", rule.index, *keys), message, hint, key=True)


class RuleFolder:
    """Rule files and folders, read anew on every `load`."""

    def __init__(self, paths: Sequence[Path], scopes: Scopes, *, observes: bool = False) -> None:
        """`observes`: what no rule allows is let through to be seen."""
        self._paths = tuple(paths)
        self._scopes = scopes
        self._observes = observes

    def load(self) -> RuleSet:
        """Return the compiled rules. Raises RuleFileError with every problem of every file."""
        return compile_rules(self.read().rules, observes=self._observes)

    def read(self) -> Documents:
        """Return the rules with their places. Raises RuleFileError with every problem of every file."""
        problems: list[Problem] = []
        located: dict[str, Located] = {}
        rules: list[Rule] = []
        for name, content in _read_files(self._paths, problems):
            try:
                document = located[name] = load_yaml(content, name)
            except RuleFileError as error:
                problems += error.problems
                continue
            parsed = parse_rules(document.value, name, self._scopes)
            problems += (_problem(document, fault) for fault in parsed.faults)
            rules += parsed.rules
        found = Documents(tuple(rules), located)
        for first, later in find_duplicates(rules):
            there = located[first.file].line(("rules", first.index, "id"))
            hint = f"The first is at {first.file}:{there}; give one of them another id."
            problems.append(
                located[later.file].problem(("rules", later.index, "id"), f"two rules are called `{later.id}`", hint)
            )
        if not problems and not rules:
            problems.append(_whole(", ".join(map(str, self._paths)), "no rule files", "Put a `*.yaml` file there."))
        if problems:
            raise RuleFileError(sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column)))
        return found

    def stamp(self) -> tuple[tuple[str, int, int, int], ...]:
        """Return what changes whenever a file is replaced, edited, added or removed."""
        marks = []
        for path in _rule_files(self._paths, []):
            try:
                status = path.stat()
            except OSError:
                marks.append((str(path), 0, 0, 0))
            else:
                marks.append((str(path), status.st_mtime_ns, status.st_ino, status.st_size))
        return tuple(marks)


def _read_files(paths: Iterable[Path], problems: list[Problem]) -> Iterator[tuple[str, bytes]]:
    for path in _rule_files(paths, problems):
        try:
            with path.open("rb") as file:
                yield str(path), file.read(MAX_BYTES + 1)
        except OSError as error:
            problems.append(_whole(str(path), f"cannot be read: {error.strerror}"))


def _rule_files(paths: Iterable[Path], problems: list[Problem]) -> list[Path]:
    """Return the files below `paths`, once each, in a fixed order."""
    found: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            for file in _walk(path, problems):
                found.setdefault(file.resolve(), file)
        elif path.exists():
            found.setdefault(path.resolve(), path)
        else:
            problems.append(_whole(str(path), "no such file or folder"))
    if len(found) > MAX_FILES:
        problems.append(_whole(str(next(iter(paths))), f"more than {MAX_FILES} rule files", "Name a narrower folder."))
        return []
    return sorted(found.values())


def _walk(folder: Path, problems: list[Problem]) -> Iterator[Path]:
    # A Kubernetes ConfigMap is a folder of links into its own hidden `..data`: links are fine while they stay inside.
    inside = folder.resolve()
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "tests" and not name.startswith("."))
        for name in sorted(files):
            file = Path(parent, name)
            if name.startswith(".") or file.suffix not in {".yaml", ".yml"}:
                continue
            if not file.resolve().is_relative_to(inside):
                problems.append(_whole(str(file), "a link that leads out of its folder", "Put the file itself here."))
                continue
            if file.suffix == ".yml":
                problems.append(_whole(str(file), "rule files end in `.yaml`", f"Rename it to {file.stem}.yaml."))
                continue
            yield file


def _problem(document: Located, fault: Fault) -> Problem:
    problem = document.problem(fault.path, fault.message, fault.hint, key=fault.at_key)
    if fault.offset is None:
        return problem
    return document.shifted(problem, fault.path, fault.offset)


def _whole(file: str, message: str, hint: str = "") -> Problem:
    return Problem(file=file, line=1, column=1, message=message, hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleStatus:
    """What health shows. `problems` not empty means amber: an older set is in force than the files on disk."""

    revision: str
    rules: int
    problems: tuple[Problem, ...] = ()


class RuleReloader:
    """Keeps the newest good rule set. A swap is one assignment: no request ever sees none, or half, of a set."""

    def __init__(
        self,
        folder: RuleFolder,
        *,
        on_loaded: Callable[[RuleSet], None] = lambda _: None,
        on_refused: Callable[[RuleFileError], None] = lambda _: None,
    ) -> None:
        """Load for the first time. Raises RuleFileError: a proxy without rules does not start."""
        self._folder = folder
        self._on_loaded, self._on_refused = on_loaded, on_refused
        self._stamp = folder.stamp()
        self._current = folder.load()
        self._problems: tuple[Problem, ...] = ()
        self._on_loaded(self._current)

    @property
    def current(self) -> RuleSet:
        """The rule set in force."""
        return self._current

    @property
    def status(self) -> RuleStatus:
        """What is in force, and what is wrong with the files if they could not be used."""
        return RuleStatus(revision=self._current.revision, rules=len(self._current.rules), problems=self._problems)

    async def reload(self) -> bool:
        """Read the files now (SIGHUP). Return whether they are in force; if not, the old set stays."""
        return self._take(*await asyncio.to_thread(self._read))

    async def watch(self, interval: float = 1.0) -> None:
        """Look every `interval` seconds, for ever; reload what has changed and then stood still for one interval."""
        waiting = self._stamp
        while True:
            await asyncio.sleep(interval)
            seen = await asyncio.to_thread(self._folder.stamp)
            # A writer may be half way through: only what looks the same twice is read.
            if seen != self._stamp and seen == waiting:
                await self.reload()
            waiting = seen

    def _read(self) -> tuple[tuple[tuple[str, int, int, int], ...], RuleSet | RuleFileError]:
        stamp = self._folder.stamp()
        try:
            return stamp, self._folder.load()
        except RuleFileError as error:
            return stamp, error

    def _take(self, stamp: tuple[tuple[str, int, int, int], ...], found: RuleSet | RuleFileError) -> bool:
        self._stamp = stamp
        if isinstance(found, RuleFileError):
            self._problems = found.problems
            self._on_refused(found)
            return False
        changed = found.revision != self._current.revision or bool(self._problems)
        self._current, self._problems = found, ()
        if changed:
            self._on_loaded(found)
        return True
