"""`keyslice propagate`: a CT and key slices in, a label map (and a report and a picture) out.

Everything that can be refused is refused before the network is loaded. In a run over folders a case that
fails is named and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.cases import Case, find_cases, is_folder_run
from tools.console import progress_bar, say
from tools.errors import SOME_CASES_FAILED, as_input_error, show
from tools.files import check_output_file, check_writable_folder, stem_of, write_json
from tools.report import Stopwatch, describe_labels, peak_memory
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

REPORT_NAME = "report.json"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the person asked for.

    Attributes:
        ct: a CT volume (file, DICOM folder or zip), or a folder of CTs.
        keys: a label map with key slices on the CT's grid, or a folder of them.
        output: the label map to write, or the folder for them.
        key_slices: the slices that count; None takes every slice with a label.
        complete: labels missing on a key slice are absent there.
        extents: JSON with start and stop marks; in a folder run also a folder of `CASE.json`.
        labels: a label table, built in or a file; None takes the names in the file of key slices.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        model: configuration in `configs/propagation`.
        weights: its weights; None takes those that ship.
        precision: `auto`, `float32` or `bfloat16`.
        compat: propagate the public paper's way, for comparison (models paper and stcn).
        overwrite: replace outputs that exist.
        quiet: no progress bar and no summary.
        report: where to write the JSON report; a folder run always writes one beside its label maps.
        montage: where to write the picture; in a folder run the folder for them.
    """

    ct: Path
    keys: Path
    output: Path
    key_slices: tuple[int, ...] | None = None
    complete: bool = False
    extents: Path | None = None
    labels: str | None = None
    device: str = "auto"
    model: str = "small"
    weights: Path | None = None
    precision: str = "auto"
    compat: bool = False
    overwrite: bool = False
    quiet: bool = False
    report: Path | None = None
    montage: Path | None = None


def propagate_command(job: Job) -> int:
    """Run the job. Returns the exit status: 0, or 1 if cases of a folder run failed.

    Raises:
        InputError: bad input; nothing has been written.
    """
    return _run_folder(job) if is_folder_run(job.ct, job.keys) else _run_file(job)


class _Engine:
    """The network and what all cases share, made when the first case needs it."""

    def __init__(self, job: Job) -> None:
        from propagation_module.checkpoints import read_settings
        from tools.allocator import keep_freed_memory
        from tools.devices import choose_device

        keep_freed_memory()

        self.job = job
        self.device = choose_device(job.device)
        self.table = _read_table(job.labels)
        self.settings = read_settings(job.model)
        if job.compat and job.extents is not None:
            raise InputError(
                "--compat", found="--extents", expected="one of the two", fix="the paper's way knows no marks"
            )
        self.stopwatch = Stopwatch()
        if job.weights is not None and not job.weights.is_file():
            raise InputError(job.weights, found="no such file", expected="weights, *.safetensors", fix="check the path")

    @cached_property
    def propagator(self) -> Propagator:
        from propagation_module.propagator import Propagator

        job = self.job
        with self.stopwatch.stage("load_network"):
            return Propagator.load(job.model, job.weights, device=self.device, precision=job.precision)

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
            settings = {name: value for name, value in self.settings.items() if name not in OURS}
            labels = propagate_volume_compat(self.network, volume, keys, progress=progress, **settings)
            return labels, {}
        result = self.propagator.propagate(volume, keys, extents=extents, progress=progress)
        return result.labels, result.confidence

    def facts(self) -> dict[str, Any]:
        """What the report says of the run as a whole."""
        from tools.info import versions

        job = self.job
        return {
            "command": "propagate",
            "versions": versions(),
            "device": self.device,
            "peak_memory": peak_memory(self.device),
            "settings": {
                "model": job.model,
                "weights": None if job.weights is None else str(job.weights),
                "labels": job.labels,
                "key_slices": None if job.key_slices is None else list(job.key_slices),
                "complete": job.complete,
                "precision": job.precision,
                "compat": job.compat,
                "extents": None if job.extents is None else str(job.extents),
                "propagation": self.settings,
            },
        }


def _run_file(job: Job) -> int:
    case = Case(stem_of(job.ct), job.ct, job.keys, job.output)
    _check_output(case, overwrite=job.overwrite)
    for path, suffix in ((job.report, ".json"), (job.montage, ".png")):
        if path is not None:
            _check_apart(path, case)
            check_output_file(path, suffixes=(suffix,), overwrite=job.overwrite)
    engine = _Engine(job)
    entry = _run_case(engine, case, job.extents, job.montage)
    if job.report is not None:
        seconds = {**engine.stopwatch.seconds(), **entry["seconds"]}
        seconds["total"] = round(sum(value for name, value in seconds.items() if name != "total"), 3)
        write_json(job.report, {**engine.facts(), **entry, "seconds": seconds})
    if not job.quiet:
        say(f"{job.output}: {_summary(entry)} on {engine.device}")
        for warning in entry["warnings"]:
            say(f"warning: {warning}")
    return 0


