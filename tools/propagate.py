"""`keyslice propagate`: a CT and key slices in, a label map (and a report and a picture) out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.case_lists import is_list, listed_cases
from tools.case_runs import Outputs, Work, check_format, doubts_about, run_cases, run_file, write_results
from tools.cases import Case, find_cases, is_folder_run
from tools.console import progress_bar
from tools.files import stem_of
from tools.report import Stopwatch, describe_case, describe_labels
from volumes.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn

    from propagation_module.propagator import Propagator
    from volumes.key_slices import Extents, KeySlices
    from volumes.labels import LabelTable
    from volumes.volume import Volume

Progress = Callable[[int, int], None]
Confidence = Mapping[int, "npt.NDArray[np.float32]"]

# One section of a configuration serves both ways to propagate; these settings are not for the paper's way.
OURS = frozenset({"pixel", "memory_slices"})


@dataclass(frozen=True, kw_only=True)
class Job(Outputs):
    """What the person asked for.

    Attributes:
        ct: a CT volume (file, DICOM folder or zip), a folder of CTs, or a list of cases (`tools.case_lists`).
        keys: a label map with key slices on the CT's grid, or a folder of them; None where a list names them.
        key_slices: the slices that count; None takes every slice with a label.
        complete: labels missing on a key slice are absent there.
        extents: JSON with start and stop marks, or a folder of `CASE.json`.
        labels: a label table, built in or a file; None takes the names in the file of key slices.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        model: configuration in `configs/propagation`.
        weights: its weights; None takes those that ship.
        precision: `auto`, `float32` or `bfloat16`.
        compat: propagate the public paper's way, for comparison (models paper and stcn).
    """

    ct: Path
    keys: Path | None = None
    key_slices: tuple[int, ...] | None = None
    complete: bool = False
    extents: Path | None = None
    labels: str | None = None
    device: str = "auto"
    model: str = "small"
    weights: Path | None = None
    precision: str = "auto"
    compat: bool = False


def propagate_command(job: Job) -> int:
    """Run the job. Returns the exit status: 0, or 1 if cases of a folder run failed.

    Raises:
        InputError: bad input; nothing has been written.
    """
    if is_list(job.ct):
        return run_cases(job, "propagate", make_work, lambda: _listed(job))
    if job.keys is None:
        raise InputError("--keys", found="nothing", expected="label maps with key slices", fix="give --keys")
    ct, keys = job.ct, job.keys
    if is_folder_run(ct, keys):
        return run_cases(job, "propagate", make_work, lambda: _found(job, *find_cases(ct, keys, job.output)))
    case = Case(stem_of(ct), ct, keys, job.output)
    return run_file(_with_marks(job, case), job, lambda: make_work(job))


def make_work(job: Job) -> Work:
    """What works on the cases of a job.

    Raises:
        InputError: it cannot be done here.
    """
    return _Propagate(job)


def _listed(job: Job) -> tuple[list[Case], dict[str, InputError]]:
    if job.keys is not None:
        raise InputError(
            "--keys", found="a list of cases too", expected="key slices in its column 'keys'", fix="leave --keys out"
        )
    return _found(job, *listed_cases(job.ct, job.output, keys=True))


def _found(job: Job, cases: list[Case], unusable: dict[str, InputError]) -> tuple[list[Case], dict[str, InputError]]:
    return [_with_marks(job, case) for case in cases], unusable


class _Propagate(Work):
    """The network and what all cases share, made when the first case needs it."""

    def __init__(self, job: Job) -> None:
        from networks.allocator import keep_freed_memory
        from propagation_module.checkpoints import read_settings
        from tools.devices import choose_device

        keep_freed_memory()
        super().__init__("propagate", choose_device(job.device))
        self.job = job
        self.table = _read_table(job.labels)
        self.propagation = read_settings(job.model)
        if job.compat and job.extents is not None:
            raise InputError(
                "--compat", found="--extents", expected="one of the two", fix="the paper's way knows no marks"
            )
        if job.weights is not None and not job.weights.is_file():
            raise InputError(job.weights, found="no such file", expected="weights, *.safetensors", fix="check the path")

    @cached_property
    def propagator(self) -> Propagator:
        from propagation_module.propagator import Propagator

        job = self.job
        with self.stopwatch.stage("load_network"):
            return Propagator.load(job.model, job.weights, device=self.device, precision=job.precision)

    def get_ready(self) -> None:
        _ = self.network if self.job.compat else self.propagator

    @cached_property
    def network(self) -> nn.Module:
        """For the paper's way."""
        from propagation_module.checkpoints import load_network

        with self.stopwatch.stage("load_network"):
            return load_network(self.job.model, self.job.weights, self.device)

    def propagate(
        self, volume: Volume, keys: KeySlices, extents: Extents | None, progress: Progress | None
    ) -> tuple[npt.NDArray[np.uint8], Confidence]:
        """Labels `(D, H, W)` and per label the confidence `(D,)` (nothing in the compat way)."""
        if self.job.compat:
            from propagation_module.compat import propagate_volume_compat
            from propagation_module.stcn import STCN

            if not isinstance(self.network, STCN):
                raise InputError(
                    "--compat",
                    found=f"the model {self.job.model}",
                    expected="a published network: paper or stcn",
                    fix="pass --model stcn --weights FILE, or leave --compat out",
                )
            settings = {name: value for name, value in self.propagation.items() if name not in OURS}
            labels = propagate_volume_compat(self.network, volume, keys, progress=progress, **settings)
            return labels, {}
        result = self.propagator.propagate(volume, keys, extents=extents, progress=progress)
        return result.labels, result.confidence

    def settings(self) -> dict[str, Any]:
        job = self.job
        return {
            "model": job.model,
            "weights": None if job.weights is None else str(job.weights),
            "labels": job.labels,
            "key_slices": None if job.key_slices is None else list(job.key_slices),
            "complete": job.complete,
            "precision": job.precision,
            "compat": job.compat,
            "extents": None if job.extents is None else str(job.extents),
            "propagation": self.propagation,
        }

    def run(self, case: Case) -> dict[str, Any]:
        from volumes.dicom.equipment import DicomOptions
        from volumes.formats import read_label_map, read_volume
        from volumes.key_slices import KeySlices, read_extents
        from volumes.label_map import LabelMap

        job, stopwatch = self.job, Stopwatch()
        assert case.keys is not None
        with stopwatch.stage("read"):
            volume = read_volume(case.ct)
            check_format(case, volume)
            given = read_label_map(case.keys, like=volume, table=self.table)
            keys = KeySlices.from_label_map(given, job.key_slices, complete=job.complete)
            extents = read_extents(case.extents, given.table, volume.shape[0]) if case.extents else None
            warnings = check_marks(extents, case.extents, keys, given.table) + doubts_about(volume)
            warnings += [f"{case.keys}: {note}" for note in given.notes]
        self.get_ready()  # loaded here: it does not count as propagation
        with stopwatch.stage("propagate"), progress_bar(case.name, quiet=job.quiet) as progress:
            array, confidence = self.propagate(volume, keys, extents, progress)
        check_untouched(array, keys)
        labels = LabelMap(array, volume.geometry, given.table, case.name, volume.source)
        shift = write_results(
            case,
            volume,
            labels,
            keys.slices(),
            confidence=confidence,
            stopwatch=stopwatch,
            dicom=DicomOptions(job.empty_frames, "SEMIAUTOMATIC"),
        )
        return {
            **describe_case(case, volume, shift),
            "key_slices": keys.slices(),
            "extents": {given.table.name_of(value): list(ends) for value, ends in (extents or {}).items()},
            "labels": describe_labels(labels, confidence, keys),
            "seconds": stopwatch.seconds(),
            "warnings": warnings,
        }

    def summary(self, entry: dict[str, Any]) -> str:
        return summary(entry)


