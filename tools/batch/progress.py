"""How far a run over many cases has come: done, failed, volumes per hour and the time that is left."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console

from tools.console import say


class Progress:
    """A bar on stderr where somebody watches and nothing else draws one; else the rate is added to each line.

    Args:
        quiet: say nothing.
        bar: whether a bar may be drawn.
    """

    def __init__(self, *, quiet: bool, bar: bool) -> None:
        self._quiet = quiet
        console = Console(stderr=True)
        self._bar = _Bar(console) if bar and not quiet and console.is_terminal else None
        self._total = self._done = self._failed = self._kept = 0
        self._since = time.monotonic()

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, *, total: int, kept: int) -> None:
        """Workers are ready.

        Args:
            total: cases that are to be worked on.
            kept: cases that are done already.
        """
        self._total, self._kept, self._since = total, kept, time.monotonic()
        if kept:
            self.line(f"{kept} done before, {total} to do")

    def done(self, text: str) -> None:
        """A case is done."""
        self._done += 1
        self._show()
        ended = self._done + self._failed
        rate = "" if self._bar is not None or self._total < 2 else f"; {self.rate()}"
        self.line(f"[{ended}/{self._total}] {text}{rate}")

    def failed(self) -> None:
        """A case has failed; what is wrong with it is told elsewhere."""
        self._failed += 1
        self._show()

    def workers(self, room: int) -> None:
        """How many cases can be worked on at once."""
        if self._bar is not None:
            self._bar.workers(room)

    def line(self, text: str) -> None:
        """Say a line."""
        if not self._quiet:
            say(text)

    def rate(self) -> str:
        """Volumes per hour since the first one was begun, and the time that is left at this rate."""
        ended = self._done + self._failed
        seconds = max(time.monotonic() - self._since, 1e-6)
        if not ended:
            return "no volume yet"
        left = (self._total - ended) * seconds / ended
        return f"{ended / seconds * 3600:.0f} volumes/h, {in_words(left)} left"

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.update(self._done + self._failed, self._total, self._failed, self.rate())


class _Bar:
    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._progress = RichProgress(
            TextColumn("volumes"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]} failed, {task.fields[workers]} at once, {task.fields[rate]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._progress.add_task("", total=None, failed=0, rate="no volume yet", workers=0)

    def start(self) -> None:
        self._progress.start()

    def stop(self) -> None:
        self._progress.stop()

    def update(self, ended: int, total: int, failed: int, rate: str) -> None:
        self._progress.update(self._task, completed=ended, total=total, failed=failed, rate=rate)

    def workers(self, room: int) -> None:
        self._progress.update(self._task, workers=room)


def in_words(seconds: float) -> str:
    """A time for people: `40 s`, `12 min`, `3 h 05 min`, `2 d 4 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"
