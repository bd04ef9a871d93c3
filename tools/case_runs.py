"""One case or many: what `keyslice propagate`, `segment` and others that work case by case have in common.

Everything that can be refused is refused before a network is loaded. In a run over many cases (`tools.batch`) a case
that fails is named and the others go on.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.batch.options import BatchOptions
from tools.batch.tasks import STATE
from tools.cases import WRITTEN_AS, Case
from tools.console import say
from tools.errors import SOME_CASES_FAILED
from tools.files import ALL_LABEL_SUFFIXES, check_output_file, check_writable_folder, write_json
from tools.report import Stopwatch, peak_memory
from volumes.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tools.batch.run import Finished
    from volumes.dicom.equipment import DicomOptions
    from volumes.label_map import LabelMap
    from volumes.volume import Volume

Found = tuple[list[Case], dict[str, InputError]]
"""Cases, and by name what is wrong with those that cannot be run."""

NOT_SETTINGS = frozenset({"ct", "keys", "output", "report", "montage", "overwrite", "quiet", "batch"})
"""Fields of a job that say which cases there are and where things go; results depend on the others."""


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Where results go, and how the work is spread.

    Attributes:
        output: the label map to write, or the folder for them.
        report: where to write the JSON report; a folder run always writes one beside its label maps.
        montage: where to write the picture; in a folder run the folder for them.
        overwrite: replace outputs that exist.
        quiet: no progress bar and no summary.
        format: ending of the label maps of a run over many cases; None takes that of what they were made from.
        empty_frames: a DICOM-SEG has a frame for every segment on every slice.
        batch: how a run over many cases is spread.
    """

    output: Path
    report: Path | None = None
    montage: Path | None = None
    overwrite: bool = False
    quiet: bool = False
    format: str | None = None
    empty_frames: bool = False
    batch: BatchOptions = field(default_factory=BatchOptions)


