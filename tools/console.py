"""What a running command shows: a progress bar on stderr, results on stdout."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console


def say(text: str) -> None:
    """Print a line on stdout as it is, however wide."""
    Console(soft_wrap=True, highlight=False).print(text, markup=False)


def progress_bar(name: str, *, quiet: bool) -> AbstractContextManager[Callable[[int, int], None] | None]:
    """A progress bar on stderr that is told (done, total); none when quiet or when nobody watches."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return nullcontext()
    return _Bar(name, console)


class _Bar:
    def __init__(self, name: str, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task(name, total=None)

    def __enter__(self) -> Callable[[int, int], None]:
        self._progress.start()
        return self._update

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def _update(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)
