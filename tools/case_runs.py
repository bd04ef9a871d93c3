"""One case or a folder of them: what `keyslice propagate` and `keyslice segment` have in common.

Everything that can be refused is refused before a network is loaded. In a run over folders a case that fails is named
and the others go on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.cases import Case
from tools.console import say
from tools.errors import SOME_CASES_FAILED, as_input_error, show
from tools.files import check_output_file, check_writable_folder, write_json
from tools.report import Stopwatch, peak_memory
from volumes.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from volumes.label_map import LabelMap
    from volumes.volume import Volume

REPORT_NAME = "report.json"


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Where results go.

    Attributes:
        output: the label map to write, or the folder for them.
        report: where to write the JSON report; a folder run always writes one beside its label maps.
        montage: where to write the picture; in a folder run the folder for them.
        overwrite: replace outputs that exist.
        quiet: no progress bar and no summary.
    """

    output: Path
    report: Path | None = None
    montage: Path | None = None
    overwrite: bool = False
    quiet: bool = False


class Work(ABC):
    """What is done with each case, and what all cases share.

    Args:
        command: its name, for the report.
        device: where networks run.
    """

    def __init__(self, command: str, device: str) -> None:
        self.command, self.device, self.stopwatch = command, device, Stopwatch()

    @abstractmethod
    def run(self, case: Case, montage: Path | None) -> dict[str, Any]:
        """Read, work, write. Returns the case's part of the report, `warnings` and `seconds` among it."""

    @abstractmethod
    def summary(self, entry: dict[str, Any]) -> str:
        """One line about a case, from its part of the report."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The options that the report repeats."""

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
    _check_output(case, overwrite=outputs.overwrite)
    for path, suffix in ((outputs.report, ".json"), (outputs.montage, ".png")):
        if path is not None:
            _check_apart(path, case)
            check_output_file(path, suffixes=(suffix,), overwrite=outputs.overwrite)
    work = prepare()
    entry = work.run(case, outputs.montage)
    if outputs.report is not None:
        seconds = {**work.stopwatch.seconds(), **entry["seconds"]}
        seconds["total"] = round(sum(value for name, value in seconds.items() if name != "total"), 3)
        write_json(outputs.report, {**work.facts(), **entry, "seconds": seconds})
    if not outputs.quiet:
        say(f"{case.output}: {work.summary(entry)} on {work.device}")
        for warning in entry["warnings"]:
            say(f"warning: {warning}")
    return 0


def run_folder(
    outputs: Outputs,
    prepare: Callable[[], Work],
    find: Callable[[], tuple[list[Case], dict[str, InputError]]],
) -> int:
    """Run the cases that `find` finds, after `prepare`. Returns the exit status: 0, or 1 if cases failed.

    Args:
        find: the cases, and by name what is wrong with those that cannot be run.

    Raises:
        InputError: bad input; nothing has been written.
    """
    if outputs.output.exists() or not outputs.output.parent.is_dir():
        check_writable_folder(outputs.output)
    else:
        check_writable_folder(outputs.output.parent)
    if outputs.report is not None:
        check_output_file(outputs.report, suffixes=(".json",), overwrite=outputs.overwrite)
    if outputs.montage is not None:
        check_writable_folder(outputs.montage)
    work = prepare()
    cases, failed = find()
    outputs.output.mkdir(exist_ok=True)
    entries: dict[str, dict[str, Any]] = {}
    for index, case in enumerate(cases):
        try:
            _check_output(case, overwrite=outputs.overwrite)
            montage = None if outputs.montage is None else outputs.montage / f"{case.name}.png"
            if montage is not None:
                check_output_file(montage, suffixes=(".png",), overwrite=outputs.overwrite)
            entries[case.name] = entry = work.run(case, montage)
        except (InputError, OSError, MemoryError, RuntimeError) as error:
            known = as_input_error(error, where=case.ct)
            if known is None:
                raise
            failed[case.name] = known
            show(known)
        else:
            if not outputs.quiet:
                say(f"[{index + 1}/{len(cases)}] {case.output}: {work.summary(entry)} on {work.device}")
                for warning in entry["warnings"]:
                    say(f"warning: {case.name}: {warning}")
    report = {
        **work.facts(),
        "cases": entries,
        "failed": {name: str(error) for name, error in sorted(failed.items())},
        "seconds": work.stopwatch.seconds(),
    }
    for path in {outputs.output / REPORT_NAME, outputs.report or outputs.output / REPORT_NAME}:
        write_json(path, report)
    for name in sorted(failed.keys() - {case.name for case in cases}):
        show(failed[name])
    if not outputs.quiet:
        say(f"{len(entries)} done, {len(failed)} failed; {outputs.output / REPORT_NAME}")
    return SOME_CASES_FAILED if failed else 0


def write_results(
    case: Case,
    volume: Volume,
    labels: LabelMap,
    key_slices: Sequence[int],
    *,
    montage: Path | None,
    overwrite: bool,
    stopwatch: Stopwatch,
) -> float:
    """Write the picture, if one is wanted, and the label map; returns `write_label_map`'s shift of the grid in mm."""
    from volumes.formats import write_label_map

    # The picture first: with a full disk there is then no label map without the picture that was asked for.
    if montage is not None:
        from tools.montage import write_montage

        with stopwatch.stage("montage"):
            write_montage(montage, volume, labels, key_slices)
    with stopwatch.stage("write"):
        return write_label_map(labels, case.output, overwrite=overwrite)


def doubts_about(volume: Volume) -> list[str]:
    """Warnings about a CT that does not look like one."""
    lowest = int(volume.array.min())
    if lowest >= 0:
        return [f"no value below {lowest}: are these Hounsfield units? Air should be near -1000"]
    return []


def _check_output(case: Case, *, overwrite: bool) -> None:
    from volumes.formats import check_output

    _check_apart(case.output, case)
    check_output(case.output, overwrite)


def _check_apart(path: Path, case: Case) -> None:
    """Raise InputError where an output would replace an input: what a person painted stays."""
    for source in (case.ct, case.keys):
        if source is not None and path.exists() and path.samefile(source):
            raise InputError(
                path,
                found="the input itself",
                expected="another file",
                fix="choose another name",
            )
