"""`python -m tests.soak.tampering 10000`: tamper with a trail in so many ways, and see that `verify` finds each.

The trail has several runs, a crash and small segments; it is verified with the public key pinned, and against a
checkpoint kept elsewhere, which is what shows that a trail was cut back to an earlier good end.
"""

import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from proxy.audit.chain import Head, link, read_record
from proxy.audit.checkpoint import Verifier
from proxy.audit.naming import CHECKPOINTS
from proxy.model.record import AuditRecord, Kind
from proxy.sinks.file import FileTrail, TrailSettings
from proxy.sinks.keys import make_signer
from proxy.sources.trail import verify_trail

AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
type Files = dict[str, bytes]
type Tamper = Callable[[random.Random, Files], Files | None]


async def make_trail(directory: Path) -> tuple[Files, list[Verifier]]:
    """Write three runs, each with a key of its own; return the files and the keys."""
    keys = []
    for run in range(3):
        signer = make_signer("jobgate/test")
        keys.append(signer.verifier)
        settings = TrailSettings(directory=directory, reserve=0, segment_bytes=4096, checkpoint_records=7)
        trail = await FileTrail.open(settings, signer, lambda: AT)
        for number in range(40):
            at = AT + timedelta(seconds=number)
            facts = {"flow": f"f{run}-{number}", "effect": "allow", "reason": "allowed", "host": "db.example"}
            await trail.append(AuditRecord(kind=Kind.DECISION, at=at, facts=facts))
            trail.post(AuditRecord(kind=Kind.OUTCOME, at=at, facts={"flow": f"f{run}-{number}", "reason": "allowed"}))
        await trail.close()
    return read_files(directory), keys


def read_files(directory: Path) -> Files:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "lock"}


def segments(files: Files) -> list[str]:
    return sorted(name for name in files if name.startswith("trail-"))


def flip(rng: random.Random, files: Files) -> Files | None:
    """Flip one bit, anywhere in records or checkpoints."""
    name = rng.choice([*segments(files), CHECKPOINTS])
    body = bytearray(files[name])
    body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
    return {**files, name: bytes(body)}


def _edit(rng: random.Random, files: Files, change: Callable[[list[bytes], int], list[bytes] | None]) -> Files | None:
    name = rng.choice(segments(files))
    lines = files[name].splitlines(keepends=True)
    found = change(lines, rng.randrange(len(lines)))
    return None if found is None or found == lines else {**files, name: b"".join(found)}


def delete(rng: random.Random, files: Files) -> Files | None:
    """Take a record away."""
    return _edit(rng, files, lambda lines, at: lines[:at] + lines[at + 1 :])


def duplicate(rng: random.Random, files: Files) -> Files | None:
    """Write a record twice."""
    return _edit(rng, files, lambda lines, at: [*lines[: at + 1], lines[at], *lines[at + 1 :]])


def swap(rng: random.Random, files: Files) -> Files | None:
    """Exchange two neighbours."""
    return _edit(rng, files, lambda lines, at: [*lines[:at], *reversed(lines[at : at + 2]), *lines[at + 2 :]])


def insert(rng: random.Random, files: Files) -> Files | None:
    """Bring in a record of one's own, with the right number and digest before it."""

    def change(lines: list[bytes], at: int) -> list[bytes]:
        record = read_record(lines[at])
        body = b'"at":"2026-01-02T03:04:05.000006Z","kind":"flow.outcome","flow":"forged"}'
        forged, _ = link(Head(record["seq"], record["prev"]), body)
        return [*lines[:at], forged, *lines[at:]]

    return _edit(rng, files, change)


def edit(rng: random.Random, files: Files) -> Files | None:
    """Change what a record says."""
    return _edit(
        rng, files, lambda lines, at: [*lines[:at], lines[at].replace(b"db.example", b"ok.example"), *lines[at + 1 :]]
    )


def rechain(rng: random.Random, files: Files) -> Files | None:
    """Change a record, and link everything after it anew, as whoever has no key would."""
    names = segments(files)
    lines = [(name, line) for name in names for line in files[name].splitlines(keepends=True)]
    at = rng.randrange(len(lines))
    if b"db.example" not in lines[at][1]:
        return None
    first = read_record(lines[at][1])
    head = Head(first["seq"], first["prev"])
    made: dict[str, list[bytes]] = {name: [] for name in names}
    for number, (name, line) in enumerate(lines):
        fresh = line
        if number >= at:
            body = line[line.index(b'"at":') : -1]
            body = body.replace(b"db.example", b"ok.example") if number == at else body
            fresh, head = link(head, body)
        made[name].append(fresh)
    return {**files, **{name: b"".join(each) for name, each in made.items()}}


