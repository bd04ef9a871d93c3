"""`keyslice evaluate`: DSC and NSD of predicted label maps, per case and structure, by the FLARE22 rules.

Scores follow `volumes.metrics`. Cases are matched by file name without the image ending, so `CASE.nii.gz`
and `CASE.seg.nrrd` belong together. With a label table every structure of it counts in every case, absent
ones included (the challenge's way); without one, those that occur in the case's truth or prediction.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.batch.options import BatchOptions
from tools.errors import SOME_CASES_FAILED, as_input_error
from tools.files import LABEL_SUFFIXES, check_output_file, stem_of, suffix_of, whole_file, write_json
from volumes.errors import InputError

if TYPE_CHECKING:
    from volumes.label_map import LabelMap
    from volumes.labels import LabelTable
    from volumes.metrics import Score

Result = dict[str, Any]


def evaluate(reference: str | Path, prediction: str | Path, labels: str | Path | LabelTable | None = None) -> Result:
    """Score one case (two files) or many (two folders).

    Args:
        reference: the truth, a label file or a folder of them.
        prediction: likewise; in folders, files are matched by name.
        labels: a label table, the name of a built-in one (`flare22`) or a YAML file: the structures to
            score, their names, tolerances and roles. None: what occurs, named as the truth file says.

    Returns:
        `{"cases": {case: {structure: {"dsc": ..., "nsd": ...}}}, "mean": {structure: {...}, "all": {...}},
        "failed": {case: message}, "tolerances_mm": {structure: mm}, "notes": [...]}`. A structure's mean is
        over the cases that it was scored in, "all" is the mean over the structures' means.

    Raises:
        InputError: nothing to compare, or an unreadable table. A case that fails does not raise: it is
            in "failed" and the others go on.
    """
    from volumes.labels import LabelTable

    table = LabelTable.read(labels) if isinstance(labels, (str, Path)) else labels
    pairs, notes = _pairs(Path(reference), Path(prediction))
    tally = Tally(notes)
    for case, truth_path, prediction_path in pairs:
        try:
            if prediction_path is None:
                raise _no_prediction(Path(prediction) / truth_path.name, case)
            tally.take(case, score_files(case, truth_path, prediction_path, table)[2])
        except (InputError, OSError, MemoryError) as error:
            known = as_input_error(error, where=case)
            tally.failed[case] = str(known if known is not None else error)
    return tally.result()


def evaluate_maps(
    truth: LabelMap, prediction: LabelMap, labels: LabelTable | None = None, case: str = "case"
) -> Result:
    """Score one case that is in memory; otherwise as `evaluate`.

    Raises:
        InputError: the two grids differ.
    """
    tally = Tally([])
    tally.take(case, _scored(case, truth, prediction, labels))
    return tally.result()


def score_files(
    case: str, truth: Path, prediction: Path, table: LabelTable | None
) -> tuple[LabelMap, LabelMap, dict[str, Any]]:
    """Both label maps of a case, and its scores as `Tally.take` takes them.

    Raises:
        InputError: a file that cannot be read, or two grids that differ.
    """
    from volumes.formats import read_label_map

    true = read_label_map(truth, table=table)
    predicted = read_label_map(prediction, like=true, table=table)
    return true, predicted, _scored(case, true, predicted, table)


def _scored(case: str, truth: LabelMap, predicted: LabelMap, table: LabelTable | None) -> dict[str, Any]:
    """The scores of a case and what there is to say about them, as JSON takes it."""
    from volumes.metrics import case_scores, tolerance_of

    scores = case_scores(truth, predicted, table)
    occurring = {*truth.present(), *predicted.present()}
    named = table if table is not None else truth.table.covering(occurring)
    notes = []
    if unnamed := sorted(occurring - set(named)):
        notes.append(f"{case}: labels that the table lacks, not scored: {unnamed}")
    notes += [f"{case}, {name}: {score.note}" for name, score in scores.items() if score.note]
    return {
        "scores": {name: _plain(score) for name, score in scores.items()},
        "tolerances_mm": {name: tolerance_of(named.by_name(name)) for name in scores},
        "by_default": [name for name in scores if named.by_name(name).tolerance_mm is None],
        "notes": notes,
    }


class Tally:
    """Scores of cases as they come, and what there is to say about them.

    Args:
        notes: what there is to say before the first.

    Attributes:
        failed: by case, why there are no scores.
    """

    def __init__(self, notes: list[str]) -> None:
        self._notes = notes
        self._cases: dict[str, dict[str, dict[str, float]]] = {}
        self.failed: dict[str, str] = {}
        self._tolerances: dict[str, float] = {}
        self._by_default: set[str] = set()

    def take(self, case: str, entry: Mapping[str, Any]) -> None:
        """Take in what `score_files` says of a case."""
        self._cases[case] = entry["scores"]
        self._tolerances |= entry["tolerances_mm"]
        self._by_default |= set(entry["by_default"])
        self._notes += entry["notes"]

    def result(self) -> Result:
        """What `evaluate` returns."""
        from volumes.metrics import DEFAULT_TOLERANCE_MM

        notes = list(self._notes)
        if self._by_default:
            notes.append(
                f"NSD tolerance {DEFAULT_TOLERANCE_MM:g} mm by default, the label table states none: "
                f"{', '.join(sorted(self._by_default))}"
            )
        return {
            "cases": self._cases,
            "mean": _means(self._cases.values()),
            "failed": self.failed,
            "tolerances_mm": self._tolerances,
            "notes": notes,
        }


def evaluate_command(
    reference: Path,
    prediction: Path | None,
    labels: str | None = None,
    json_path: Path | None = None,
    csv_path: Path | None = None,
    quiet: bool = False,
    output: Path | None = None,
    batch: BatchOptions | None = None,
) -> int:
    """What `keyslice evaluate` does: score, print a table, write JSON and CSV if asked.

    Reports that exist are replaced: they can be computed again.

    Args:
        reference, prediction: two files, two folders, or a list of cases (`tools.case_lists`) and None.
        output: folder of the run's manifest, from which it goes on, and of its report; None for neither.
        batch: how a run over many cases is spread; None: one after the other.

    Returns:
        Exit status: 0, or 1 if a case failed (it is named on stderr, the others are scored).

    Raises:
        InputError: bad input that stops the whole run (exit status 2).
    """
    for path, suffix in ((json_path, ".json"), (csv_path, ".csv")):
        if path is not None:
            check_output_file(path, suffixes=(suffix,), overwrite=True)
    result = _result(reference, prediction, labels, output, batch or BatchOptions(), quiet)
    if json_path is not None:
        write_json(json_path, result)
    if csv_path is not None:
        write_csv(csv_path, result)
    if not quiet:
        print_result(result)
    return SOME_CASES_FAILED if result["failed"] else 0


def _result(
    reference: Path, prediction: Path | None, labels: str | None, output: Path | None, batch: BatchOptions, quiet: bool
) -> Result:
    """The scores, by this process or by workers; failed cases are told."""
    from tools.case_lists import is_list

    if is_list(reference):
        if prediction is not None:
            raise InputError(
                "--prediction", found="a list of cases too", expected="its column 'prediction'", fix="leave it out"
            )
        return _by_workers(*_listed_pairs(reference), labels, output, batch, quiet)
    if prediction is None:
        raise InputError("--prediction", found="nothing", expected="what was predicted", fix="give --prediction")
    if reference.is_dir() and not (output is None and batch.in_this_process):
        pairs, notes = _pairs(reference, prediction)
        missing = {case: _no_prediction(prediction / truth.name, case) for case, truth, found in pairs if found is None}
        return _by_workers(
            [(case, truth, found) for case, truth, found in pairs if found],
            missing,
            labels,
            output,
            batch,
            quiet,
            notes,
        )
    if output is not None or not batch.in_this_process:
        raise InputError(
            reference,
            found="one case, with an option for runs over many",
            expected="folders or a list of cases with --output, --jobs, --cluster and limits",
            fix="leave the option out",
        )
    result = evaluate(reference, prediction, labels)
    for message in result["failed"].values():
        print(f"error: {message}", file=sys.stderr)
    return result


def _by_workers(
    pairs: list[tuple[str, Path, Path]],
    unusable: Mapping[str, InputError],
    labels: str | None,
    output: Path | None,
    batch: BatchOptions,
    quiet: bool,
    notes: list[str] | None = None,
) -> Result:
    from tools.evaluate_cases import Job, Pair, evaluate_many

    job = Job(output=output, labels=labels, quiet=quiet, batch=batch)
    return evaluate_many(job, [Pair(*pair) for pair in pairs], unusable, notes or [])


def _listed_pairs(path: Path) -> tuple[list[tuple[str, Path, Path]], dict[str, InputError]]:
    from tools.case_lists import read_rows

    rows, unusable = read_rows(path, ("reference", "prediction"))
    return [(row.name, row.paths["reference"], row.paths["prediction"]) for row in rows], unusable


def _no_prediction(where: Path, case: str) -> InputError:
    return InputError(
        where,
        found="no prediction for this case",
        expected=f"a file named {case}.nii.gz (or another image ending)",
        fix="predict it, or take its truth out of the folder",
    )


def write_csv(path: Path, result: Result) -> None:
    """One line per case and structure, then the means (case `mean`), whole or not at all."""
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "structure", "dsc", "nsd"])
        for case, scores in [*result["cases"].items(), ("mean", result["mean"])]:
            for structure, score in scores.items():
                writer.writerow([case, structure, score["dsc"], score["nsd"]])


def print_result(result: Result) -> None:
    """Print the table: structures down, DSC and NSD of the mean, and of each case if there are few."""
    from rich.console import Console
    from rich.table import Table

    few = result["cases"] if len(result["cases"]) <= 3 else {}
    table = Table(title=f"{len(result['cases'])} case(s), FLARE22 rules")
    table.add_column("structure")
    columns = [*few, "mean"] if len(few) != 1 else list(few)
    for column in columns:
        table.add_column(f"{column}\nDSC", justify="right")
        table.add_column("\nNSD", justify="right")
    for structure, mean in result["mean"].items():
        row = [structure]
        for column in columns:
            if column in few:
                score = few[column].get(structure)
                if structure == "all" and few[column]:
                    score = _average(few[column].values())
            else:
                score = mean
            row += [f"{score['dsc']:.4f}", f"{score['nsd']:.4f}"] if score else ["-", "-"]
        if structure == "all":
            table.add_section()
        table.add_row(*row)
    console = Console()
    console.print(table)
    for note in result["notes"]:
        console.print(f"note: {note}", markup=False, highlight=False)


def _pairs(reference: Path, prediction: Path) -> tuple[list[tuple[str, Path, Path | None]], list[str]]:
    """Cases as (name, truth, prediction or None), and notes about files that nothing belongs to."""
    for path in (reference, prediction):
        if not path.exists():
            raise InputError(
                path, found="nothing there", expected="a label file or a folder of them", fix="check the path"
            )
    if reference.is_dir() != prediction.is_dir():
        raise InputError(
            prediction,
            found="a folder" if prediction.is_dir() else "a file",
            expected=f"a {'folder' if reference.is_dir() else 'file'}, as {reference} is one",
            fix="give two files or two folders",
        )
    if not reference.is_dir():
        return [(stem_of(reference), reference, prediction)], []
    truths, predictions = _label_files(reference), _label_files(prediction)
    if not truths:
        raise InputError(
            reference,
            found="no label file",
            expected=f"files ending in {', '.join(LABEL_SUFFIXES)}",
            fix="check the folder",
        )
    extra = sorted(set(predictions) - set(truths))
    notes = [f"{len(extra)} prediction(s) without a truth left out: {', '.join(extra[:10])}"] if extra else []
    return [(case, truths[case], predictions.get(case)) for case in sorted(truths)], notes


def _label_files(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file() or suffix_of(path, LABEL_SUFFIXES) is None:
            continue
        case = stem_of(path)
        if case in found:
            raise InputError(
                folder,
                found=f"two files for the case {case}: {found[case].name} and {path.name}",
                expected="one file per case",
                fix="take one of them out of the folder",
            )
        found[case] = path
    return found


def _means(cases: Iterable[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    by_structure: dict[str, list[Mapping[str, float]]] = {}
    for scores in cases:
        for name, score in scores.items():
            by_structure.setdefault(name, []).append(score)
    means = {name: _average(scores) for name, scores in by_structure.items()}
    return {**means, "all": _average(means.values())} if means else {}


def _average(scores: Iterable[Mapping[str, float]]) -> dict[str, float]:
    scores = list(scores)
    return {key: round(sum(one[key] for one in scores) / len(scores), 6) for key in ("dsc", "nsd")}


def _plain(score: Score) -> dict[str, float]:
    return {"dsc": float(score.dsc), "nsd": float(score.nsd)}
