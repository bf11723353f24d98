"""Whatever a hand does to a trail is found; whatever a crash does is told apart from it."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proxy.audit.canonical import encode
from proxy.audit.chain import BEGINNING, Head, link
from proxy.audit.checkpoint import Signer, split_notes
from proxy.audit.naming import segment_name, segment_start
from proxy.audit.verify import MAX_FINDINGS, Report, TrailWalk
from proxy.model.record import AuditRecord, Fact, Kind

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SIGNER = Signer("jobgate/test", Ed25519PrivateKey.from_private_bytes(b"1" * 32))
STRANGER = Signer("jobgate/test", Ed25519PrivateKey.from_private_bytes(b"2" * 32))


@dataclass
class Trail:
    """A trail in memory, written by the parts that write a real one."""

    segments: dict[str, list[bytes]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    head: Head = BEGINNING
    at: datetime = START

    def begin(self) -> "Trail":
        self.segments[segment_name(self.head.size)] = []
        return self

    def write(self, kind: Kind, **facts: Fact) -> "Trail":
        self.at += timedelta(seconds=1)
        line, self.head = link(self.head, encode(AuditRecord(kind=kind, at=self.at, facts=facts)))
        self.segments[max(self.segments)].append(line)
        return self

    def open(self, **facts: Fact) -> "Trail":
        return self.begin().write(Kind.TRAIL_OPENED, key=SIGNER.verifier.name, **facts)

    def sign(self, signer: Signer = SIGNER) -> "Trail":
        self.notes.append(signer.sign(self.head, self.at).signed)
        return self

    def copy(self) -> "Trail":
        return replace(self, segments={name: [*lines] for name, lines in self.segments.items()}, notes=[*self.notes])

    def kept(self, name: str) -> int:
        return sum(map(len, self.segments[name]))

    def verify(self, *signers: Signer, partial: bool = False) -> Report:
        raw = "".join(f"{note}\n" for note in self.notes).encode()
        walk = TrailWalk(
            {"checkpoints": split_notes(raw)}, [each.verifier for each in signers or (SIGNER,)], partial=partial
        )
        names = sorted(self.segments)
        for name, following in zip(names, [*names[1:], None], strict=True):
            start, next_start = segment_start(name), None if following is None else segment_start(following)
            assert start is not None
            walk.begin_segment(name, start, next_start)
            for line in self.segments[name]:
                walk.feed(line)
        return walk.finish()


def sample() -> Trail:
    """Three segments, nine records, four checkpoints; one flow open; closed."""
    trail = Trail().open().sign()
    trail.write(Kind.DECISION, flow="f1", effect="allow").write(Kind.OUTCOME, flow="f1", reason="allowed")
    trail.sign().begin().write(Kind.DECISION, flow="f2", effect="deny").write(Kind.CONNECTION, client="127.0.0.1")
    trail.sign().begin().write(Kind.DECISION, flow="f3", effect="allow").write(Kind.DECISION, flow="f4", effect="allow")
    return trail.write(Kind.DECISION, flow="f4", effect="deny").write(Kind.TRAIL_CLOSED).sign()


FIRST, SECOND, THIRD = sorted(sample().segments)


def messages(report: Report) -> list[str]:
    return [str(finding) for finding in report.findings]


def test_an_untouched_trail_is_intact() -> None:
    """Nothing is found, and the figures say what is there."""
    report = sample().verify()
    assert messages(report) == []
    assert report.is_intact
    assert (report.records, report.first, report.segments) == (9, 0, 3)
    assert (report.checkpoints, report.covered) == (4, 9)
    assert report.head == sample().head
    assert (report.first_at, report.last_at) == ("2026-01-02T03:04:06.000000Z", "2026-01-02T03:04:14.000000Z")
    assert report.open_flows == ("f3",)
    assert (report.torn, report.abandoned, report.steps_back, report.more_findings) == (0, 0, 0, 0)


def test_nothing_at_all_is_nothing_wrong() -> None:
    """A walk that was fed nothing reports nothing."""
    report = TrailWalk({}, []).finish()
    assert report.is_intact
    assert (report.records, report.head) == (0, BEGINNING)


# --- ten thousand hands (G23) ---------------------------------------------------------------------------------------


def spots(trail: Trail) -> list[tuple[str, int]]:
    return [(name, n) for name, lines in trail.segments.items() for n in range(len(lines))]


def flip(trail: Trail, rng: random.Random) -> None:
    name, n = rng.choice(spots(trail))
    line = bytearray(trail.segments[name][n])
    line[rng.randrange(len(line))] ^= 1 << rng.randrange(8)
    # As a reader of the file sees it: a newline may have come or gone.
    text = b"".join([*trail.segments[name][:n], bytes(line), *trail.segments[name][n + 1 :]])
    trail.segments[name] = text.splitlines(keepends=True) if b"\r" not in text else split_lines(text)


def split_lines(text: bytes) -> list[bytes]:
    parts = text.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def delete(trail: Trail, rng: random.Random) -> None:
    name, n = rng.choice(spots(trail))
    del trail.segments[name][n]


def swap(trail: Trail, rng: random.Random) -> None:
    (a, i), (b, j) = rng.sample(spots(trail), 2)
    trail.segments[a][i], trail.segments[b][j] = trail.segments[b][j], trail.segments[a][i]


def duplicate(trail: Trail, rng: random.Random) -> None:
    (a, i), (b, j) = rng.choice(spots(trail)), rng.choice(spots(trail))
    trail.segments[b].insert(j, trail.segments[a][i])


def insert(trail: Trail, rng: random.Random) -> None:
    """A forged record that is linked to the one before it, as one without the key can make."""
    name, n = rng.choice(spots(trail))
    head = BEGINNING
    for line in [line for each in sorted(trail.segments) for line in trail.segments[each]][: rng.randrange(1, 10)]:
        head = Head(head.size + 1, sha256(line).hexdigest())
    forged, _ = link(head, encode(AuditRecord(kind=Kind.CONNECTION, at=START, facts={"n": rng.random()})))
    trail.segments[name].insert(n + 1, forged)


def rechain(trail: Trail, rng: random.Random) -> None:
    """One record replaced and every later one linked anew: only the signed heads can tell."""
    victim, head, n = rng.randrange(9), BEGINNING, 0
    for name in sorted(trail.segments):
        for i, line in enumerate(trail.segments[name]):
            body = line[line.index(b'"at"') : -1]
            if n == victim:
                body = body.replace(b"2026", b"2025")
            trail.segments[name][i], head = link(head, body)
            n += 1


def truncate(trail: Trail, rng: random.Random) -> None:
    for name, _ in reversed(spots(trail)[-rng.randrange(1, 8) :]):
        trail.segments[name].pop()


def tear(trail: Trail, rng: random.Random) -> None:
    last = trail.segments[THIRD]
    last[-1] = last[-1][: rng.randrange(len(last[-1]))]


def rename(trail: Trail, rng: random.Random) -> None:
    name = rng.choice([FIRST, SECOND, THIRD])
    start = segment_start(name) or 0
    trail.segments[segment_name(start + rng.choice([1, 2, 7, 100]))] = trail.segments.pop(name)


def remove(trail: Trail, rng: random.Random) -> None:
    del trail.segments[rng.choice([FIRST, SECOND, THIRD])]


def resign(trail: Trail, rng: random.Random) -> None:
    """Replaced, linked anew, and signed anew by another key under our name."""
    rechain(trail, rng)
    trail.notes = []
    head = BEGINNING
    for name in sorted(trail.segments):
        for line in trail.segments[name]:
            head = Head(head.size + 1, sha256(line).hexdigest())
        trail.notes.append(STRANGER.sign(head, START).signed)


def edit_note(trail: Trail, rng: random.Random) -> None:
    n = rng.randrange(len(trail.notes))
    note = trail.notes[n]
    at = rng.randrange(len(note))
    trail.notes[n] = note[:at] + chr(ord(note[at]) ^ 1) + note[at + 1 :]


HANDS: tuple[Callable[[Trail, random.Random], None], ...] = (
    flip, flip, flip, delete, swap, duplicate, insert, rechain, truncate, tear, rename, remove, resign, edit_note,
)  # fmt: skip


def test_ten_thousand_tamperings_are_found() -> None:
    """Every flip, deletion, swap, copy, insertion, re-chaining, truncation, and forged signature is found."""
    rng = random.Random(20260102)
    original = sample()
    missed: list[tuple[int, str]] = []
    tampered = 0
    while tampered < 10_000:
        hand = HANDS[tampered % len(HANDS)]
        trail = original.copy()
        hand(trail, rng)
        if trail == original or (trail.segments == original.segments and trail.notes == original.notes):
            continue  # a swap with an equal line, say
        tampered += 1
        if trail.verify().is_intact:
            missed.append((tampered, hand.__name__))
    assert missed == []


# --- where and what -------------------------------------------------------------------------------------------------


def cases() -> Iterator[tuple[str, Trail, list[str]]]:
    trail = sample()
    trail.segments[SECOND][0] = trail.segments[SECOND][0].replace(b"f2", b"fx")
    yield "an altered record", trail, [f"{SECOND}:2: does not follow the record before it: one of the two was altered"]
    trail = sample()
    del trail.segments[SECOND][0]
    yield "a missing record", trail, [f"{SECOND}:1: record 3 expected, 4 found"]
    trail = sample()
    trail.segments[SECOND].insert(1, b"rubbish\n")
    yield "a foreign line", trail, [f"{SECOND}:2: not a record"]
    trail = sample()
    del trail.segments[SECOND]
    yield "a missing segment", trail, [f"{THIRD}: begins at record 5, but {FIRST} ends before record 3"]
    trail = sample()
    trail.segments[SECOND].append(trail.segments[FIRST][0])
    yield "a line after a segment's end", trail, [f"{SECOND}:3: lines that are no part of the trail"]
    trail = sample()
    trail.segments[THIRD].pop()
    yield "a cut trail", trail, ["checkpoints:22: the trail is cut: 9 records signed, 8 present"]
    trail = sample()
    trail.notes[1] = trail.notes[1].replace("\n3\n", "\n2\n")
    yield "an altered checkpoint", trail, ["checkpoints:8: a checkpoint whose signature does not verify"]
    trail = sample()
    trail.notes[1] = "nonsense"
    yield "no checkpoint", trail, ["checkpoints:8: not a checkpoint"]
    trail = sample()
    trail.notes = []
    yield "no checkpoints at all", trail, ["checkpoints: none vouches for the start at record 0"]
    trail = sample()
    trail.notes[3] = STRANGER.sign(trail.head, START).signed
    yield "another's key", trail, ["checkpoints:22: signed by a key that is not among those given"]


@pytest.mark.parametrize("name, trail, expected", list(cases()), ids=[name for name, _, _ in cases()])
def test_a_finding_says_where_and_what(name: str, trail: Trail, expected: list[str]) -> None:
    """The first finding names file, line and fault; what follows from it may be reported too."""
    assert messages(trail.verify())[: len(expected)] == expected


def test_a_replaced_history_is_found_by_its_signed_head() -> None:
    """A chain that is whole in itself but not the one signed is reported at every checkpoint after the change."""
    trail = sample()
    rechain(trail, random.Random(3))
    report = trail.verify()
    assert report.findings
    assert all("signs another head" in finding.message for finding in report.findings)


def test_a_key_the_trail_does_not_name_is_a_strangers() -> None:
    """A believed key signs in vain where no start of the trail named it."""
    trail = sample()
    trail.notes.append(STRANGER.sign(trail.head, START).signed)
    assert messages(trail.verify(SIGNER, STRANGER)) == ["checkpoints:29: signed by a key that the trail does not name"]


def test_findings_are_bounded() -> None:
    """A ruined trail is reported with its first faults and a count of the rest."""
    trail = Trail().open().sign()
    for _ in range(MAX_FINDINGS + 20):
        trail.write(Kind.CONNECTION)
    (name,) = trail.segments
    trail.segments[name][1:] = [b"rubbish\n"] * (MAX_FINDINGS + 20)
    report = trail.verify()
    assert len(report.findings) == MAX_FINDINGS
    assert report.more_findings == 20


# --- what a crash or a full disk leaves -----------------------------------------------------------------------------


@pytest.mark.parametrize("rest", [[b'{"v":1,"se'], [b"\0" * 512], [b"\0\0\n", b'{"v":1}\n'], [b'{"v":1,"seq":9\0\n']])
def test_a_torn_end_is_no_tampering(rest: list[bytes]) -> None:
    """A last record cut short is noted, not accused; it counts as no record."""
    trail = sample()
    trail.segments[THIRD] += rest
    report = trail.verify()
    assert messages(report) == []
    assert report.torn == sum(map(len, rest))
    assert report.records == 9


def test_a_torn_record_elsewhere_is_tampering() -> None:
    """Only the end of the trail can be torn."""
    trail = sample()
    trail.segments[FIRST][-1] = trail.segments[FIRST][-1][:-9]
    assert not trail.verify().is_intact


def test_a_failed_batch_left_behind_is_explained() -> None:
    """Lines after a segment's end are no finding when the record that begins the next one accounts for them."""
    trail = Trail().open().sign().write(Kind.CONNECTION)
    kept, before = trail.kept(FIRST), trail.head
    failed, _ = link(before, encode(AuditRecord(kind=Kind.CONNECTION, at=START, facts={"n": 1})))
    trail.begin().write(Kind.TRAIL_REPAIRED, after=FIRST, kept=kept).sign()
    trail.segments[FIRST] += [failed, failed[:20]]
    report = trail.verify()
    assert messages(report) == []
    assert report.abandoned == len(failed) + 20
    assert report.records == 3


