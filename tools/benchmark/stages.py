"""Long computations in folders, which may be killed at any time and which several processes may want.

    FOLDER/lock            held by the process that is at it (networks.locks)
    FOLDER/made_with.json  what it is made with: another start with other settings is refused
    FOLDER/seconds.json    time spent so far, all starts together
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools.files import write_json
from volumes.datasets import DataCase
from volumes.errors import InputError
from volumes.fingerprints import fingerprint

MADE_WITH, SECONDS = "made_with.json", "seconds.json"
_TICK = 5.0


def check_made_with(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write down what is made in `folder`, or raise InputError if it was begun with something else."""
    path, now = folder / MADE_WITH, json.loads(json.dumps(settings, default=str))
    if not path.exists():
        write_json(path, now)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    if before != now:
        names = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        raise InputError(
            folder,
            found=f"a stage that was begun with other settings ({', '.join(names)})",
            expected="those that it was begun with",
            fix="take those, choose another --out, or delete the folder to make it anew",
        )


@contextmanager
def timed(folder: Path) -> Iterator[None]:
    """Add the time of the block to the folder's, every few seconds, so that a killed process loses little of it."""
    before, started, done = seconds_of(folder), time.monotonic(), threading.Event()

    def write() -> None:
        write_json(folder / SECONDS, {"seconds": round(before + time.monotonic() - started, 1)})

    def tick() -> None:
        while not done.wait(_TICK):
            write()

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        write()


def seconds_of(folder: Path) -> float:
    """Time spent in `folder` so far."""
    path = folder / SECONDS
    return float(json.loads(path.read_text(encoding="utf-8"))["seconds"]) if path.exists() else 0.0


def live_no_longer_than_parent() -> None:
    """End this process when its parent has died, however: what nobody waits for must hold no lock."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def files_digest(cases: Iterable[DataCase]) -> str:
    """Changes when a case's image or label map does, so that another data set with the same names is told apart."""
    paths = [[case.name, *(fingerprint(one) for one in (case.image, case.label) if one)] for case in cases]
    return hashlib.sha256(json.dumps(sorted(paths)).encode()).hexdigest()[:16]
