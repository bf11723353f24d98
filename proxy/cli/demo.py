"""`jobgate demo`: a small pipeline, real clients, everything on this machine. Ends with 0 only if all of it held."""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import click

from proxy.cli.demo_view import View
from proxy.cli.environment import FORMATS
from proxy.demo.aws import DemoPartError
from proxy.demo.issuer import BuildJob
from proxy.demo.promises import Promise, check_secrets, check_servers, check_trail
from proxy.demo.sidecar import Sidecar
from proxy.demo.stage import AUDIENCE, Stage
from proxy.demo.steps import PULL_REQUEST_STEPS, RELEASE_STEPS, Runner, Step, find_missing, make_workspace

_JOBS: Final[tuple[tuple[BuildJob, tuple[Step, ...]], ...]] = (
    (BuildJob(step_key="release", build_branch="main", build_number=1284), RELEASE_STEPS),
    (BuildJob(step_key="release", build_branch="cheaper-prices", build_number=1285), PULL_REQUEST_STEPS),
)


@click.command("demo")
@click.option("--keep", is_flag=True, help="Leave everything running and say how to try things by hand.")
@click.option("--no-color", is_flag=True, help="Plain text; NO_COLOR does the same.")
def command(*, keep: bool, no_color: bool) -> int:
    """Show everything at work on this machine, without any account.

    Two jobs of one pipeline run real commands (git, aws, curl) through a real sidecar. Exit code 0 means that every
    expectation held, 1 that one did not, 3 that something the demo needs is missing.
    """
    missing = find_missing()
    if missing:
        raise DemoPartError("the demo needs more than this machine has:\n  " + "\n  ".join(missing))
    signal.signal(signal.SIGTERM, _leave)
    # A shell that starts us in the background has interrupts ignored; whoever sends one means it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with _scratch() as folder:
        return Demo(folder, View(plain=no_color or "NO_COLOR" in os.environ)).play(keep=keep)


def _leave(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="jobgate-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Demo:
    """One performance, in one folder that is removed afterwards."""

    def __init__(self, folder: Path, view: View) -> None:
        self.folder = folder
        self.view = view
        self.stage = Stage(folder)
        self.sidecar: Sidecar
        self.faults = 0
        self.seen: dict[str, str] = {}
        self.started = time.monotonic()

    def play(self, *, keep: bool) -> int:
        """Set up, run every job, check every promise, clean up."""
        self.view.title()
        try:
            with self.view.waiting("setting the stage"):
                self.stage.start()
                self.sidecar = self.stage.make_sidecar()
                self.sidecar.start()
            self.view.stage(self.stage, self.sidecar)
            environments = [self._run_job(job, steps) for job, steps in _JOBS]
            if not keep:
                self.sidecar.stop()
            self._check_promises()
            if keep:
                self._stay(environments)
        except KeyboardInterrupt:
            return 130
        finally:
            if hasattr(self, "sidecar"):
                self.sidecar.stop(timeout=10)
            self.stage.stop()
        return 1 if self.faults else 0

    def _run_job(self, job: BuildJob, steps: tuple[Step, ...]) -> dict[str, str]:
        known = self.stage.issuer.adopt_job(job)
        tokens = self.stage.tokens(known)
        session = self.sidecar.open_session(tokens[AUDIENCE], [tokens[name] for name in tokens if name != AUDIENCE])
        workspace = make_workspace(self.folder / "work" / str(job.build_number))
        runner = Runner(
            self.sidecar, workspace, self.sidecar.job_environment(session, self.folder / "home" / job.job_id)
        )
        self.view.job(known)
        for step in steps:
            with self.view.waiting(f"$ {' '.join(step.command)}"):
                ran = runner.run(step)
            self.view.step(ran)
            self.faults += bool(ran.faults)
        self.seen[f"environment of {job.build_number}"] = "\n".join(runner.environment.values())
        self.seen |= {f"output {n} of {job.build_number}": text for n, text in enumerate(runner.outputs)}
        return runner.environment

    def _check_promises(self) -> None:
        for path in (*self.sidecar.audit.glob("*"), self.sidecar.errors, self.sidecar.config):
            self.seen[path.name] = path.read_bytes().decode(errors="replace")
        promises: list[Promise] = [
            *check_servers(self.stage),
            check_secrets([self.stage.push_token], self.seen),
            *check_trail(self.sidecar.audit, self.folder),
        ]
        self.faults += sum(not promise.holds for promise in promises)
        self.view.promises(promises)
        self.view.verdict(self.faults, time.monotonic() - self.started)

    def _stay(self, environments: list[dict[str, str]]) -> None:
        files = []
        for environment, (job, _) in zip(environments, _JOBS, strict=True):
            file = self.folder / ("main.env" if job.build_branch == "main" else "pull-request.env")
            file.touch(mode=0o600)
            kept = {name: value for name, value in environment.items() if name not in {"PATH", "LANG"}}
            file.write_text(FORMATS["sh"](kept))
            files.append(file)
        self.view.keep(self.sidecar, files, self.folder / "rules" / "storefront.yaml")
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
