"""`python -m bench`: measure everything, print one table. `--quick` shows in seconds that figures come out."""

import argparse
import os
import platform
import signal
import sys

from bench import cases
from bench.contenders import run_origin
from bench.parts import BenchError, cores, has_compiled, scratch
from bench.table import Row, render

CASES = {
    "flows": cases.measure_flows,
    "audit": cases.measure_audit,
    "decisions": cases.measure_decisions,
    "decoding": cases.measure_decoding,
    "whatif": cases.measure_whatif,
    "questions": cases.measure_questions,
    "start": cases.measure_start,
    "streams": cases.measure_streams,
}


def main() -> int:
    """Run the cases asked for and print what they measured."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("case", nargs="*", choices=[[], *CASES], help="all, unless some are named")
    parser.add_argument("--quick", action="store_true", help="a smoke test: figures come out, but mean little")
    arguments = parser.parse_args()
    # A run that is told to stop ends the programs it started.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    effort = cases.QUICK if arguments.quick else cases.FULL
    print(_circumstances(effort.connections), flush=True)
    rows: list[Row] = []
    failed = False
    with scratch() as folder, run_origin(folder) as origin:
        for name in arguments.case or CASES:
            print(f"measuring: {name}", file=sys.stderr, flush=True)
            try:
                rows += CASES[name](folder, origin, effort)
            except BenchError as error:
                failed = True
                rows.append(Row(what=name, target="", measured="could not be measured"))
                print(f"{name}: {error}", file=sys.stderr)
    print(render(rows))
    return 1 if failed else 0


def _circumstances(connections: int) -> str:
    shared = cores() < 2
    where = (
        "everything shares one core: ratios are too low"
        if shared
        else "the proxy has one core, the load generator and the origin share another"
    )
    busy = os.getloadavg()[0]
    package = "compiled as in the image" if has_compiled() else "interpreted: nothing here compiles it (make compiled)"
    return (
        f"{cores()} cores, Python {platform.python_version()}, jobgate {package}; {where}."
        f" Load before: {busy:.1f}. TLS keep-alive, 1 KiB answers, {connections} connections, medians of turns.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
