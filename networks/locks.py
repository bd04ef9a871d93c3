"""Folders in which one process at a time is at work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from volumes.errors import InputError

LOCK = "lock"
_WAIT = 2.0


@contextmanager
def locked(
    folder: Path, tell: Callable[[str], None] = lambda line: None, *, name: str = LOCK, wait: bool = True
) -> Iterator[None]:
    """Be the only process at work in `folder`, made if it is not there.

    The system lets go of the lock when the process dies, however.

    Args:
        tell: takes a line when another process has to be waited for.
        name: of the lock's file; locks of different names exclude nobody from each other.
        wait: for another process to end.

    Raises:
        InputError: another process is at it, and it is not to be waited for.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("a") as file:
        # A worker that was forked lives on for some seconds after this process was killed; the lock must not.
        os.register_at_fork(after_in_child=file.close)
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not wait:
                    raise InputError(
                        folder,
                        found="another process at it",
                        expected="to be the only one",
                        fix="wait for it to end, or choose another --out",
                    ) from None
                if not told:
                    tell(f"{folder.name}: another process is at it; waiting for it to end")
                told = True
                time.sleep(_WAIT)
        yield
