"""A bar over cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def case_progress(total: int, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A bar over cases; what it gives is called with the name of each that is done."""
    if quiet:
        yield lambda case: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("cases", total=total)
        yield lambda case: bar.update(task, advance=1, description=case)
