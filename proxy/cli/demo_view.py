"""How the demo looks. A stranger reads it top to bottom and understands; nothing here decides or checks anything."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import join
from typing import Final

from rich.console import Console
from rich.text import Text

from proxy.cli.audit_table import plain
from proxy.demo.flows import Flow
from proxy.demo.git import HOST as GIT_HOST
from proxy.demo.issuer import HOST as ISSUER_HOST
from proxy.demo.issuer import BuildJob
from proxy.demo.promises import Promise
from proxy.demo.sidecar import Sidecar
from proxy.demo.stage import Stage
from proxy.demo.steps import Ran

_LINES: Final = 2
_STYLES: Final = {"allow": "bold green", "deny": "bold red"}
_WIDTH: Final = 112
_TARGET: Final = 62


class View:
    """Prints to stdout. `plain`: no colour, whatever the terminal can do."""

    def __init__(self, *, plain: bool) -> None:
        self._console = Console(
            highlight=False, markup=False, emoji=False, no_color=plain or None, soft_wrap=True, width=None
        )
        self._count = 0

    def title(self) -> None:
        """Say what this is."""
        self._say()
        self._say(("  jobgate demo", "bold"))
        self._say(("  Two jobs of one pipeline, real clients, no stored secret. All on 127.0.0.1, no account.", "dim"))
        self._say()

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Show that something is going on, on terminals only."""
        if not self._console.is_terminal:
            yield
            return
        with self._console.status(Text(what, "dim"), spinner="dots"):
            yield

    def stage(self, stage: Stage, sidecar: Sidecar) -> None:
        """List who plays."""
        rules = (stage.folder / "rules" / "storefront.yaml").read_text().count("- id:")
        rows = (
            ("issuer", f"https://{ISSUER_HOST}", stage.issuer.site.place, "signs each job's identity token"),
            ("aws", "*.eu-west-1.amazonaws.com", stage.aws.place, "moto: signatures and IAM are checked"),
            ("git", f"https://{GIT_HOST}", stage.git.site.place, "anyone may clone, a push needs a token"),
            ("internet", "everything else", stage.internet.site.place, "must never be reached"),
            (
                "sidecar",
                "jobgate run",
                f"127.0.0.1:{sidecar.port}",
                f"{rules} rules; what none of them allows is denied",
            ),
        )
        for name, real, place, role in rows:
            self._say((f"  {name:<10}", "cyan"), f"{real:<29}", (f"{place:<17}", "dim"), role)

    def job(self, job: BuildJob) -> None:
        """Announce a job."""
        self._count += 1
        self._say()
        self._say(
            (f"  job {self._count}  ", "bold cyan"),
            (f"{job.organization_slug}/{job.pipeline_slug}", "bold"),
            f"  build {job.build_number}  step {job.step_key}  branch ",
            (job.build_branch, "bold"),
        )
        self._say(("         identity token verified, session opened; the environment holds placeholders only", "dim"))

    def step(self, ran: Ran) -> None:
        """Show one command, its last words, and each of its flows."""
        mark = ("  ✗ ", "bold red") if ran.faults else ("  ✓ ", "green")
        self._say()
        self._say(mark, (ran.step.says, "italic"))
        self._say(("    $ ", "dim"), (join(ran.step.command), "bold"))
        for line in _last_words(ran.output):
            self._say(("      " + line, "dim"))
        for flow in ran.flows:
            self._flow(flow)
        for fault in ran.faults:
            self._say((f"      NOT AS EXPECTED: {fault}", "bold red"))

    def _flow(self, flow: Flow) -> None:
        verdict = "allowed" if flow.is_allowed else "denied"
        target = plain(f"{flow.method:<7} {_shorten(flow.place, flow.path)}")
        why = ", ".join(flow.rules) if flow.is_allowed else flow.reason
        credential = f"{flow.connector} {flow.credential[:8]}" if flow.credential else ""
        status = str(flow.status or "")
        self._say(
            (f"      {verdict:<8}", _STYLES[flow.effect]),
            f"{_clip(target, _TARGET):<{_TARGET}} ",
            (f"{status:<4}", "dim"),
            (f"{why:<20}", "yellow" if flow.is_allowed else "red"),
            (f"{credential}", "magenta"),
        )

    def promises(self, promises: list[Promise]) -> None:
        """Show what was checked afterwards."""
        self._say()
        self._say(("  afterwards", "bold cyan"))
        for promise in promises:
            mark = ("  ✓ ", "green") if promise.holds else ("  ✗ ", "bold red")
            self._say(mark, f"{promise.name:<10}", (plain(promise.says), "dim" if promise.holds else "bold red"))

    def verdict(self, faults: int, seconds: float) -> None:
        """Say how it ended."""
        self._say()
        if faults:
            self._say((f"  {faults} expectations did not hold.", "bold red"))
        else:
            self._say(("  Everything held", "bold green"), f", in {seconds:.0f} seconds.")
        self._say()

    def keep(self, sidecar: Sidecar, files: list[Path], rules: Path) -> None:
        """Print lines to paste into another terminal."""
        main, pull_request = files
        work = main.parent / "work" / "1284"
        lines = (
            ("be the release step on main", f". {main} && cd {work}"),
            ("  allowed", "aws s3 cp bundle.tgz s3://demo-releases/storefront/mine.tgz"),
            (
                "  denied, and told why",
                "curl -s -X DELETE https://demo-releases.s3.eu-west-1.amazonaws.com/storefront/mine.tgz",
            ),
            ("be the pull request instead", f". {pull_request}"),
            ("watch every decision", f"jobgate audit show --follow {sidecar.audit}"),
            ("change the rules, then load them", f"${{EDITOR:-vi}} {rules}; kill -HUP {sidecar.pid}"),
            ("check the trail", f"jobgate audit verify {sidecar.audit}"),
        )
        self._say(("  Still running. In another terminal:", "bold"))
        for says, command in lines:
            self._say((f"    # {says}", "dim"))
            self._say(f"    {command}")
        self._say()
        self._say(("  Ctrl-C ends everything and removes its folder.", "dim"))

    def _say(self, *parts: str | tuple[str, str]) -> None:
        line = Text.assemble(*parts)
        line.rstrip()
        self._console.print(line, soft_wrap=True)


def _shorten(place: str, path: str) -> str:
    """Return host and path; of a long path its end, which tells requests apart."""
    room = _TARGET - 8 - len(place)
    while len(path) > room and path.count("/") > 1:
        path = "/…/" + path.removeprefix("/…").lstrip("/").partition("/")[2]
    return place + path


def _clip(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _last_words(output: str) -> list[str]:
    """Return the last lines of a command's output, without the progress that carriage returns painted over."""
    lines = [plain(line.rpartition("\r")[2].strip()) for line in output.replace("\r\n", "\n").split("\n")]
    # A transfer's last word names both files first; what went wrong stands at the end.
    return [_middle(line) for line in lines if line][-_LINES:]


def _middle(line: str) -> str:
    return line if len(line) <= _WIDTH else f"{line[:44]} … {line[-(_WIDTH - 47) :]}"
