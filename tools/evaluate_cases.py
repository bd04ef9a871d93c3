"""Scores case by case, by workers: `keyslice evaluate` over many cases at once."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.batch.options import BatchOptions
from tools.batch.tasks import STATE, details_path
from tools.case_runs import Work, run_plan_of
from tools.evaluate import Result, Tally, score_files
from tools.files import check_writable_folder
from tools.report import Stopwatch
from volumes.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Job:
    """What workers need to know.

    Attributes:
        output: the folder of the run and its report; None: no report, and a run that was stopped does not go on.
        labels: a label table, built in or a file.
        quiet: say nothing.
        batch: how the work is spread.
    """

    output: Path | None = None
    labels: str | None = None
    quiet: bool = False
    batch: BatchOptions = field(default_factory=BatchOptions)


@dataclass(frozen=True)
class Pair:
    """A case: its truth and what was predicted.

    Attributes:
        thumbnail: picture of both, to write; None for none.
        output, montage: none, scores are all that comes of it.
    """

    name: str
    truth: Path
    prediction: Path
    thumbnail: Path | None = None
    output: Path | None = None

    def inputs(self) -> list[Path]:
        """The files that the scores are made from."""
        return [self.truth, self.prediction]

    def annotate_arguments(self) -> list[str]:
        """None: the CT is not known."""
        return []


def make_work(job: Job) -> Work:
    """What scores the cases.

    Raises:
        InputError: no such label table.
    """
    return _Evaluate(job)


def evaluate_many(job: Job, pairs: list[Pair], unusable: Mapping[str, InputError], notes: list[str]) -> Result:
    """Score cases by workers; returns what `tools.evaluate.evaluate` does.

    Raises:
        InputError: bad input that stops the whole run.
    """
    with ExitStack() as stack:
        if job.output is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keyslice-")))
        else:
            folder = job.output
            check_writable_folder(folder if folder.exists() or not folder.parent.is_dir() else folder.parent)
        finished = run_plan_of(job, "evaluate", make_work, (pairs, dict(unusable)), folder=folder)
        tally = Tally(notes)
        for pair in pairs:
            if pair.name in finished.done:
                entry = json.loads(details_path(folder / STATE, pair.name).read_text(encoding="utf-8"))
                tally.take(pair.name, entry)
        tally.failed.update(sorted(finished.failed.items()))
    return tally.result()


class _Evaluate(Work):
    """The label table."""

    case_type = Pair

    def __init__(self, job: Job) -> None:
        from volumes.labels import LabelTable

        super().__init__("evaluate", "cpu")
        self.job = job
        self.table = None if job.labels is None else LabelTable.read(job.labels)

    def get_ready(self) -> None:
        import numpy as np

        import tools.batch.thumbnails  # noqa: F401
        from tools.evaluate import evaluate_maps
        from volumes.label_map import LabelMap
        from volumes.labels import LabelTable
        from volumes.volume import Geometry

        array = np.zeros((3, 4, 4), np.uint8)
        array[1, 1:3, 1:3] = 1
        one = LabelMap(array, Geometry.axial(array.shape, (1.0, 1.0, 1.0)), LabelTable.default([1]))
        evaluate_maps(one, one)  # what measures surfaces takes seconds to be loaded

    def settings(self) -> dict[str, Any]:
        return {"labels": self.job.labels}

    def run(self, case: Pair) -> dict[str, Any]:
        stopwatch = Stopwatch()
        with stopwatch.stage("score"):
            truth, prediction, entry = score_files(case.name, case.truth, case.prediction, self.table)
        if case.thumbnail is not None:
            from tools.batch.thumbnails import write_comparison

            write_comparison(case.thumbnail, truth, prediction)
        return {
            "case": case.name,
            "reference": str(case.truth),
            "prediction": str(case.prediction),
            **entry,
            "seconds": stopwatch.seconds(),
            "warnings": [],
        }

    def summary(self, entry: dict[str, Any]) -> str:
        return f"mean DSC {_mean(entry):.3f} of {len(entry['scores'])} structures"

    def brief(self, entry: dict[str, Any]) -> dict[str, Any]:
        scores = entry["scores"]
        lowest = min(scores, key=lambda name: scores[name]["dsc"]) if scores else None
        return {
            "score": None if lowest is None else scores[lowest]["dsc"],
            "structure": lowest,
            "slice": None,
            "facts": {"mean DSC": f"{_mean(entry):.3f}"} if scores else {},
        }


def _mean(entry: Mapping[str, Any]) -> float:
    scores = entry["scores"].values()
    return sum(one["dsc"] for one in scores) / len(scores) if scores else 0.0
