"""What a run over many volumes costs by itself: the same run, with workers that are done at once."""

from __future__ import annotations

import shutil
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.batch.results import write_reports
from tools.batch.run import Plan, run_plan
from tools.batch.tasks import STATE, BatchCase, Outcome, details_path
from tools.batch.workers import Workers
from tools.files import write_json


@dataclass(frozen=True)
class _Nothing:
    """A case that is made from a file that is there, and makes none."""

    name: str
    source: Path
    output: Path | None = None
    thumbnail: Path | None = None

    def inputs(self) -> list[Path]:
        return [self.source]

    def annotate_arguments(self) -> list[str]:
        return [str(self.source)]


class _AtOnce(Workers):
    """Is done with every case at once, and says of it as much as `keyslice propagate` does of 13 structures."""

    def __init__(self, folder: Path) -> None:
        self._waiting: deque[BatchCase] = deque()
        self._folder = folder

    def prepare(self) -> dict[str, Any]:
        return {"command": "nothing"}

    def room(self) -> int:
        return 64

    def submit(self, case: BatchCase, avoid: str = "") -> None:
        self._waiting.append(case)

    def next(self, timeout: float) -> Outcome | None:
        case = self._waiting.popleft()
        return Outcome(
            case=case.name,
            kind="done",
            text="13 structures on 300 slices from 9 key slices in 20.0 s on cuda:0",
            brief={"score": 0.5, "structure": "liver", "slice": 7, "facts": {"structures": "13"}},
            where="tcp://10.0.0.1:40000",
            seconds=20.0,
            memory=10**9,
        )

    def close(self) -> None:
        self._waiting.clear()


def cost_of_the_run(folder: Path, volumes: int) -> dict[str, float]:
    """Seconds for each volume: `run`, to hand it out and write down its end, and `report`.

    Args:
        folder: for its files, made anew.
        volumes: how many.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    source = folder / "source"
    source.write_bytes(b"a CT")
    plan = Plan(
        command="nothing",
        settings={},
        folder=folder / "out",
        cases=[_Nothing(f"P{number:05d}", source) for number in range(volumes)],
        unusable={},
        check_places=lambda case, replace: None,
        quiet=True,
    )
    started = time.perf_counter()
    finished = run_plan(plan, _AtOnce(folder))
    run = time.perf_counter() - started
    entry = {
        "labels": {
            f"structure_{number}": {"voxels": 1000, "confidence": {"mean": 0.9, "per_slice": [0.9] * 300}}
            for number in range(13)
        }
    }
    for case in plan.cases:
        write_json(details_path(plan.folder / STATE, case.name), entry)
    started = time.perf_counter()
    write_reports(plan.folder, plan, finished)
    report = time.perf_counter() - started
    shutil.rmtree(folder)
    return {"run": round(run / volumes, 6), "report": round(report / volumes, 6)}
