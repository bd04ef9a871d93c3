"""Folders in which one process at a time is at work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from networks.locks import locked
from volumes.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def holder(folder: Path, more: str = "print('in', flush=True)") -> subprocess.Popen[str]:
    """Another process that holds the folder's lock, and then does more."""
    code = (
        "import os, time; from pathlib import Path; from networks.locks import locked\n"
        f"with locked(Path({str(folder)!r})):\n    {more}; time.sleep(600)"
    )
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_whoever_does_not_wait_is_refused_in_one_line(tmp_path: Path) -> None:
    other = holder(tmp_path)
    try:
        assert other.stdout is not None and other.stdout.readline() == "in\n"
        refused = pytest.raises(InputError, match="found another process at it.*wait for it to end")
        with refused as told, locked(tmp_path, wait=False):
            raise AssertionError
        assert str(told.value).startswith(str(tmp_path)) and "\n" not in str(told.value)
        with locked(tmp_path, name="other", wait=False):
            pass
    finally:
        other.kill()
        other.communicate()
    with locked(tmp_path, wait=False):
        pass


def test_a_worker_that_outlives_its_process_holds_no_lock(tmp_path: Path) -> None:
    other = holder(tmp_path, "print(os.getpid(), flush=True) if os.fork() == 0 else None")
    worker = 0
    try:
        assert other.stdout is not None
        worker = int(other.stdout.readline())
        other.kill()
        other.wait()
        os.kill(worker, 0)  # alive
        with locked(tmp_path, wait=False):
            pass
    finally:
        other.kill()
        if worker:
            os.kill(worker, signal.SIGKILL)
        other.communicate()
