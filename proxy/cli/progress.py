"""How far long work got, for a person who watches."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def show_progress(total: int, doing: str = "verifying") -> Iterator[Callable[[int], None]]:
    """Show how far a long walk got, to a person, beside the output."""
    if not sys.stderr.isatty() or total < 32 << 20:
        yield lambda _: None
        return
    columns = (TextColumn(doing), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("verify", total=total)
        yield lambda count: progress.advance(task, count)