def _run_folder(job: Job) -> int:
    if job.output.exists() or not job.output.parent.is_dir():
        check_writable_folder(job.output)
    else:
        check_writable_folder(job.output.parent)
    if job.report is not None:
        check_output_file(job.report, suffixes=(".json",), overwrite=job.overwrite)
    if job.montage is not None:
        check_writable_folder(job.montage)
    engine = _Engine(job)
    cases, failed = find_cases(job.ct, job.keys, job.output)
    job.output.mkdir(exist_ok=True)
    entries: dict[str, dict[str, Any]] = {}
    for index, case in enumerate(cases):
        try:
            _check_output(case, overwrite=job.overwrite)
            montage = None if job.montage is None else job.montage / f"{case.name}.png"
            if montage is not None:
                check_output_file(montage, suffixes=(".png",), overwrite=job.overwrite)
            entries[case.name] = entry = _run_case(engine, case, _extents_of(job, case), montage)
        except (InputError, OSError, MemoryError, RuntimeError) as error:
            known = as_input_error(error, where=case.ct)
            if known is None:
                raise
            failed[case.name] = known
            show(known)
        else:
            if not job.quiet:
                say(f"[{index + 1}/{len(cases)}] {case.output}: {_summary(entry)} on {engine.device}")
    report = {
        **engine.facts(),
        "cases": entries,
        "failed": {name: str(error) for name, error in sorted(failed.items())},
        "seconds": engine.stopwatch.seconds(),
    }
    for path in {job.output / REPORT_NAME, job.report or job.output / REPORT_NAME}:
        write_json(path, report)
    for name in sorted(failed.keys() - {case.name for case in cases}):
        show(failed[name])
    if not job.quiet:
        say(f"{len(entries)} done, {len(failed)} failed; {job.output / REPORT_NAME}")
    return SOME_CASES_FAILED if failed else 0


def _run_case(engine: _Engine, case: Case, extents_file: Path | None, montage: Path | None) -> dict[str, Any]:
    """Read, propagate, write. Returns the case's part of the report."""
    from volumes.formats import read_label_map, read_volume, write_label_map
    from volumes.key_slices import KeySlices, read_extents
    from volumes.label_map import LabelMap

    job, stopwatch = engine.job, Stopwatch()
    with stopwatch.stage("read"):
        volume = read_volume(case.ct)
        given = read_label_map(case.keys, like=volume, table=engine.table)
        keys = KeySlices.from_label_map(given, job.key_slices, complete=job.complete)
        extents = read_extents(extents_file, given.table, volume.shape[0]) if extents_file else None
        warnings = _check_marks(extents, extents_file, keys, given.table) + _look_at(volume)
    _ = engine.network  # loaded here, so that it does not count as propagation
    with stopwatch.stage("propagate"), progress_bar(case.name, quiet=job.quiet) as progress:
        array, confidence = engine.propagate(volume, keys, extents, progress)
    _check_untouched(array, keys)
    labels = LabelMap(array, volume.geometry, given.table, case.name)
    # The picture first: with a full disk there is then no label map without the picture that was asked for.
    if montage is not None:
        from tools.montage import write_montage

        with stopwatch.stage("montage"):
            write_montage(montage, volume, labels, keys.slices())
    with stopwatch.stage("write"):
        shift = write_label_map(labels, case.output, overwrite=job.overwrite)
    return {
        "case": case.name,
        "input": str(case.ct),
        "keys": str(case.keys),
        "output": str(case.output),
        "montage": None if montage is None else str(montage),
        "shape": list(volume.shape),
        "spacing_mm": list(volume.spacing),
        "grid_shift_mm": shift,
        "key_slices": keys.slices(),
        "extents": {given.table.name_of(value): list(marks) for value, marks in (extents or {}).items()},
        "labels": describe_labels(labels, confidence, keys),
        "seconds": stopwatch.seconds(),
        "warnings": warnings,
    }


def _check_output(case: Case, *, overwrite: bool) -> None:
    from volumes.formats import check_output

    _check_apart(case.output, case)
    check_output(case.output, overwrite)


def _check_apart(path: Path, case: Case) -> None:
    """Raise InputError where an output would replace an input: what a person painted stays."""
    for source in (case.ct, case.keys):
        if path.exists() and path.samefile(source):
            raise InputError(
                path,
                found="the input itself",
                expected="another file",
                fix="choose another name",
            )


def _extents_of(job: Job, case: Case) -> Path | None:
    """The marks of one case in a folder run: one file for all, or the case's own `CASE.json` in a folder."""
    if job.extents is None or not job.extents.is_dir():
        return job.extents
    own = job.extents / f"{case.name}.json"
    return own if own.exists() else None


def _read_table(labels: str | None) -> LabelTable | None:
    from volumes.labels import LabelTable

    return None if labels is None else LabelTable.read(labels)


def _check_marks(extents: Extents | None, where: Path | None, keys: KeySlices, table: LabelTable) -> list[str]:
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


def _look_at(volume: Volume) -> list[str]:
    lowest = int(volume.array.min())
    if lowest >= 0:
        return [f"no value below {lowest}: are these Hounsfield units? Air should be near -1000"]
    return []


def _check_untouched(labels: npt.NDArray[np.uint8], keys: KeySlices) -> None:
    """The first promise: what was given comes back as it was, and nothing is added to what was spoken for."""
    for z in keys.slices():
        given, got = keys.mask(z), labels[z]
        assert (got[given > 0] == given[given > 0]).all(), f"key slice {z} was changed"
        for value in keys.speaks_for(z):
            assert ((got == value) == (given == value)).all(), f"label {value} was changed on key slice {z}"


def _summary(entry: dict[str, Any]) -> str:
    count = len(entry["labels"])
    return (
        f"{count} structure{'' if count == 1 else 's'} on {entry['shape'][0]} slices from "
        f"{len(entry['key_slices'])} key slices in {entry['seconds']['total']:.1f} s"
    )
