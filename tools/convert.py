"""`keyslice convert`: labels of a CT from one format to another, DICOM-SEG and RTSTRUCT among them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tools.console import say
from volumes.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the person asked for.

    Attributes:
        source: the labels.
        ct: the CT that they belong to.
        output: what to write; its ending says the format.
        labels: a label table, built in or a file; None takes the names in `source`.
        made: `manual`, `semiautomatic` or `automatic`, for DICOM.
        empty_frames: a DICOM-SEG has a frame for every segment on every slice.
        overwrite: replace an output that exists.
        quiet: no summary.
    """

    source: Path
    ct: Path
    output: Path
    labels: str | None = None
    made: str = "semiautomatic"
    empty_frames: bool = False
    overwrite: bool = False
    quiet: bool = False


def convert_command(job: Job) -> None:
    """Run the job.

    Raises:
        InputError: bad input; nothing has been written.
    """
    from volumes.dicom.equipment import DicomOptions, made_named
    from volumes.dicom.label_files import check_can_write
    from volumes.dicom.names import is_label_file_name
    from volumes.formats import check_output, read_label_map, read_volume, write_label_map
    from volumes.labels import LabelTable

    options = DicomOptions(job.empty_frames, made_named(job.made))
    table = None if job.labels is None else LabelTable.read(job.labels)
    if job.output.exists() and job.source.exists() and job.output.samefile(job.source):
        raise InputError(job.output, found="the input itself", expected="another file", fix="choose another name")
    check_output(job.output, job.overwrite)
    volume = read_volume(job.ct)
    if is_label_file_name(job.output):
        check_can_write(job.output, volume.source)
    labels = read_label_map(job.source, like=volume, table=table)
    shift = write_label_map(labels, job.output, job.overwrite, options)
    if job.quiet:
        return
    names = [labels.table.name_of(value) for value in labels.present()]
    say(f"{job.output}: {len(names)} structure{'' if len(names) == 1 else 's'} ({', '.join(names)})")
    notes = [*labels.notes, *([f"the format holds the grid to within {shift:.2g} mm"] if shift else [])]
    for note in notes:
        say(f"warning: {job.source}: {note}")
