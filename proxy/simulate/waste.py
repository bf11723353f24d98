"""Inefficient routes, secrets that jobs still carry, and what is new or far from a step's history. Nothing to patch.

A listener on a trail's records, in bounded memory; each finding names what it saw and what to do about it.
"""

import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any, Final, NamedTuple

from proxy.model.reason import Reason
from proxy.model.record import Kind
from proxy.simulate.history import Seen, Who, who_of
from proxy.simulate.replay import read_job
from proxy.simulate.suggestion import Confidence, Suggestion, Topic, say_who

_MAX_KEPT: Final = 50_000
_LARGE: Final = 100_000
_WASTE: Final = 10_000_000
_STORM: Final = 10
_STORM_SECONDS: Final = 60.0
_CHURN: Final = 5
_HISTORY: Final = 20
_NEW: Final = 0.1
_UNUSUAL: Final = 10
_MUCH: Final = 50_000_000
_FAR: Final = 100_000_000
_MEBI: Final = 1 << 20
_REGION: Final = re.compile(r"\.([a-z]{2}(?:-[a-z]+){1,2}-[0-9])\.amazonaws\.com(?:\.cn)?$")
_REAL: Final = re.compile(r"a(?:n)? (?!placeholder|credential of)(?P<kind>[a-z][a-z0-9 _-]{2,40})")
_HARMFUL: Final = frozenset({"write", "delete", "admin", "publish", "execute", "credential"})


class _Open(NamedTuple):
    who: Who
    session: str
    host: str
    path: str
    method: str
    record: Mapping[str, Any]


@dataclass(slots=True)
class _Download:
    seen: Seen = field(default_factory=Seen)
    size: int = 0


@dataclass(slots=True)
class _Step:
    """A step's history: its sessions in order, how much each sent, and in which of them each act was first seen."""

    sessions: dict[str, int] = field(default_factory=dict)
    firsts: dict[tuple[str, str, str], tuple[int, Seen]] = field(default_factory=dict)
    regions: Counter[str] = field(default_factory=Counter)
    sent: dict[str, int] = field(default_factory=dict)


