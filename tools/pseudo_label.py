"""`keyslice pseudo-label`: label maps that a network made and a rule accepted, as a data set to train on.

Either what rounds of self-training have accepted, or, with members that are trained already, the cases of a folder of
CT that the members agree on.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tools.batch.options import BatchOptions
from tools.console import say
from tools.errors import SOME_CASES_FAILED, show
from tools.files import check_writable_folder
from volumes.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cps.labelling import JointLabelling, Tell
    from cps.round_state import RoundsState
    from cps.selection import AgreementRule
    from tools.cases import Case
    from volumes.labels import LabelTable

WORK = "labelling"
"""Folder within the output: members' label maps, and how far a run that was killed had come."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the person asked for: `rounds`, or `cts` and `weights`.

    Attributes:
        output: folder for the data set, made if it is not there.
        rounds: folder of `keyslice train rounds`.
        cts: folder of CT without labels, or a list of cases (`tools.case_lists`).
        weights: of the members, two or more.
        threshold, lowest: see `cps.selection.AgreementRule`; None: its defaults.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        quiet: say nothing.
        batch: how the labelling of `cts` is spread.
    """

    output: Path
    rounds: Path | None = None
    cts: Path | None = None
    weights: list[Path] = field(default_factory=list)
    threshold: float | None = None
    lowest: float | None = None
    device: str = "auto"
    quiet: bool = False
    batch: BatchOptions = field(default_factory=BatchOptions)


def pseudo_label_command(job: Job) -> int:
    """Run the job. Returns the exit status: 0, or 1 if cases could not be labelled.

    Raises:
        InputError: bad input; no data set has been written.
    """
    from cps.pseudo_labels import check_export, export_pseudo_labels
    from cps.round_state import read_rounds

    _check_options(job)
    if not job.output.exists():
        check_writable_folder(job.output.parent)
    else:
        check_writable_folder(job.output)
    check_export(job.output)
    failed: dict[str, str] = {}
    if job.rounds is not None:
        state = read_rounds(job.rounds)
    else:
        state, failed = _label(job)
    names = export_pseudo_labels(state, job.output)
    if not job.quiet:
        judged = len({case for one in state.rounds.values() for case in one.scores})
        say(f"{job.output}: {len(names)} of {judged} cases accepted; {job.output / 'report.md'} says why")
        if not names:
            say("warning: no case was accepted, so there is no data set to train on")
    return SOME_CASES_FAILED if failed else 0


def _check_options(job: Job) -> None:
    given = [name for name, value in (("--input", job.cts), ("--weights", job.weights)) if value]
    given += [name for name, value in (("--threshold", job.threshold), ("--lowest", job.lowest)) if value is not None]
    if job.rounds is not None and given:
        raise InputError(
            given[0],
            found="--rounds too",
            expected="one of the two: rounds have cases, members and a threshold of their own",
            fix=f"leave out --rounds or {given[0]}",
        )
    if job.rounds is None and (job.cts is None or len(job.weights) < 2):
        raise InputError(
            "--weights" if job.cts is not None else "--rounds",
            found=("no members", "1 member")[len(job.weights)] if job.cts is not None else "nothing",
            expected="--rounds DIR, or --input CTS with two or more --weights FILE: their agreement is the score",
            fix="give one or the other",
        )


def _label(job: Job) -> tuple[RoundsState, dict[str, str]]:
    """Label a folder of CT; also the cases that could not be, and why."""
    from cps.labelling import Labelling
    from cps.members import member_opener
    from cps.rounds import label_once
    from cps.selection import AgreementRule
    from networks.allocator import keep_freed_memory
    from tools.case_lists import is_list, listed_cases
    from tools.cases import find_scans
    from tools.devices import choose_device

    assert job.cts is not None
    keep_freed_memory()
    if not job.cts.is_dir() and not is_list(job.cts):
        raise InputError(job.cts, found="no such folder", expected="a folder of CT volumes", fix="check --input")
    # Workers have devices of their own.
    device = choose_device(job.device) if job.batch.in_this_process else job.device
    settings = {"threshold": job.threshold, "lowest": job.lowest}
    rule = AgreementRule(**{name: value for name, value in settings.items() if value is not None})
    table = _common_table(job.weights)
    scans, unusable = (listed_cases if is_list(job.cts) else find_scans)(job.cts, job.output)
    for error in unusable.values():
        show(error)
    images = {scan.name: scan.ct for scan in scans}
    tell = (lambda line: None) if job.quiet else say
    labelling: Labelling | JointLabelling = Labelling(member_opener(images, device), rule, tell)
    if not job.batch.in_this_process:
        labelling = _spread(job, scans, rule, tell)
    state = label_once(
        job.output / WORK,
        images,
        {value: label.name for value, label in table.items()},
        job.weights,
        labelling,
    )
    failed = {name: str(error) for name, error in unusable.items()} | state.rounds[1].failed
    for reason in state.rounds[1].failed.values() if job.batch.in_this_process else ():  # else told when it failed
        print(f"error: {reason}", file=sys.stderr)
    return state, failed


def _spread(job: Job, scans: Sequence[Case], rule: AgreementRule, tell: Tell) -> JointLabelling:
    """Labelling by workers, whose run lies in a folder of its own."""
    from tools import pseudo_label_work

    work = pseudo_label_work.Job(
        output=job.output / WORK / "batch",
        weights=job.weights,
        device=job.device,
        quiet=job.quiet,
        batch=job.batch,
    )
    cases = pseudo_label_work.cases_in(work.output, scans)
    return pseudo_label_work.batch_labelling(work, cases, rule, tell)


def _common_table(weights: list[Path]) -> LabelTable:
    """The members' structures; raises InputError for members that know others than the first."""
    from networks.run_record import digest_of
    from reference_module.description import Description

    first_with: dict[str | None, int] = {}
    for place, path in enumerate(weights):
        if (first := first_with.setdefault(digest_of(path), place)) != place:
            raise InputError(
                path,
                found=f"the same weights as {weights[first]}",
                expected="members that were trained apart: what agrees with itself says nothing",
                fix="give others",
            )
    tables = [Description.read(path).table for path in weights]
    names = [{value: label.name for value, label in table.items()} for table in tables]
    for path, other in zip(weights, names, strict=True):
        if other != names[0]:
            raise InputError(
                path,
                found=f"the structures {', '.join(other.values())}",
                expected=f"those of {weights[0]}: {', '.join(names[0].values())}",
                fix="give members that were trained on the same data set",
            )
    return tables[0]