def truncate(rng: random.Random, files: Files) -> Files | None:
    """Cut the end off: records, and whole segments after them; the checkpoint kept elsewhere covers them."""
    names = segments(files)
    at = rng.randrange(len(names))
    lines = files[names[at]].splitlines(keepends=True)
    kept = b"".join(lines[: rng.randrange(len(lines))])
    left = {name: body for name, body in files.items() if name not in names[at:]}
    return {**left, names[at]: kept} if kept else left or None


def truncate_with_checkpoints(rng: random.Random, files: Files) -> Files | None:
    """Cut back to an earlier end, checkpoints too."""
    cut = truncate(rng, files)
    if cut is None:
        return None
    size = sum(cut[name].count(b"\n") for name in segments(cut))
    notes = cut[CHECKPOINTS].split(b"\n\n")
    pairs = [notes[n : n + 2] for n in range(0, len(notes) - 1, 2)]
    kept = [b"\n\n".join(pair) for pair in pairs if int(pair[0].split(b"\n")[1]) <= size]
    return {**cut, CHECKPOINTS: b"\n\n".join(kept) + b"\n\n" if kept else b""}


def drop_segment(rng: random.Random, files: Files) -> Files | None:
    """Take a whole segment away."""
    gone = rng.choice(segments(files))
    return {name: body for name, body in files.items() if name != gone}


def swap_segments(rng: random.Random, files: Files) -> Files | None:
    """Exchange the contents of two segments."""
    one, other = rng.sample(segments(files), 2)
    return {**files, one: files[other], other: files[one]}


def rename_segment(rng: random.Random, files: Files) -> Files | None:
    """Give a segment another number."""
    name = rng.choice(segments(files))
    fresh = f"trail-{rng.randrange(10_000):012d}.jsonl"
    if fresh in files:
        return None
    return {(fresh if each == name else each): body for each, body in files.items()}


def swap_checkpoints(rng: random.Random, files: Files) -> Files | None:
    """Alter which head a checkpoint states, keeping its signature."""
    lines = files[CHECKPOINTS].splitlines(keepends=True)
    stated = [n for n, line in enumerate(lines) if len(line) == 45 and line.endswith(b"=\n")]
    one, other = rng.sample(stated, 2)
    lines[one], lines[other] = lines[other], lines[one]
    return {**files, CHECKPOINTS: b"".join(lines)}


def append(rng: random.Random, files: Files) -> Files | None:
    """Go on writing after the end, well chained."""
    name = segments(files)[-1]
    last = files[name].splitlines(keepends=True)[-1]
    record = json.loads(last)
    _, head = link(Head(record["seq"], record["prev"]), last[last.index(b'"at":') : -1])
    body = b'"at":"2026-01-02T03:04:05.000006Z","kind":"flow.outcome","flow":"forged%d"}' % rng.randrange(99)
    return {**files, name: files[name] + link(head, body)[0]}


WAYS: tuple[Tamper, ...] = (
    *(flip, delete, duplicate, swap, insert, edit, rechain, truncate, truncate_with_checkpoints),
    *(drop_segment, swap_segments, rename_segment, swap_checkpoints, append),
)


def is_found(files: Files, keys: list[Verifier], folder: Path, kept: Path) -> bool:
    """Whether `verify` says that these files are not an intact trail, or cannot read them as one."""
    for path in folder.iterdir():
        path.unlink()
    for name, body in files.items():
        (folder / name).write_bytes(body)
    if not segments(files):
        return True  # `verify` says that there is no trail
    return not verify_trail(folder, keys, elsewhere=[kept]).is_intact


def soak(count: int, seed: int = 1) -> dict[str, int]:
    """Tamper so often; return how often in which way. Raises AssertionError for one that is not found."""
    rng, tried = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as scratch:
        whole, folder, kept = (Path(scratch, name) for name in ("whole", "tampered", "kept"))
        folder.mkdir()
        files, keys = asyncio.run(make_trail(whole))
        kept.write_bytes(files[CHECKPOINTS])
        assert not is_found(files, keys, folder, kept), "the trail itself does not verify"
        while sum(tried.values()) < count:
            way = WAYS[sum(tried.values()) % len(WAYS)]
            tampered = way(rng, files)
            if tampered is None or tampered == files:
                continue
            tried[way.__name__] += 1
            assert is_found(tampered, keys, folder, kept), (
                f"{way.__name__} was not found (seed {seed}, {sum(tried.values())})"
            )
    return dict(tried)


if __name__ == "__main__":
    began = time.monotonic()
    found = soak(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
    sys.stdout.write(json.dumps({**found, "seconds": round(time.monotonic() - began)}, indent=1) + "\n")
