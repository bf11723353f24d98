"""From a commit, a build, a job, a flow or an artifact to everything it leads to, and back.

A trail is read once for each step of the way: jobs that are wanted are gathered whole, of all others nothing is kept
but flows under way. A step leads from what a job fetched to the job that published it, and from what it published to
the jobs that fetched it. Only flows that were allowed and that the upstream took are steps. Pure.
"""

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from proxy.model.record import Kind
from proxy.reports.artifacts import Artifact, Way, bodies_of, moved_by, read_digest

MAX_DENIED: Final = 100
"""Denied flows of a job that are listed one by one; all are counted."""
MAX_ARTIFACTS: Final = 5000
"""Artifacts of a job that are listed."""

MAX_EARLY: Final = 10_000
"""Jobs whose events are kept until the job shows itself."""

_COMMIT: Final = re.compile(r"[0-9a-f]{7,64}")
_BUILD: Final = re.compile(r"(?P<pipeline>[^#\s]+)#(?P<number>[0-9]+)")

type Records = Callable[[], Iterable[Mapping[str, Any]]]
"""A trail from its beginning, each time anew."""


class About(StrEnum):
    """What is asked about."""

    ARTIFACT = "artifact"
    BUILD = "build"
    COMMIT = "commit"
    ID = "id"
    """Of a job, a flow, a session or a build."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked about, as it was written."""

    about: About
    text: str


@dataclass(slots=True, kw_only=True)
class TracedJob:
    """What one job did. Times as they stand in the trail."""

    key: str
    job: dict[str, Any]
    opened: str = ""
    closed: str = ""
    issuer: str = ""
    allowed: int = 0
    denied: int = 0
    hosts: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    revisions: Counter[str] = field(default_factory=Counter)
    credentials: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
    denials: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Pipeline, number and step, as far as they are known."""
        build = f"{self.job.get('pipeline', '?')}#{self.job.get('build_number', '?')}"
        return f"{build} {self.job['step']}" if self.job.get("step") else build

    def moved(self, way: Way) -> list[Artifact]:
        """Return the artifacts that it published, or fetched."""
        return [each for each in self.artifacts if each.way is way]


@dataclass(frozen=True, slots=True)
class Trace:
    """What was found, the jobs in the order they began. `size`, `head`: how far the trail went."""

    target: Target
    jobs: tuple[TracedJob, ...]
    size: int
    sealed: int
    """Records that could not be read: what they tell is missing here."""

    def others(self, job: TracedJob) -> dict[str, list[tuple[TracedJob, Artifact]]]:
        """Return, by digest, what other jobs did with the artifacts of one."""
        digests = {each.digest for each in job.artifacts}
        found: dict[str, list[tuple[TracedJob, Artifact]]] = {}
        for other in self.jobs:
            for artifact in other.artifacts:
                if other is not job and artifact.digest in digests:
                    found.setdefault(artifact.digest, []).append((other, artifact))
        return found


def read_target(text: str) -> Target:
    """Tell what a text names: a digest, `pipeline#number`, a commit (7 hex digits or more), or an id."""
    if (digest := read_digest(text)) is not None:
        return Target(About.ARTIFACT, digest)
    if _BUILD.fullmatch(text):
        return Target(About.BUILD, text)
    lowered = text.lower()
    return Target(About.COMMIT, lowered) if _COMMIT.fullmatch(lowered) else Target(About.ID, text)


def trace(records: Records, target: Target, depth: int = 1) -> Trace:
    """Find what `target` leads to, `depth` steps from job to job by artifacts. Reads the trail once or twice a step."""
    wanted = _Wanted(target)
    walk = _gather(records, wanted)
    for _ in range(depth):
        if not wanted.grow(walk):
            break
        walk = _gather(records, wanted)
    jobs = sorted(walk.jobs.values(), key=lambda each: (each.opened, each.key))
    return Trace(target, tuple(jobs), walk.size, walk.sealed)


def _gather(records: Records, wanted: "_Wanted") -> "_Walk":
    """Gather the wanted jobs whole: where one was recognized by what it did later than it began, read once more."""
    walk = _Walk(wanted)
    walk.read(records())
    if walk.is_incomplete:
        walk = _Walk(wanted)
        walk.read(records())
    return walk


def job_key(record: Mapping[str, Any]) -> str | None:
    """Return what tells a job from all others, None when the record names none."""
    job = record.get("job")
    if not isinstance(job, dict) or not job:
        return None
    named = job.get("job_id") or record.get("session")
    return None if named is None else str(named)


class _Wanted:
    """Which jobs belong to the trace: by what was asked, and by digests and jobs that were found since."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.keys: set[str] = set()
        self.digests = {target.text} if target.about is About.ARTIFACT else set[str]()

    def has_job(self, record: Mapping[str, Any], key: str) -> bool:
        return key in self.keys or self._is_asked(record, key)

    def grow(self, walk: "_Walk") -> bool:
        """Take one step further; whether there is one to take."""
        before = len(self.digests)
        self.keys |= walk.jobs.keys()
        self.digests |= {each.digest for job in walk.jobs.values() for each in job.artifacts}
        return len(self.digests) > before

    def _is_asked(self, record: Mapping[str, Any], key: str) -> bool:
        job, text = record["job"], self.target.text
        match self.target.about:
            case About.COMMIT:
                return str(job.get("commit", "")).startswith(text)
            case About.BUILD:
                found = _BUILD.fullmatch(text)
                assert found is not None  # noqa: S101 - `read_target` said so
                return (job.get("pipeline"), str(job.get("build_number"))) == (found["pipeline"], found["number"])
            case About.ID:
                return text in {key, job.get("build_id"), record.get("session"), record.get("flow")}
        return False


