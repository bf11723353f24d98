"""Where a trail is: a directory, one segment, or a copy in S3, which is fetched for as long as the command runs."""

import sys
import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from proxy.model.errors import AuditError
from proxy.sources.objects import SCHEME, fetch_copy


class TrailPlace(click.ParamType[Path]):
    """A path, or `s3://bucket/prefix/origin`."""

    name = "place"

    def __init__(self, *, directory: bool = False) -> None:
        """`directory`: a single segment will not do."""
        self._is_directory = directory

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return a local path; what is fetched goes when the command ends."""
        if isinstance(value, str) and value.startswith(SCHEME) and ctx is not None:
            return self._fetch(value, ctx)
        path = Path(value)
        if not path.exists() or (self._is_directory and not path.is_dir()):
            self.fail(f"{value}: no such {'directory' if self._is_directory else 'file or directory'}", param, ctx)
        return path

    def _fetch(self, url: str, ctx: click.Context) -> Path:
        folder = tempfile.TemporaryDirectory(prefix="jobgate-")  # 0700
        ctx.call_on_close(folder.cleanup)
        columns = (TextColumn("fetching"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("fetching", total=None)
            try:
                fetch_copy(
                    url, Path(folder.name), lambda done, total: progress.update(task, completed=done, total=total)
                )
            except AuditError as error:
                click.echo(str(error), err=True)
                ctx.exit(3)
        return Path(folder.name)


PLACE = TrailPlace()
DIRECTORY = TrailPlace(directory=True)
