"""How often a case has been begun: marks in the run's folder, so that it is known wherever the next worker runs.

Our own count, not Dask's: its scheduler holds a death against every task that the worker had waiting, knows nothing of
a process that the worker itself has ended, and counts as its administrator has set it to.
"""

from __future__ import annotations

import os
from pathlib import Path

MOST = 2
"""Workers that a case may cost: at the next attempt it is set aside."""

_FOLDER = "attempts"


def begin_attempt(folder: Path, case: str) -> int | None:
    """Mark the beginning of an attempt; its number from 1, or None if there were as many as may be.

    Raises:
        OSError: the folder cannot be seen or written from here.
    """
    for number in range(1, MOST + 1):
        try:
            # Exclusive creation is decided by the file server, whatever a client's cache holds.
            os.close(os.open(_mark(folder, case, number), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            continue
        return number
    return None


def attempts(folder: Path, case: str) -> int:
    """How many attempts have begun."""
    return sum(_mark(folder, case, number).exists() for number in range(1, MOST + 1))


def forget(folder: Path, case: str) -> None:
    """Take the marks of a case away: it has come to an end."""
    for number in range(1, MOST + 1):
        _mark(folder, case, number).unlink(missing_ok=True)


def forget_all(folder: Path) -> None:
    """Begin to count: where the run itself was stopped, no case is to blame. Makes the folder."""
    marks = folder / _FOLDER
    marks.mkdir(parents=True, exist_ok=True)
    for mark in marks.iterdir():
        mark.unlink()


def _mark(folder: Path, case: str, number: int) -> Path:
    return folder / _FOLDER / f"{case}.{number}"
