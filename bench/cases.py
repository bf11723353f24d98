"""The cases, each a list of rows. Ratios come from one run, the contenders taking turns on the same core."""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bench import decision, decoding, questions, streams, whatif
from bench.contenders import HOST, Contender, Origin, run_jobgate, run_mitmdump, run_squid
from bench.parts import LOAD_CORE, BenchError, has_compiled, memory, pinned, processor_seconds, python
from bench.table import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is done: the full run, or a smoke test that only shows that figures come out."""

    rounds: int
    seconds: float
    connections: int
    decisions: int
    starts: int
    denied: int
    streamed: int


FULL = Effort(
    rounds=3,
    seconds=5.0,
    connections=64,
    decisions=100_000,
    starts=5,
    denied=10 * streams.GIB,
    streamed=streams.GIB,
)
QUICK = Effort(
    rounds=1,
    seconds=0.5,
    connections=4,
    decisions=2_000,
    starts=1,
    denied=256 * streams.MIB,
    streamed=16 * streams.MIB,
)


def measure_flows(folder: Path, origin: Origin, effort: Effort) -> Iterator[Row]:
    """Flows per second on one core, the contenders taking turns: A B A B."""
    with ExitStack() as stack:
        ours = stack.enter_context(run_jobgate(folder, origin))
        contenders = [ours, stack.enter_context(run_mitmdump(folder, origin))]
        if has_compiled():
            contenders.append(stack.enter_context(run_jobgate(folder, origin, interpreted=True)))
        try:
            contenders.append(stack.enter_context(run_squid(folder, origin)))
        except BenchError as error:
            yield Row(what="squid with TLS bump", target="", measured=f"left out: {error}")
        figures = _take_turns(contenders, origin, effort)
        for contender in contenders:
            yield Row(
                what=f"flows/s, {contender.name}",
                target="",
                measured=f"{statistics.median(figures[contender.name]):,.0f} ({memory(contender.pid):.0f} MiB)",
            )
        ratio, spread = _ratio(figures, ours, contenders[1])
        yield Row(
            what="flows/s against stock mitmdump",
            target=">= 10x",
            measured=f"{ratio:.1f}x ({spread})",
            is_met=ratio >= 10,
        )
        # With so few connections the proxy also waits: for its disk, its upstream and its client.
        few = replace(effort, connections=effort.connections // 4)
        scarce = _take_turns(contenders[:2], origin, few)
        ratio, spread = _ratio(scarce, ours, contenders[1])
        measured = f"{ratio:.1f}x ({spread}; {statistics.median(scarce[ours.name]):,.0f}/s)"
        yield Row(what=f"the same, {few.connections} connections", target="", measured=measured)
        for other in contenders[2:]:
            ratio, spread = _ratio(figures, ours, other)
            yield Row(what=f"flows/s against {other.name}", target="", measured=f"{ratio:.2f}x ({spread})")


def _take_turns(contenders: Sequence[Contender], origin: Origin, effort: Effort) -> dict[str, list[float]]:
    """Return the flows per second of each contender's turns: many short ones, A B A B."""
    short = replace(effort, seconds=effort.seconds * 0.4)
    figures: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(effort.rounds * 5):
        for contender in contenders:
            figures[contender.name].append(_load(contender, origin, short)["per_second"])
    return figures


def _ratio(figures: dict[str, list[float]], ours: Contender, other: Contender) -> tuple[float, str]:
    """Return the median of each turn against its neighbour, and between which quartiles it lay.

    What else a machine does changes more slowly than the contenders alternate.
    """
    ratios = [mine / theirs for mine, theirs in zip(figures[ours.name], figures[other.name], strict=True)]
    lower, _, upper = statistics.quantiles(ratios, n=4)
    return statistics.median(ratios), f"{lower:.2f} to {upper:.2f}"


def measure_audit(folder: Path, origin: Origin, effort: Effort) -> Iterator[Row]:
    """What the trail costs: the proxy's processor time per flow as shipped, auditing to /dev/null, and with no records.

    In turns, and by its own time: flows per second vary more on a shared machine than what is looked for.
    """
    with ExitStack() as stack:
        started = [
            stack.enter_context(run_jobgate(folder, origin, module=module))
            for module in ("proxy", "bench.null_disk", "bench.null_trail")
        ]
        spent: dict[str, list[float]] = {contender.name: [] for contender in started}
        short = replace(effort, seconds=effort.seconds * 0.4)
        for _ in range(effort.rounds * 5):
            for contender in started:
                before = processor_seconds(contender.pid)
                flows = _load(contender, origin, short)
                count = flows["per_second"] * (flows["seconds"] + min(1.0, short.seconds))
                spent[contender.name].append((processor_seconds(contender.pid) - before) / count * 1e6)
    written, discarded, bare = (spent[each.name] for each in started)
    yield Row(what="us of the proxy's processor time a flow", target="", measured=f"{statistics.median(written):.0f}")
    # Each turn against its neighbour: what else the machine does changes more slowly than they alternate.
    cost = statistics.median(1 - less / more for less, more in zip(discarded, written, strict=True))
    yield Row(what="of it for writing the trail", target="<= 10 %", measured=f"{cost:.1%}", is_met=cost <= 0.10)
    cost = statistics.median(1 - less / more for less, more in zip(bare, written, strict=True))
    yield Row(what="of it for records in all", target="", measured=f"{cost:.1%}")


