"""Pseudo-labels case by case, by workers that hold all members: `keyslice pseudo-label` over many cases at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.batch.options import BatchOptions
from tools.case_runs import Work, write_results
from tools.cases import Case
from tools.report import Stopwatch, describe_case
from volumes.errors import InputError

if TYPE_CHECKING:
    from cps.labelling import JointLabelling, LabelCase, Tell
    from cps.selection import SelectionRule


@dataclass(frozen=True, kw_only=True)
class Job:
    """What workers need to know.

    Attributes:
        output: the folder of the run over the cases.
        weights: of the members.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        quiet: say nothing.
        batch: how the work is spread.
    """

    output: Path
    weights: list[Path]
    device: str = "auto"
    quiet: bool = False
    batch: BatchOptions = field(default_factory=BatchOptions)


def make_work(job: Job) -> Work:
    """What labels the cases, its networks loaded.

    Raises:
        InputError: members that cannot be loaded.
    """
    return _PseudoLabel(job)


def batch_labelling(job: Job, cases: Sequence[Case], rule: SelectionRule, tell: Tell) -> JointLabelling:
    """Labelling in which a run over all cases goes first; what it made is then taken in, case by case.

    Args:
        cases: that are to be labelled, each with an output in `job.output`.
    """
    from cps.labelling import JointLabelling

    return JointLabelling(lambda weights: _labelled(job, cases), rule, tell)


def _labelled(job: Job, cases: Sequence[Case]) -> LabelCase:
    from cps.labelling import Labelled
    from tools.batch.tasks import STATE, details_path
    from tools.case_runs import run_plan_of
    from volumes.formats import read_label_map

    finished = run_plan_of(job, "pseudo-label", make_work, (list(cases), {}))
    outputs = {case.name: case.output for case in cases}

    def take(name: str) -> Labelled:
        if name in finished.failed:
            raise _Failed(finished.failed[name])
        details = json.loads(details_path(job.output / STATE, name).read_text(encoding="utf-8"))
        agreements = {int(label): tuple(values) for label, values in details["agreements"].items()}
        return Labelled(read_label_map(outputs[name]), agreements)

    return take


class _Failed(InputError):
    """What was told by a worker in one line already."""

    def __init__(self, line: str) -> None:
        ValueError.__init__(self, line)


class _PseudoLabel(Work):
    """All members, and what brings their label maps together."""

    def __init__(self, job: Job) -> None:
        from cps.members import member_opener
        from networks.allocator import keep_freed_memory
        from tools.devices import choose_device

        keep_freed_memory()
        super().__init__("pseudo-label", choose_device(job.device))
        self.job = job
        self._images: dict[str, Path] = {}
        with self.stopwatch.stage("load_network"):
            opened = member_opener(self._images, self.device)
            self._members = [opened(path) for path in job.weights]

    def settings(self) -> dict[str, Any]:
        return {"weights": [str(path) for path in self.job.weights]}

    def run(self, case: Case) -> dict[str, Any]:
        from cps.uncertainty import aggregate, agreement
        from volumes.formats import read_volume
        from volumes.label_map import LabelMap

        stopwatch = Stopwatch()
        self._images.clear()
        self._images[case.name] = case.ct
        with stopwatch.stage("segment"):
            maps = [predict(case.name) for predict in self._members]
        arrays = [one.array for one in maps]
        together = aggregate(arrays)
        agreements = agreement(arrays, together)
        labels = LabelMap(together, maps[0].geometry, maps[0].table, case.name)
        volume = read_volume(case.ct)
        shift = write_results(case, volume, labels, (), confidence={}, stopwatch=stopwatch)
        return {
            **describe_case(case, volume, shift),
            "agreements": {str(label): list(values) for label, values in agreements.items()},
            "structures": {str(label): labels.table.name_of(label) for label in agreements},
            "seconds": stopwatch.seconds(),
            "warnings": [],
        }

    def summary(self, entry: dict[str, Any]) -> str:
        return (
            f"{len(entry['structures'])} structures, {len(self._members)} members, in {entry['seconds']['total']:.1f} s"
        )

    def brief(self, entry: dict[str, Any]) -> dict[str, Any]:
        means = {label: sum(values) / len(values) for label, values in entry["agreements"].items() if values}
        lowest = min(means, key=lambda label: means[label]) if means else None
        return {
            "score": None if lowest is None else round(means[lowest], 4),
            "structure": None if lowest is None else entry["structures"][lowest],
            "slice": None,
            "facts": {"structures": str(len(means))},
        }


def cases_in(folder: Path, scans: Sequence[Case]) -> list[Case]:
    """The cases with their label maps in `folder`, as NIfTI whatever the format of the CT."""
    return [replace(scan, output=folder / f"{scan.name}.nii.gz") for scan in scans]
