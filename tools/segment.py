"""`keyslice segment`: a CT in, a label map and a report (and a picture) out, without a person."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.case_lists import is_list, listed_cases
from tools.case_runs import Outputs, Work, check_format, doubts_about, run_cases, run_file, write_results
from tools.cases import Case, find_scans, is_folder_of_scans
from tools.console import progress_bar
from tools.files import stem_of
from tools.propagate import check_untouched
from tools.report import Stopwatch, describe_case, describe_labels, how_many, why_lines

if TYPE_CHECKING:
    from baseline3d.segmenter import VolumeSegmenter
    from propagation_module.propagator import Propagator
    from reference_module.referencer import Referencer

REPORT_ENDING = ".report.json"
"""Of the report beside a label map: `out.nii.gz` has its own in `out.report.json`."""


@dataclass(frozen=True, kw_only=True)
class Job(Outputs):
    """What the person asked for.

    Attributes:
        ct: a CT volume (file, DICOM folder or zip), a folder of CTs if `output` is a folder, or a list of cases.
        model: a reference model or a 3D network: a name, or the path of a `.safetensors` or `.yaml` file.
        weights: its weights; None takes those that ship.
        propagation: configuration in `configs/propagation`.
        propagation_weights: its weights; None takes those that ship.
        strategy: how key slices are chosen.
        every: distance of the slices that are looked at first.
        requery: slices that may be segmented besides, where structures are missed or in doubt.
        blend: share of propagation in what decides; None takes that of `AutomaticSettings`, 0 propagation alone.
        reference_only: segment every slice with the pair alone, without propagation.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `float32` or `bfloat16`.
    """

    ct: Path
    model: str
    weights: Path | None = None
    propagation: str = "small"
    propagation_weights: Path | None = None
    strategy: str = "consistent"
    every: int = 5
    requery: int = 48
    blend: float | None = None
    reference_only: bool = False
    device: str = "auto"
    precision: str = "auto"


def segment_command(job: Job) -> int:
    """Run the job. Returns the exit status: 0, or 1 if cases of a folder run failed.

    Raises:
        InputError: bad input; nothing has been written.
    """
    if is_list(job.ct):
        return run_cases(job, "segment", make_work, lambda: listed_cases(job.ct, job.output))
    if is_folder_of_scans(job.ct, job.output):
        return run_cases(job, "segment", make_work, lambda: find_scans(job.ct, job.output))
    if job.report is None:  # nobody saw which slices were chosen: that is a part of the result
        job = replace(job, report=job.output.with_name(stem_of(job.output) + REPORT_ENDING))
    return run_file(Case(stem_of(job.ct), job.ct, None, job.output), job, lambda: make_work(job))


def make_work(job: Job) -> Work:
    """What works on the cases of a job, its networks loaded.

    Raises:
        InputError: it cannot be done here.
    """
    return _Segment(job)


class _Segment(Work):
    """The networks and what all cases share."""

    def __init__(self, job: Job) -> None:
        from baseline3d.models import is_3d
        from baseline3d.segmenter import VolumeSegmenter
        from networks.allocator import keep_freed_memory
        from propagation_module.checkpoints import read_settings
        from reference_module.choices import SelectionSettings
        from reference_module.referencer import Referencer
        from reference_module.selection import strategy_named
        from tools.automatic import AutomaticSettings
        from tools.devices import choose_device

        keep_freed_memory()
        super().__init__("segment", choose_device(job.device))
        self.in_3d = is_3d(job.model, job.weights)
        if self.in_3d:  # nothing is left to propagate
            job = replace(job, reference_only=True)
        self.job = job
        strategy_named(job.strategy)
        self.automatic = AutomaticSettings(
            strategy=job.strategy,
            selection=SelectionSettings(every=job.every),
            requery=job.requery,
            blend=AutomaticSettings.blend if job.blend is None else job.blend,
        )
        self.propagation_settings = {} if job.reference_only else read_settings(job.propagation)
        # Before any case: a model that is not there is no fault of theirs.
        with self.stopwatch.stage("load_network"):
            load = VolumeSegmenter.load if self.in_3d else Referencer.load
            self.model: Referencer | VolumeSegmenter = load(
                job.model, job.weights, device=self.device, precision=job.precision
            )
            if not job.reference_only:
                _ = self.propagator

    @cached_property
    def propagator(self) -> Propagator:
        from propagation_module.propagator import Propagator

        job = self.job
        return Propagator.load(job.propagation, job.propagation_weights, device=self.device, precision=job.precision)

    def settings(self) -> dict[str, Any]:
        job = self.job
        given = {
            "model": job.model,
            "weights": None if job.weights is None else str(job.weights),
            "structures": list(self.model.table.names()),
            "input": asdict(self.model.settings),
            "precision": job.precision,
            "reference_only": job.reference_only,
        }
        if job.reference_only:
            return given
        return given | {
            "propagation": {
                "model": job.propagation,
                "weights": None if job.propagation_weights is None else str(job.propagation_weights),
                **self.propagation_settings,
            },
            "automatic": asdict(self.automatic),
        }

    def run(self, case: Case) -> dict[str, Any]:
        from baseline3d.segmenter import VolumeSegmenter
        from tools.automatic import segment_alone, segment_volume
        from volumes.dicom.equipment import DicomOptions
        from volumes.formats import read_volume
        from volumes.label_map import LabelMap

        job, stopwatch = self.job, Stopwatch()
        with stopwatch.stage("read"):
            volume = read_volume(case.ct)
            check_format(case, volume)
        with stopwatch.stage("segment"), progress_bar(case.name, quiet=job.quiet) as progress:
            if isinstance(self.model, VolumeSegmenter) or job.reference_only:
                found = segment_alone(volume, self.model, progress)
            else:
                found = segment_volume(volume, self.model, self.propagator, self.automatic, progress)
        check_untouched(found.labels, found.key_slices)
        labels = LabelMap(found.labels, volume.geometry, self.model.table, case.name, volume.source)
        shift = write_results(
            case,
            volume,
            labels,
            [one["slice"] for one in found.report["key_slices"]],
            confidence=found.confidence,
            stopwatch=stopwatch,
            dicom=DicomOptions(job.empty_frames, "AUTOMATIC"),
        )
        return {
            **describe_case(case, volume, shift),
            **found.report,
            "labels": describe_labels(labels, found.confidence, found.key_slices),
            "seconds": stopwatch.seconds(),
            "warnings": [*found.warnings, *self._of_the_network(), *doubts_about(volume)],
        }

    def _of_the_network(self) -> tuple[str, ...]:
        """What it says of the case that it has just segmented."""
        return self.model.warnings if self.in_3d else ()  # type: ignore[union-attr]

    def summary(self, entry: dict[str, Any]) -> str:
        count = sum(one["voxels"] > 0 for one in entry["labels"].values())
        how = f"from {how_many(len(entry['key_slices']), 'key slice')}"
        if self.job.reference_only:
            how = "by the 3D network" if self.in_3d else "by the pair alone"
        return (
            f"{how_many(count, 'structure')} on {how_many(entry['shape'][0], 'slice')} {how} "
            f"in {entry['seconds']['total']:.1f} s"
        )

    def details(self, entry: dict[str, Any]) -> list[str]:
        return [*why_lines(entry["key_slices"]), f"report: {self.job.report}"]
