"""GitLab CI files made into one: what is included, what jobs extend, and what they refer to.

Source: docs.gitlab.com, "Use CI/CD configuration from other files", "Optimize GitLab CI/CD configuration files".
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.pipelines.pipeline import Place, listed, plain
from proxy.policy.faults import suggest

REFERENCE: Final = "!reference"
MAX_EXTENDS: Final = 11
MAX_REFERENCES: Final = 10
MAX_SIZE: Final = 100_000

type Complain = Callable[[str, Place, str, str], None]
"""Takes a file, a place, what is wrong, and what to do."""


@dataclass(slots=True)
class Merged:
    """One document of several. `homes`: of each top-level key, the file that says most about it."""

    values: dict[str, Any] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    unseen: set[str] = field(default_factory=set)


def deep_merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return two mappings as one; where both have a value that is no mapping, `over` has the say."""
    found = dict(under)
    for name, value in over.items():
        mine = found.get(name)
        found[name] = deep_merge(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return found


def include_all(document: Mapping[str, Any], file: str, others: Mapping[str, object], complain: Complain) -> Merged:
    """Return a document with what it includes below it; what is included later lies above what is included first."""
    merged = Merged()
    _include(document, file, others, complain, merged, (file,))
    return merged


def _include(
    document: Mapping[str, Any],
    file: str,
    others: Mapping[str, object],
    complain: Complain,
    merged: Merged,
    chain: tuple[str, ...],
) -> None:
    for index, each in enumerate(listed(document.get("include"))):
        local = each if isinstance(each, str) else each.get("local") if isinstance(each, dict) else None
        if not isinstance(local, str) or "://" in local:
            merged.unseen.add(_shown(each))
            continue
        name = local.removeprefix("/")
        found = next((known for known in others if known == name or known.endswith(f"/{name}")), None)
        if found is None:
            place: Place = ("include", index) if isinstance(document["include"], list) else ("include",)
            complain(file, place, f"`{local}` is included and was not given", f"Give it: --with {name}.")
        elif found not in merged.used:
            # GitLab takes a file that is included twice once.
            merged.used.add(found)
            inner = others[found]
            if isinstance(inner, dict):
                _include(inner, found, others, complain, merged, (*chain, found))
            else:
                complain(found, (), "a CI file is a mapping", "")
    own = {name: value for name, value in document.items() if name != "include"}
    merged.values = deep_merge(merged.values, own)
    merged.homes |= dict.fromkeys(own, file)


def _shown(each: object) -> str:
    """Name what is included from elsewhere."""
    if not isinstance(each, dict):
        return plain(each)
    return ", ".join(f"{name}: {plain(value)}" for name, value in each.items() if name != "inputs")


@dataclass(slots=True)
class Resolver:
    """Resolves `extends` and `!reference` of a merged document."""

    merged: Merged
    complain: Complain
    size: int = 0
    _extended_before: dict[str, dict[str, Any]] = field(default_factory=dict)

    def job(self, name: str) -> dict[str, Any]:
        """Return a job with all that it extends and refers to."""
        found = self._extended(name, ())
        return {key: self._resolved(value, (name, key), 0) for key, value in found.items() if key != "extends"}

    def value(self, name: str) -> Any:
        """Return a top-level value with all that it refers to."""
        return self._resolved(self.merged.values.get(name), (name,), 0)

    def _fault(self, path: Place, message: str, hint: str = "") -> None:
        self.complain(self.merged.homes.get(str(path[0]), ""), path, message, hint)

    def _extended(self, name: str, chain: tuple[str, ...]) -> dict[str, Any]:
        if name in self._extended_before:
            return self._extended_before[name]
        own = self.merged.values[name]
        if not isinstance(own, dict):
            return {}
        found: dict[str, Any] = {}
        for parent in map(plain, listed(own.get("extends"))):
            place = (chain[0] if chain else name, "extends")
            if parent in (*chain, name):
                self._fault(place, f"`{parent}` extends itself")
            elif len(chain) >= MAX_EXTENDS:
                self._fault(place, f"jobs extend one another more than {MAX_EXTENDS} deep")
            elif parent not in self.merged.values:
                self._fault(place, f"there is no `{parent}` to extend", suggest(parent, sorted(self.merged.values)))
            else:
                found = deep_merge(found, self._extended(parent, (*chain, name)))
        self._extended_before[name] = deep_merge(found, own)
        return self._extended_before[name]

    def _resolved(self, value: Any, place: Place, depth: int) -> Any:
        self.size += 1
        if self.size > MAX_SIZE or depth > MAX_REFERENCES:
            if self.size <= MAX_SIZE + 1:
                self._fault(place, "references that go round, or make it too large")
            return None
        if isinstance(value, dict):
            if value.keys() == {REFERENCE}:
                return self._referred(value[REFERENCE], place, depth)
            return {name: self._resolved(each, place, depth) for name, each in value.items()}
        if isinstance(value, list):
            return list(self._items(value, place, depth))
        return value

    def _items(self, values: list[Any], place: Place, depth: int) -> Iterator[Any]:
        """Give out a list's values; a list that is referred to stands there as its values."""
        for each in values:
            found = self._resolved(each, place, depth)
            is_reference = isinstance(each, dict) and each.keys() == {REFERENCE}
            if is_reference and isinstance(found, list):
                yield from found
            else:
                yield found

    def _referred(self, path: object, place: Place, depth: int) -> Any:
        names = [plain(each) for each in listed(path)]
        found: Any = self.merged.values
        if names and isinstance(found.get(names[0]), dict):
            found, names = self._extended(names[0], ()), names[1:]
        for name in names:
            if not isinstance(found, dict) or name not in found:
                self._fault(place, f"there is no {'.'.join(map(plain, listed(path)))} to refer to")
                return None
            found = found[name]
        return self._resolved(found, place, depth + 1)