def _with_marks(job: Job, case: Case) -> Case:
    """The case with its marks: those of its list, one file for all, or its own `CASE.json` in a folder."""
    if case.extents is not None or job.extents is None:
        return case
    if not job.extents.is_dir():
        return replace(case, extents=job.extents)
    own = job.extents / f"{case.name}.json"
    return replace(case, extents=own) if own.exists() else case


def _read_table(labels: str | None) -> LabelTable | None:
    from volumes.labels import LabelTable

    return None if labels is None else LabelTable.read(labels)


def check_marks(extents: Extents | None, where: str | Path | None, keys: KeySlices, table: LabelTable) -> list[str]:
    """Marks must not contradict what is painted. Returns warnings for marks that change nothing."""
    warnings = []
    for value, (first, last) in (extents or {}).items():
        painted = keys.slices_with(value)
        outside = [z for z in painted if not first <= z <= last]
        if outside:
            raise InputError(
                where or "marks",
                found=f"[{first}, {last}] for '{table.name_of(value)}', painted on slice {outside[0]}",
                expected="marks around every key slice that shows the structure",
                fix="widen the marks or leave the slice out with --key-slices",
            )
        if not painted:
            warnings.append(f"{where}: marks for '{table.name_of(value)}', which no key slice shows")
    return warnings


def check_untouched(labels: npt.NDArray[np.uint8], keys: KeySlices) -> None:
    """The first promise: what was given comes back as it was, and nothing is added to what was spoken for."""
    for z in keys.slices():
        given, got = keys.mask(z), labels[z]
        assert (got[given > 0] == given[given > 0]).all(), f"key slice {z} was changed"
        for value in keys.speaks_for(z):
            assert ((got == value) == (given == value)).all(), f"label {value} was changed on key slice {z}"


def summary(entry: dict[str, Any]) -> str:
    """How many structures from how many key slices, in what time."""
    count = len(entry["labels"])
    return (
        f"{count} structure{'' if count == 1 else 's'} on {entry['shape'][0]} slices from "
        f"{len(entry['key_slices'])} key slices in {entry['seconds']['total']:.1f} s"
    )
