"""A place for one case at a time: keeps an engine process with its networks loaded, and ends it at a limit."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

import tools
from tools.batch.attempts import MOST, begin_attempt
from tools.batch.tasks import Outcome, Setup, outcome_from, raise_refused, refused
from volumes.errors import InputError

_LOOK = 0.02
"""Seconds between two looks at the engine's memory: filling 100 MB takes longer."""

_ROOT = Path(tools.__file__).resolve().parents[1]
_ENDED: dict[str, Any] = {"ended": True}


class Slot:
    """One engine, started when it is first needed and again after it has died.

    Belongs to one thread; `close` may be called from another.

    Args:
        setup: what the engine is to do.
        environment: variables that its process gets besides those of this one.
    """

    def __init__(self, setup: Setup, environment: Mapping[str, str] | None = None) -> None:
        self.setup, self._environment = setup, dict(environment or {})
        if setup.threads is not None:
            self._environment |= {"OMP_NUM_THREADS": str(setup.threads), "MKL_NUM_THREADS": str(setup.threads)}
        self._engine: _Engine | None = None
        self._facts: dict[str, Any] = {}
        self._closed = False

    def prepare(self) -> dict[str, Any]:
        """Start the engine and return what it says of itself (`Work.facts`).

        Raises:
            InputError: it cannot work.
        """
        if self._engine is None or not self._engine.alive:
            engine = self._engine = _Engine(self._environment)
            if self._closed:  # closed by another thread meanwhile, which may not have seen this engine
                engine.kill()
            engine.send(asdict(self.setup))
            answer, _, ended_by = engine.wait(self.setup.memory, None)
            if "refused" in answer:
                raise_refused(outcome_from(answer["refused"]))
            if "ready" not in answer:
                raise InputError(
                    "worker",
                    found=f"a process that ended before its first volume: {ended_by}{engine.last_words()}",
                    expected="one that loads the networks",
                    fix="give more with --memory-limit, or run one volume alone to see what is wrong",
                )
            self._facts = answer["ready"]
        return self._facts

    def run(self, task: dict[str, Any]) -> Outcome:
        """Have a case worked on. Never raises for what the case or the engine does."""
        name, folder = task["name"], Path(self.setup.folder)
        try:
            self.prepare()
            attempt = begin_attempt(folder, name)
        except InputError as error:
            return refused(error, name)
        except OSError as error:
            return refused(_unseen(folder, error), name)
        if attempt is None:
            text = f"set aside: {MOST} workers ended while they were at it"
            return Outcome(case=name, kind="set aside", text=text, attempt=MOST)
        engine = self._engine
        assert engine is not None
        started = time.perf_counter()
        engine.send(task)
        answer, memory, ended_by = engine.wait(self.setup.memory, self.setup.seconds)
        facts: dict[str, Any] = {
            "attempt": attempt,
            "where": f"{socket.gethostname()}:{engine.pid}",
            "seconds": round(time.perf_counter() - started, 3),
            "memory": memory,
        }
        if "outcome" in answer:
            return replace(outcome_from(answer["outcome"]), **facts)
        if "fault" in answer:
            log = folder / "cases" / f"{name}.txt"
            log.write_text(answer["fault"], encoding="utf-8")
            text = f"a fault of the program: {answer['line']} (whole in {log})"
            return Outcome(case=name, kind="failed", text=" ".join(text.split()), **facts)
        return Outcome(case=name, kind="died", text=ended_by, **facts)

    def close(self) -> None:
        """End the engine, whatever it is at."""
        self._closed = True
        if self._engine is not None:
            self._engine.kill()


class _Engine:
    """The process, a thread that reads its answers, and a file for what it says on stderr."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process runs)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.batch.engine"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
            encoding="utf-8",
            cwd=_ROOT,  # where `-m` looks first: not in whatever folder the person is in
            env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C is for the run, which ends its engines itself
        )
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._over = False  # the end of its answers was seen, which may be before the system says that it has ended
        assert self._process.stdout is not None
        threading.Thread(target=_read, args=(self._process.stdout, self._answers), daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not self._over and self._process.poll() is None

    def send(self, content: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(content) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # it has ended; `wait` says how

    def wait(self, memory: int | None, seconds: float | None) -> tuple[dict[str, Any], int, str]:
        """The next answer, the most bytes that were seen, and if it has ended instead, by what."""
        import psutil

        begun, most, ended_by = time.monotonic(), 0, ""
        while True:
            try:
                answer = self._answers.get(timeout=_LOOK)
            except queue.Empty:
                try:
                    most = max(most, psutil.Process(self.pid).memory_info().rss)
                except psutil.NoSuchProcess:
                    continue  # its answers end next
                if memory is not None and most > memory and not ended_by:
                    ended_by = f"more than {memory / 1e9:g} GB of memory"
                    self.kill()
                elif seconds is not None and time.monotonic() - begun > seconds and not ended_by:
                    ended_by = f"more than {seconds:g} s"
                    self.kill()
                continue
            if answer is not _ENDED:
                return answer, most, ""
            self._over = True
            self.kill()  # one that closes its output but goes on
            status = self._process.wait()
            return answer, most, ended_by or _how(status)

    def last_words(self) -> str:
        """The last line on stderr, to go on with after a colon; empty if there is none."""
        self._words.seek(0)
        lines = self._words.read().decode("utf-8", "replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def kill(self) -> None:
        self._process.kill()


def _read(answers: TextIO, into: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in answers:
        if line.endswith("\n"):  # else cut off by the end of the process
            into.put(json.loads(line))
    into.put(_ENDED)


def _how(status: int) -> str:
    if status >= 0:
        return f"its process ended with status {status}"
    try:
        return f"its process was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"its process was ended by signal {-status}"


def _unseen(folder: Path, error: OSError) -> InputError:
    return InputError(
        folder.parent,
        found=f"a worker on {socket.gethostname()} that cannot write there ({error.strerror})",
        expected="an output folder that all workers see under the same path",
        fix="choose one on a shared disk",
    )