class _Walk:
    """One time through the trail."""

    def __init__(self, wanted: _Wanted) -> None:
        self.jobs: dict[str, TracedJob] = {}
        self.size = 0
        self.sealed = 0
        self.is_incomplete = False
        self._wanted = wanted
        self._open: dict[str, Mapping[str, Any]] = {}
        self._early: OrderedDict[str, list[dict[str, Any]]] = OrderedDict()
        """Events of jobs that have not shown themselves yet."""

    def read(self, records: Iterable[Mapping[str, Any]]) -> None:
        for record in records:
            self.size = int(record["seq"]) + 1
            if "sealed" in record:
                self.sealed += 1
                continue
            if (note := _NOTES.get(str(record["kind"]))) is not None:
                note(self, record)

    def _job(self, record: Mapping[str, Any]) -> TracedJob | None:
        """Return the job of a record if it is wanted."""
        key = job_key(record)
        if key is None:
            return None
        if (found := self.jobs.get(key)) is not None:
            return found
        return self._begin(key, record) if self._wanted.has_job(record, key) else None

    def _begin(self, key: str, record: Mapping[str, Any]) -> TracedJob:
        self.is_incomplete |= record["kind"] != Kind.SESSION_OPENED
        self._wanted.keys.add(key)
        made = self.jobs[key] = TracedJob(key=key, job=dict(record["job"]), events=self._early.pop(key, []))
        return made

    def _note_opened(self, record: Mapping[str, Any]) -> None:
        job = self._job(record)
        if job is not None:
            job.opened = job.opened or str(record["at"])
            job.issuer = str(record.get("issuer", ""))

    def _note_closed(self, record: Mapping[str, Any]) -> None:
        job = self._job(record)
        if job is None:
            return
        job.closed = str(record["at"])
        fates = {
            each.get("credential"): each.get("fate") for each in record.get("dropped") or () if isinstance(each, dict)
        }
        for credential in job.credentials:
            credential["fate"] = fates.get(credential["credential"], credential.get("fate"))

    def _note_decision(self, record: Mapping[str, Any]) -> None:
        if record.get("effect") == "allow":
            self._open[str(record["flow"])] = record
        job = self._job(record)
        if job is None:
            return
        is_allowed = record.get("effect") == "allow"
        job.allowed += is_allowed
        job.denied += not is_allowed
        job.hosts[str(record.get("host", ""))] += 1
        job.rules.update(map(str, record.get("rules") or ()))
        job.revisions[str(record.get("revision", ""))] += 1
        if not is_allowed and len(job.denials) < MAX_DENIED:
            kept = ("flow", "at", "reason", "method", "host", "path", "action", "resource")
            job.denials.append({name: record[name] for name in kept if name in record})

    def _note_outcome(self, record: Mapping[str, Any]) -> None:
        decision = self._open.pop(str(record.get("flow")), None)
        if decision is None or (key := job_key(decision)) is None:
            return
        found = list(moved_by(decision, record))
        job = self._job(decision)
        if job is None:
            digests = {each.digest for each in found} | (bodies_of(record) if found else set())
            if digests.isdisjoint(self._wanted.digests):
                return
            job = self._begin(key, decision)
        job.artifacts += found[: MAX_ARTIFACTS - len(job.artifacts)]

    def _note_credential(self, record: Mapping[str, Any]) -> None:
        if (job := self._job(record)) is not None:
            kept = ("connector", "credential", "at", "expires_at", "facts")
            job.credentials.append({name: record[name] for name in kept if name in record})

    def _note_event(self, record: Mapping[str, Any]) -> None:
        key = str(record.get("job_id"))
        kept = ("at", "event", "state", "agent_id", "fork", "blocked")
        event = {name: record[name] for name in kept if name in record}
        if (job := self.jobs.get(key)) is not None:
            job.events.append(event)
            return
        self._early.setdefault(key, []).append(event)
        if len(self._early) > MAX_EARLY:
            self._early.popitem(last=False)


_NOTES: Final[Mapping[str, Callable[[_Walk, Mapping[str, Any]], None]]] = {
    Kind.SESSION_OPENED: _Walk._note_opened,  # noqa: SLF001 - a table of its own methods
    Kind.SESSION_CLOSED: _Walk._note_closed,  # noqa: SLF001
    Kind.DECISION: _Walk._note_decision,  # noqa: SLF001
    Kind.OUTCOME: _Walk._note_outcome,  # noqa: SLF001
    Kind.CREDENTIAL_MINTED: _Walk._note_credential,  # noqa: SLF001
    Kind.EVENT_RECEIVED: _Walk._note_event,  # noqa: SLF001
}