def _load(contender: Contender, origin: Origin, effort: Effort) -> dict[str, float]:
    words = python(
        *("-m", "bench.load"),
        *("--connect", f"127.0.0.1:{contender.port}"),
        *("--host", HOST, "--port", str(origin.tls), "--trust", str(contender.trust)),
        *("--connections", str(effort.connections), "--seconds", str(effort.seconds)),
        *("--warm-up", str(min(1.0, effort.seconds))),
    )
    done = subprocess.run(
        pinned(words, LOAD_CORE),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "BENCH_PROXY_AUTHORIZATION": contender.authorization},
    )
    if done.returncode != 0:
        raise BenchError(f"{contender.name}: {done.stderr.strip()}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def measure_decisions(_: Path, __: Origin, effort: Effort) -> Iterator[Row]:
    """The pure decision, and that rules about other hosts cost it nothing."""
    few, many = (decision.measure(count, effort.decisions) for count in (10, 10_000))
    yield Row(
        what="decision with 10,000 rules, p99",
        target="<= 100 us",
        measured=f"{many.p99:.0f} us (p50 {many.p50:.0f} us)",
        is_met=many.p99 <= 100,
    )
    yield Row(
        what="decision, 10,000 rules against 10, p50",
        target="no dependence",
        measured=f"{many.p50 / few.p50:.2f}x",
        is_met=many.p50 / few.p50 <= 1.25,
    )


def measure_decoding(_: Path, __: Origin, effort: Effort) -> Iterator[Row]:
    """What it costs to tell what a request does, before any rule is asked."""
    for name in decoding.CASES:
        taken = decoding.measure(name, effort.decisions // 4)
        yield Row(what=f"decoding {name}, p50", target="<= 60 us", measured=f"{taken:.1f} us", is_met=taken <= 60)


def measure_whatif(folder: Path, _: Origin, effort: Effort) -> Iterator[Row]:
    """Recorded flows decided again: one process, one core, from the lines on disk to the changes."""
    replayed = whatif.measure_replay(folder, 2 * effort.decisions)
    each = replayed.flows / replayed.seconds
    yield Row(what="replay, flows/s per core", target=">= 50,000", measured=f"{each:,.0f}", is_met=each >= 50_000)
    suggested = whatif.measure_suggest(folder, 10 * effort.decisions)
    taken = f"{suggested.seconds:.0f} s for {suggested.flows:,} flows, {suggested.rss / 1e9:.2f} GB"
    is_met = suggested.seconds * 1e6 / suggested.flows < 60 and suggested.rss < 1 << 30
    yield Row(
        what="suggest, mined and proved", target="< 60 s for 1,000,000 flows, < 1 GiB", measured=taken, is_met=is_met
    )
    simulated = whatif.measure_simulate(folder, effort.decisions // 10, effort.decisions // 200)
    taken = f"{simulated.seconds:.1f} s, {simulated.rules:,} x {simulated.steps} gave {simulated.exits:,} exit points"
    yield Row(
        what="simulate", target="< 5 s for 10,000 rules x 500 steps", measured=taken, is_met=simulated.seconds < 5
    )


def measure_questions(folder: Path, _: Origin, effort: Effort) -> Iterator[Row]:
    """A trail of 1,000,000 records: verified, and asked about a day, each as a process on one core."""
    asked = questions.measure(folder, 15 * effort.decisions // 2)
    rate = asked.records / asked.verify
    what = f"verify, records/s per core ({asked.records:,} records)"
    yield Row(what=what, target=">= 100,000", measured=f"{rate:,.0f}", is_met=rate >= 100_000)
    taken = f"{asked.day:.2f} s ({asked.flows:,} flows)"
    yield Row(what="query of a day's flows, whole command", target="< 2 s", measured=taken, is_met=asked.day < 2)
    taken = f"{asked.whole:.1f} s, {asked.rss / 1e9:.2f} GB"
    yield Row(what="query of the whole trail", target="", measured=taken)


def measure_start(folder: Path, origin: Origin, effort: Effort) -> Iterator[Row]:
    """How long from the start of the program until it is ready, and what it weighs when nothing happens."""
    ready, idle = [], []
    for _ in range(effort.starts):
        with run_jobgate(folder, origin) as contender:
            ready.append(contender.ready)
            time.sleep(1)
            idle.append(memory(contender.pid))
    slowest = statistics.median(ready)
    yield Row(what="ready after start", target="<= 0.8 s", measured=f"{slowest:.2f} s", is_met=slowest <= 0.8)
    weight = statistics.median(idle)
    yield Row(what="RSS when idle, 1,000 rules", target="<= 80 MiB", measured=f"{weight:.0f} MiB", is_met=weight <= 80)


def measure_streams(folder: Path, origin: Origin, effort: Effort) -> Iterator[Row]:
    """What large bodies do to its memory: a denied upload, an allowed upload, a download."""
    with run_jobgate(folder, origin) as contender:
        _load(contender, origin, QUICK)  # so that what is made once is not counted as growth
        denied = streams.upload(contender, origin, "/elsewhere", effort.denied)
        yield _growth(f"denied {_size(effort.denied)} upload", denied)
        up = streams.upload(contender, origin, "/sink", effort.streamed)
        yield _growth(f"{_size(effort.streamed)} upload", up)
        down = streams.download(contender, origin, effort.streamed)
        yield _growth(f"{_size(effort.streamed)} download", down)


def _size(count: int) -> str:
    return f"{count // streams.GIB} GiB" if count >= streams.GIB else f"{count // streams.MIB} MiB"


def _growth(what: str, body: streams.Streamed) -> Row:
    moved = body.moved / streams.MIB
    rate = moved / max(body.seconds, 1e-6)
    return Row(
        what=f"RSS growth, {what}",
        target="<= 32 MiB",
        measured=f"{body.growth:.0f} MiB (answer {body.status} after {moved:,.0f} MiB, {rate:,.0f} MiB/s)",
        is_met=body.growth <= 32,
    )
