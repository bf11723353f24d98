"""A CI pipeline: its steps, what each waits for and what it runs. One model for every provider; readers build it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from proxy.policy.faults import Fault

type Place = tuple[str | int, ...]
"""Where something stands in its document."""


class StepKind(StrEnum):
    """What a step is."""

    COMMAND = "command"
    WAIT = "wait"
    BLOCK = "block"
    INPUT = "input"
    TRIGGER = "trigger"
    GROUP = "group"


class Fate(StrEnum):
    """What becomes of a step in a build."""

    RUNS = "runs"
    SKIPPED = "skipped"
    UNKNOWN = "cannot be told"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A step's fate and why."""

    fate: Fate
    why: str = ""


class Absence(StrEnum):
    """What it means to whoever depends on a step that the step does not run."""

    IGNORED = "ignored"
    SKIPS = "skips"
    """It does not run either."""
    FAILS = "fails"
    """The pipeline is refused."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """A step that must have ended first; `allows_failure`: however it ended."""

    key: str
    allows_failure: bool = False
    absence: Absence = Absence.IGNORED


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin of a step, `docker#v5.1.0`, with its options."""

    source: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step.

    `id` is unique in the pipeline: the key, else made of the place. `depends_on` of None means that nothing was
    written, so that order follows from waits and blocks; () that it may start at once. `condition` is the provider's
    expression as written. `jobs` is how many jobs it makes. `uploads` are files whose steps it adds.
    """

    id: str
    kind: StepKind
    path: Place
    file: str
    key: str | None = None
    label: str = ""
    group: str | None = None
    depends_on: tuple[Dependency, ...] | None = None
    condition: str | None = None
    branches: str | None = None
    skip: str | None = None
    """Why it is skipped, whatever the build; None when it is not."""
    commands: tuple[str, ...] = ()
    plugins: tuple[Plugin, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    agents: Mapping[str, str] = field(default_factory=dict)
    jobs: int = 1
    matrix: bool = False
    parallelism: int | None = None
    concurrency: int | None = None
    concurrency_group: str | None = None
    allows_dependency_failure: bool = False
    soft_fails: bool = False
    allowed_teams: tuple[str, ...] = ()
    triggers: str | None = None
    uploads: tuple[str, ...] = ()
    uploaded_by: str | None = None
    """The step that adds this one while the build runs."""
    deployment: str | None = None
    """The environment it deploys to, where the provider has such."""
    verdict: Verdict | None = None
    """Its fate, where the reader could tell; `condition` and `skip` are not asked then."""
    is_manual: bool = False
    """A person starts it."""
    is_optional: bool = False
    """Nothing waits for that person, but who names the step."""
    stage: str = ""
    has_identity: bool = True
    """Whether its jobs may ask for a token of the issuer."""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.label or self.key or self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Steps in the order they are written, groups before their members; and what could not be read."""

    steps: tuple[Step, ...]
    provider: str = "buildkite"
    name: str = ""
    """What the issuer's tokens call it, where its file says."""
    faults: tuple[tuple[str, Fault], ...] = ()
    """By file."""
    unset: frozenset[str] = frozenset()
    """Variables that the text asks for and nobody gave."""
    unseen: frozenset[str] = frozenset()
    """What is included or called from elsewhere, so that its steps cannot be told."""


def listed(value: object) -> list[Any]:
    """Return a value as the list that stands for it: nothing is empty, one is one."""
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def plain(value: object) -> str:
    """Write a plain value as YAML would: `true`, not `True`; nothing is empty."""
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