def test_nothing_may_stand_behind_a_good_end() -> None:
    """After `trail.closed` no batch can have failed: a line behind it is no leftover, whatever the next start says."""
    trail = Trail().open().sign().write(Kind.CONNECTION).write(Kind.TRAIL_CLOSED).sign()
    trail.open(after=FIRST, kept=trail.kept(FIRST)).sign()
    assert trail.verify().is_intact
    trail.segments[FIRST].append(trail.segments[FIRST][-1])
    assert messages(trail.verify()) == [f"{FIRST}:4: lines that are no part of the trail"]


@pytest.mark.parametrize("after, kept", [(FIRST, 1), ("trail-000000000009.jsonl", 0), (FIRST, None)])
def test_a_seam_that_does_not_fit_is_found(after: str, kept: int | None) -> None:
    """A segment that misstates how the one before ends was not written after it."""
    trail = Trail().open().sign().write(Kind.CONNECTION).open(after=after, kept=kept).sign()
    assert f"says that {FIRST} ends elsewhere" in messages(trail.verify())[0]


def test_a_seam_of_a_trail_whose_beginning_moved_away() -> None:
    """The first segment present may name one that was moved away: nothing to compare, nothing to report."""
    trail = Trail().open().sign().write(Kind.CONNECTION).sign()
    kept = trail.kept(FIRST)
    trail.open(after=FIRST, kept=kept).write(Kind.CONNECTION).sign()
    del trail.segments[FIRST]
    assert messages(trail.verify()) == [
        "trail-000000000002.jsonl: the 2 records before it are missing; if they were moved away, say --partial"
    ]
    report = trail.verify(partial=True)
    assert messages(report) == []
    assert (report.first, report.records, report.head.size) == (2, 2, 4)