class Work(ABC):
    """What is done with each case, and what all cases share.

    Args:
        command: its name, for the report.
        device: where networks run.
    """

    case_type: type[Any] = Case
    """What it is given: a dataclass that `tools.batch.tasks.BatchCase` describes."""

    def __init__(self, command: str, device: str) -> None:
        self.command, self.device, self.stopwatch = command, device, Stopwatch()

    def get_ready(self) -> None:  # noqa: B027 (most have nothing to load)
        """Load what the first case would load, which shall not count against its time."""

    @abstractmethod
    def run(self, case: Any) -> dict[str, Any]:
        """Read, work, write. Returns the case's part of the report, `warnings` and `seconds` among it."""

    @abstractmethod
    def summary(self, entry: dict[str, Any]) -> str:
        """One line about a case, from its part of the report."""

    def details(self, entry: dict[str, Any]) -> list[str]:
        """Lines about a case that is run by itself, after its summary."""
        return []

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The options that the report repeats."""

    def brief(self, entry: dict[str, Any]) -> dict[str, Any]:
        """What a table of many cases says of one: `score` in [0, 1] or None, the lowest first to be looked at, where
        it is (`structure`, `slice`), and `facts`, short texts by column."""
        return brief_of_labels(entry["labels"])

    def facts(self) -> dict[str, Any]:
        """What the report says of the run as a whole."""
        from tools.info import versions

        return {
            "command": self.command,
            "versions": versions(),
            "device": self.device,
            "peak_memory": peak_memory(self.device),
            "settings": self.settings(),
        }


def run_file(case: Case, outputs: Outputs, prepare: Callable[[], Work]) -> int:
    """Run one case. `prepare` is called when the outputs can be written. Returns the exit status.

    Raises:
        InputError: bad input; nothing has been written.
    """
    if not outputs.batch.in_this_process or outputs.batch.retry:
        raise InputError(
            case.ct,
            found="one case, with an option for runs over many",
            expected="a folder or a list of cases with --jobs, --cluster, --retry and limits",
            fix="leave the option out",
        )
    if outputs.format is not None:
        raise InputError(
            "--format", found="one case", expected="a run over many", fix="the ending of --output says the format"
        )
    case = replace(case, montage=outputs.montage, overwrite=outputs.overwrite)
    check_places(case, overwrite=outputs.overwrite)
    if outputs.report is not None:
        _check_apart(outputs.report, case)
        check_output_file(outputs.report, suffixes=(".json",), overwrite=outputs.overwrite)
    work = prepare()
    entry = work.run(case)
    if outputs.report is not None:
        seconds = {**work.stopwatch.seconds(), **entry["seconds"]}
        seconds["total"] = round(sum(value for name, value in seconds.items() if name != "total"), 3)
        write_json(outputs.report, {**work.facts(), **entry, "seconds": seconds})
    if not outputs.quiet:
        say(f"{case.output}: {work.summary(entry)} on {work.device}")
        for line in work.details(entry):
            say(line)
        for warning in entry["warnings"]:
            say(f"warning: {warning}")
    return 0


def run_cases(job: Any, command: str, make_work: Callable[[Any], Work], find: Callable[[], Found]) -> int:
    """Run the cases that `find` finds, as far as they are not done. Returns the exit status: 0, or 1 if cases failed.

    Args:
        job: the command's `Job`, an `Outputs`.
        make_work: what works on them in this process; others find it by the command's name.

    Raises:
        InputError: bad input; nothing has been written.
    """
    from tools.batch.manifest import MANIFEST

    folder = job.output
    check_writable_folder(folder if folder.exists() or not folder.parent.is_dir() else folder.parent)
    if job.report is not None:
        # A run that goes on writes its report anew.
        check_output_file(job.report, suffixes=(".json",), overwrite=job.overwrite or (folder / MANIFEST).exists())
    if job.montage is not None:
        check_writable_folder(job.montage)
    finished = run_plan_of(job, command, make_work, find())
    return SOME_CASES_FAILED if finished.failed else 0


def run_plan_of(
    job: Any,
    command: str,
    make_work: Callable[[Any], Work],
    found: tuple[list[Any], dict[str, InputError]],
    folder: Path | None = None,
) -> Finished:
    """Run cases as far as they are not done, and write the report.

    Args:
        job: the command's `Job`, with `output`, `quiet` and `batch` at least.
        found: cases, and by name what is wrong with those that cannot be run.
        folder: of the results; None for `job.output`.

    Raises:
        InputError: bad input; nothing has been written.
    """
    from tools.batch.results import write_reports
    from tools.batch.run import Plan, run_plan
    from tools.batch.start import workers_for

    folder = folder or job.output
    cases, unusable = found
    plan = Plan(
        command=command,
        settings=settings_of(job),
        folder=folder,
        cases=[_with_places(case, job, folder) for case in cases],
        unusable=unusable,
        check_places=lambda case, replace: check_places(case, overwrite=replace),
        overwrite=getattr(job, "overwrite", False),
        retry=job.batch.retry,
        quiet=job.quiet,
    )
    finished = run_plan(plan, workers_for(job, command, make_work, folder))
    written = write_reports(folder, plan, finished, also=getattr(job, "report", None))
    if not job.quiet and job.output is not None:
        say(f"{len(finished.done)} done, {len(finished.failed)} failed; look at {written}")
    return finished


def settings_of(job: Any) -> dict[str, Any]:
    """What results depend on besides the cases' files: the job's other options, and which weights files they name."""
    from tools.batch.tasks import plain

    found = {name: value for name, value in plain(job).items() if name not in NOT_SETTINGS}
    for one in fields(job):
        value = getattr(job, one.name)
        values = value if isinstance(value, list) else [value]
        files = [Path(path) for path in values if isinstance(path, (str, Path)) and Path(path).is_file()]
        if one.name in found and files:
            found[one.name] = ", ".join(_identity(path) for path in files)
    return found


def _identity(path: Path) -> str:
    status = path.stat()
    return f"{path.resolve()} ({status.st_size} bytes, {status.st_mtime_ns})"


def write_results(
    case: Case,
    volume: Volume,
    labels: LabelMap,
    key_slices: Sequence[int],
    *,
    confidence: Mapping[int, npt.NDArray[np.float32]],
    stopwatch: Stopwatch,
    dicom: DicomOptions | None = None,
) -> float:
    """Write the pictures that are wanted, and the label map; returns `write_label_map`'s shift of the grid in mm."""
    from volumes.formats import write_label_map

    # The pictures first: with a full disk there is then no label map without the picture that was asked for.
    if case.montage is not None:
        from tools.montage import write_montage

        with stopwatch.stage("montage"):
            write_montage(case.montage, volume, labels, key_slices)
    if case.thumbnail is not None:
        from tools.batch.thumbnails import write_thumbnail

        with stopwatch.stage("thumbnail"):
            write_thumbnail(case.thumbnail, volume, labels, key_slices, confidence)
    with stopwatch.stage("write"):
        return write_label_map(labels, case.output, overwrite=case.overwrite, dicom=dicom)