class Observer:
    """Listens to records, in order."""

    def __init__(self, most: int = _MAX_KEPT) -> None:
        """Of each kind of thing so many are kept."""
        self._most = most
        self._open: dict[str, _Open] = {}
        self._steps: dict[Who, _Step] = {}
        self._whose: dict[str, Who] = {}
        self._downloads: dict[tuple[str, str, str], _Download] = {}
        self._failing: dict[str, dict[tuple[str, str], deque[float]]] = {}
        self._storms: dict[tuple[Who, str, str, str], Seen] = {}
        self._minted: dict[str, Counter[str]] = {}
        self._churn: dict[tuple[Who, str], Seen] = {}
        self._secrets: dict[tuple[Who, str, str], Seen] = {}
        self._lost: dict[tuple[Who, str], Seen] = {}

    def listen(self, record: Mapping[str, Any]) -> None:
        """Take the next record."""
        kind = record["kind"]
        if kind == Kind.DECISION:
            self._decide(record)
        elif kind == Kind.OUTCOME:
            self._end(record)
        elif kind == Kind.SESSION_OPENED:
            self._open_session(record)
        elif kind == Kind.CREDENTIAL_MINTED:
            self._mint(record)
        elif kind == Kind.SESSION_CLOSED:
            self._close(str(record["session"]))

    def findings(self) -> Iterator[Suggestion]:
        """Give out what was found, of the whole trail."""
        yield from self._static_secrets()
        yield from self._repeated()
        yield from self._retries()
        yield from self._churned()
        yield from self._regions()
        yield from self._news()
        yield from self._volumes()

    def _open_session(self, record: Mapping[str, Any]) -> None:
        who, session = who_of(read_job(record)), str(record["session"])
        if len(self._whose) < self._most:
            self._whose[session] = who
        step = self._steps.setdefault(who, _Step()) if len(self._steps) < self._most else self._steps.get(who)
        if step is not None and len(step.sessions) < self._most:
            step.sessions[session] = len(step.sessions)

    def _close(self, session: str) -> None:
        self._whose.pop(session, None)
        self._failing.pop(session, None)
        self._minted.pop(session, None)

    def _decide(self, record: Mapping[str, Any]) -> None:
        session = str(record.get("session"))
        who = self._whose.get(session)
        if who is None:
            return
        host = str(record.get("host", ""))
        if record["reason"] == Reason.CREDENTIAL_MISUSE:
            real = _REAL.fullmatch(str(record.get("detail", "")))
            if real is not None:
                self._at(self._secrets, (who, host, real["kind"])).add(record)
        self._act(who, session, record)
        if record["effect"] == "deny":
            self._fail(who, session, record, str(record["reason"]))
        elif len(self._open) < self._most:
            about = _Open(who, session, host, str(record.get("path", "")), str(record.get("method", "")), record)
            self._open[str(record["flow"])] = about

    def _act(self, who: Who, session: str, record: Mapping[str, Any]) -> None:
        """Note in which session a step did this for the first time."""
        step = self._steps.get(who)
        if step is None or session not in step.sessions:
            return
        act = (str(record.get("host", "")), str(record.get("protocol", "")), str(record.get("action", "")))
        known = step.firsts.get(act)
        if known is None and len(step.firsts) < self._most:
            known = step.firsts[act] = (step.sessions[session], Seen())
        if known is not None:
            known[1].add(record)

    def _end(self, record: Mapping[str, Any]) -> None:
        about = self._open.pop(str(record["flow"]), None)
        if about is None:
            return
        status, received = int(record.get("status") or 0), int(record.get("received") or 0)
        step = self._steps.get(about.who)
        if step is not None and about.session in step.sessions:
            step.sent[about.session] = step.sent.get(about.session, 0) + int(record.get("sent") or 0)
            region = _REGION.search(about.host)
            if region is not None:
                step.regions[region[1]] += received + int(record.get("sent") or 0)
        digest = record.get("received_sha256")
        if about.method == "GET" and status == 200 and received >= _LARGE and digest:
            self._download((about.host, about.path, str(digest)), received, about.record)
        if status >= 400:
            self._fail(about.who, about.session, about.record, str(status))
        if status in {301, 307} and ".s3" in f".{about.host}":
            self._at(self._lost, (about.who, about.host)).add(about.record)

    def _download(self, what: tuple[str, str, str], size: int, record: Mapping[str, Any]) -> None:
        found = self._downloads.get(what)
        if found is None:
            if len(self._downloads) >= self._most:
                return
            found = self._downloads[what] = _Download(size=size)
        found.seen.add(record)

    def _fail(self, who: Who, session: str, record: Mapping[str, Any], why: str) -> None:
        place = f"{record.get('method')} {record.get('host')}{record.get('path', '')}"
        failing = self._failing.setdefault(session, {})
        if len(failing) >= self._most:
            return
        times = failing.setdefault((place, why), deque(maxlen=_STORM))
        times.append(datetime.fromisoformat(record["at"]).timestamp())
        if len(times) == _STORM and times[-1] - times[0] <= _STORM_SECONDS:
            self._at(self._storms, (who, str(record.get("method")), str(record.get("host")), why)).add(record)

    def _mint(self, record: Mapping[str, Any]) -> None:
        session = str(record["session"])
        who = self._whose.get(session)
        if who is None:
            return
        need = "|".join(f"{name}={value}" for name, value in sorted((record.get("need") or {}).items()))
        minted = self._minted.setdefault(session, Counter())
        minted[f"{record['grant']} {need}"] += 1
        if minted[f"{record['grant']} {need}"] >= _CHURN:
            seen = self._at(self._churn, (who, str(record["connector"])))
            seen.add({**record, "flow": record["credential"]})

    def _static_secrets(self) -> Iterator[Suggestion]:
        for (who, host, kind), seen in self._secrets.items():
            yield Suggestion(
                topic=Topic.STATIC_SECRET,
                who=who,
                what=f"{kind} {host}",
                said=f"{say_who(who)} still carries a real {kind} and sends it to {host}: take it out of the pipeline, "
                "revoke it, and let a rule mint one",
                seen=seen,
                confidence=Confidence.HIGH,
            )

    def _repeated(self) -> Iterator[Suggestion]:
        for (host, path, _), found in self._downloads.items():
            wasted = (found.seen.count - 1) * found.size
            if found.seen.count >= 5 and wasted >= _WASTE:
                yield Suggestion(
                    topic=Topic.REPEATED,
                    who=None,
                    what=f"{host}{path}",
                    said=f"{host}{path} came down {found.seen.count} times, the same bytes: {wasted // _MEBI} MiB "
                    "that a cache or a mirror near the agents would save",
                    seen=found.seen,
                    confidence=Confidence.HIGH,
                )

    def _retries(self) -> Iterator[Suggestion]:
        for (who, method, host, why), seen in self._storms.items():
            yield Suggestion(
                topic=Topic.RETRIES,
                who=who,
                what=f"{method} {host} {why}",
                said=f"{say_who(who)} repeats {method} at {host} again and again within a minute though it is answered "
                f"{why}: it needs a back-off, or what it lacks",
                seen=seen,
                confidence=Confidence.HIGH,
            )

    def _churned(self) -> Iterator[Suggestion]:
        for (who, connector), seen in self._churn.items():
            yield Suggestion(
                topic=Topic.CHURN,
                who=who,
                what=connector,
                said=f"{say_who(who)} has the same {connector} credential minted {_CHURN} times and more in one job: "
                "its `duration` is much shorter than the job",
                seen=seen,
                confidence=Confidence.MEDIUM,
            )

    def _regions(self) -> Iterator[Suggestion]:
        for (who, host), seen in self._lost.items():
            yield Suggestion(
                topic=Topic.REGION,
                who=who,
                what=host,
                said=f"{say_who(who)} asks {host}, which sends it to another region: name the bucket's region",
                seen=seen,
                confidence=Confidence.HIGH,
            )
        for who, step in self._steps.items():
            if len(step.regions) < 2:
                continue
            (home, _), *others = step.regions.most_common()
            for region, count in others:
                if count >= _FAR:
                    yield Suggestion(
                        topic=Topic.REGION,
                        who=who,
                        what=f"{home} {region}",
                        said=f"{say_who(who)} moves {count // _MEBI} MiB to and from {region}, most of its work is in "
                        f"{home}: a bucket nearer to it costs less",
                        seen=Seen(count=count),
                        confidence=Confidence.LOW,
                    )

    def _news(self) -> Iterator[Suggestion]:
        for who, step in self._steps.items():
            count = len(step.sessions)
            if count < _HISTORY:
                continue
            for (host, protocol, action), (first, seen) in step.firsts.items():
                if first < count * (1 - _NEW) or not host:
                    continue
                known = any(other[0] == host and at < first for other, (at, _) in step.firsts.items())
                is_harmful = any(word in action.lower() for word in _HARMFUL)
                what = f"{protocol} {action} at {host}".strip() if known else host
                yield Suggestion(
                    topic=Topic.FIRST_SEEN,
                    who=who,
                    what=what,
                    said=f"{say_who(who)} never did this in {first} jobs, and now does: {what}",
                    seen=seen,
                    confidence=Confidence.MEDIUM if is_harmful or not known else Confidence.LOW,
                )

    def _volumes(self) -> Iterator[Suggestion]:
        for who, step in self._steps.items():
            if len(step.sent) < _HISTORY:
                continue
            usual = max(1.0, median(step.sent.values()))
            for session, sent in step.sent.items():
                if sent >= _MUCH and sent >= _UNUSUAL * usual:
                    yield Suggestion(
                        topic=Topic.VOLUME,
                        who=who,
                        what=session,
                        said=f"{say_who(who)} sent {sent // _MEBI} MiB in session {session}, {sent / usual:.0f} times "
                        "as much as usual",
                        seen=Seen(count=1, jobs={session}),
                        confidence=Confidence.MEDIUM,
                    )

    def _at[K](self, found: dict[K, Seen], key: K) -> Seen:
        """Return what was seen of a key; beyond the most that is kept, one that nobody looks at."""
        if key not in found and len(found) >= self._most:
            return Seen()
        return found.setdefault(key, Seen())