def test_a_beginning_that_nothing_vouches_for_is_found() -> None:
    """Old segments may go only where a checkpoint says how the next one must begin."""
    trail = Trail().open().sign().write(Kind.CONNECTION).begin().write(Kind.CONNECTION).sign()
    del trail.segments[FIRST]
    assert messages(trail.verify(partial=True)) == [
        "trail-000000000002.jsonl: no checkpoint vouches for how the trail begins here"
    ]


def test_a_first_segment_that_is_not_the_one_signed_for() -> None:
    """The checkpoint at a trail's new beginning holds its first record to it."""
    trail = Trail().open().sign().begin().write(Kind.CONNECTION, n=1).write(Kind.CONNECTION).sign()
    other = Trail().open(n=2).sign().begin().write(Kind.CONNECTION, n=1).write(Kind.CONNECTION).sign()
    other.notes = trail.notes[:1]
    del other.segments[FIRST]
    assert "does not follow" in messages(other.verify(partial=True))[0]


def test_a_trail_that_was_only_opened_needs_no_checkpoint_yet() -> None:
    """Killed before its first checkpoint, a trail holds only what the trail itself wrote."""
    trail = Trail().open().write(Kind.KEY_SEALED, key="k").write(Kind.OUTCOME, flow="f", reason="interrupted")
    assert trail.verify().is_intact
    assert not trail.write(Kind.OUTCOME, flow="f", reason="allowed").verify().is_intact


def test_nothing_may_follow_the_end_but_a_start() -> None:
    """A record linked onto a closed trail is found without any key; a proper new start is not accused."""
    added = sample().write(Kind.CONNECTION)
    assert messages(added.verify()) == [f"{THIRD}:5: was added after the trail was closed"]
    assert sample().open().verify().is_intact
    assert sample().open().sign().write(Kind.CONNECTION).verify().is_intact
    forged = sample().open().write(Kind.CONNECTION)
    assert messages(forged.verify()) == ["checkpoints: none vouches for the start at record 9"]


def test_a_clock_set_back_is_counted() -> None:
    """Time may go backwards; the sequence does not, and the report says so."""
    trail = Trail().open().sign().write(Kind.CONNECTION)
    trail.at = START - timedelta(hours=1)
    assert trail.write(Kind.CONNECTION).sign().verify().steps_back == 1