def check_format(case: Case, volume: Volume) -> None:
    """Raise InputError where the label map cannot be written for this volume: DICOM refers to a series.

    Cheap, so that it is told before the real work.
    """
    from volumes.dicom.label_files import check_can_write
    from volumes.dicom.names import is_label_file_name

    if is_label_file_name(case.output):
        check_can_write(case.output, volume.source)


def doubts_about(volume: Volume) -> list[str]:
    """Warnings about a CT that does not look like one."""
    lowest = int(volume.array.min())
    if lowest >= 0:
        return [f"no value below {lowest}: are these Hounsfield units? Air should be near -1000"]
    return []


def brief_of_labels(labels: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """`Work.brief` from what `describe_labels` says: the lowest confidence of a structure on a slice."""
    found = [name for name, one in labels.items() if one["voxels"]]
    judged = [
        (one["confidence"]["lowest"], name, one["confidence"]["lowest_slice"])
        for name, one in labels.items()
        if one["confidence"] is not None and one["confidence"]["lowest"] is not None
    ]
    score, structure, z = min(judged) if judged else (None, None, None)
    return {"score": score, "structure": structure, "slice": z, "facts": {"structures": str(len(found))}}


def check_places(case: Any, *, overwrite: bool) -> None:
    """Raise InputError where a result cannot be written, exists and shall not be replaced, or would replace an input.

    Args:
        case: a `Case`, or another that makes no file.
    """
    if not isinstance(case, Case):
        return
    from volumes.formats import check_output

    _check_apart(case.output, case)
    check_output(case.output, overwrite)
    if case.montage is not None:
        _check_apart(case.montage, case)
        check_output_file(case.montage, suffixes=(".png",), overwrite=overwrite)


def _with_places(case: Any, job: Any, folder: Path) -> Any:
    """The case with the places of its pictures. What is there and was not to be replaced is refused by then."""
    placed = replace(case, thumbnail=folder / STATE / "thumbnails" / f"{case.name}.jpg")
    if not isinstance(case, Case):
        return placed
    montage = getattr(job, "montage", None)
    return replace(
        placed,
        output=_formatted(case, getattr(job, "format", None)),
        montage=None if montage is None else montage / f"{case.name}.png",
        overwrite=True,
    )


def _formatted(case: Case, ending: str | None) -> Path:
    """The place of the label map, in the format that was asked for.

    Raises:
        InputError: no such format.
    """
    if ending is None:
        return case.output
    if ending not in ALL_LABEL_SUFFIXES:
        raise InputError(
            f"--format {ending}",
            found="no format of label maps",
            expected=f"one of {', '.join(ALL_LABEL_SUFFIXES)}",
            fix="choose one of these",
        )
    return case.output.with_name(f"{case.name}{WRITTEN_AS.get(ending, ending)}")


def _check_apart(path: Path, case: Case) -> None:
    """Raise InputError where an output would replace an input: what a person painted stays."""
    for source in (case.ct, case.keys):
        if source is not None and path.exists() and os.path.exists(source) and path.samefile(source):
            raise InputError(
                path,
                found="the input itself",
                expected="another file",
                fix="choose another name",
            )
