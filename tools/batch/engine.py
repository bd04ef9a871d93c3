"""The process that works on cases: `python -m tools.batch.engine`, started and watched by a `Slot`.

A line of JSON in for each case, a line of JSON out; the first line in is the `Setup`, the first line out says what the
run's report repeats. A process of its own, because a case that asks for too much memory or time can only be ended
together with its process, and because code that keeps Python's lock would keep a Dask worker from answering its
scheduler.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from tools.batch.tasks import Setup, make_work, refused, work_on
from tools.errors import as_input_error
from volumes.errors import InputError

IDLE_SECONDS = 600.0
"""Without a task for so long it ends: a run on somebody's cluster that was killed leaves no network in memory."""


def main() -> None:
    """Work until standard input ends."""
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _first_to_go()
    tasks: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin, tasks), daemon=True).start()
    setup = Setup(**tasks.get())
    try:
        os.chdir(setup.cwd)
        work = make_work(setup)
        work.get_ready()
    except (InputError, OSError, MemoryError, RuntimeError) as error:
        known = as_input_error(error, where="worker")
        if known is None:
            raise
        _answer(answers, {"refused": asdict(refused(known))})
        return
    _answer(answers, {"ready": work.facts()})
    from pydantic import TypeAdapter

    cases: TypeAdapter[Any] = TypeAdapter(work.case_type)
    while True:
        try:
            task = tasks.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            return
        case = cases.validate_python(task)
        try:
            outcome = work_on(work, case, Path(setup.folder))
        except Exception as error:  # a fault of ours: the other cases shall not suffer for it
            traceback.print_exc()
            _answer(answers, {"fault": traceback.format_exc(), "line": f"{type(error).__name__}: {error}"})
            continue
        _answer(answers, {"outcome": asdict(outcome)})


def _read(source: TextIO, tasks: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Take tasks in. The end of them is the end of the process, whatever it is at: nobody wants its result."""
    for line in source:
        tasks.put(json.loads(line))
    os._exit(0)


def _answer(answers: TextIO, content: dict[str, Any]) -> None:
    answers.write(json.dumps(content, ensure_ascii=False) + "\n")
    answers.flush()


def _first_to_go() -> None:
    """Where a machine runs out of memory, Linux shall end this process and not the run that counts its deaths."""
    score = Path("/proc/self/oom_score_adj")
    if score.exists():
        try:
            score.write_text("500")
        except OSError as error:
            print(f"oom_score_adj: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
