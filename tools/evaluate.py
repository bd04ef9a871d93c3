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

from tools.errors import SOME_CASES_FAILED, as_input_error
from tools.files import LABEL_SUFFIXES, check_output_file, stem_of, suffix_of, whole_file, write_json
from volumes.errors import InputError

if TYPE_CHECKING:
    from volumes.labels import LabelTable
    from volumes.metrics import Score

Result = dict[str, Any]


def evaluate(
    reference: str | Path, prediction: str | Path, labels: str | Path | LabelTable | None = None
) -> Result:
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
    from volumes.formats import read_label_map
    from volumes.labels import LabelTable
    from volumes.metrics import DEFAULT_TOLERANCE_MM, case_scores, tolerance_of

    table = LabelTable.read(labels) if isinstance(labels, (str, Path)) else labels
    pairs, notes = _pairs(Path(reference), Path(prediction))
    cases: dict[str, dict[str, Score]] = {}
    failed: dict[str, str] = {}
    tolerances: dict[str, float] = {}
    by_default: set[str] = set()
    for case, truth_path, prediction_path in pairs:
        try:
            if prediction_path is None:
                raise InputError(
                    Path(prediction) / truth_path.name,
                    found="no prediction for this case",
                    expected=f"a file named {case}.nii.gz (or another image ending)",
                    fix="predict it, or take its truth out of the folder",
                )
            truth = read_label_map(truth_path, table=table)
            predicted = read_label_map(prediction_path, like=truth, table=table)
            cases[case] = case_scores(truth, predicted, table)
        except (InputError, OSError, MemoryError) as error:
            known = as_input_error(error, where=case)
            failed[case] = str(known if known is not None else error)
            continue
        occurring = {*truth.present(), *predicted.present()}
        named = table if table is not None else truth.table.covering(occurring)
        if unnamed := sorted(occurring - set(named)):
            notes.append(f"{case}: labels that the table lacks, not scored: {unnamed}")
        for name, score in cases[case].items():
            label = named.by_name(name)
            tolerances[name] = tolerance_of(label)
            if label.tolerance_mm is None:
                by_default.add(name)
            if score.note:
                notes.append(f"{case}, {name}: {score.note}")
    if by_default:
        notes.append(
            f"NSD tolerance {DEFAULT_TOLERANCE_MM:g} mm by default, the label table states none: "
            f"{', '.join(sorted(by_default))}"
        )
    return {
        "cases": {case: {name: _plain(score) for name, score in of.items()} for case, of in cases.items()},
        "mean": _means(cases.values()),
        "failed": failed,
        "tolerances_mm": tolerances,
        "notes": notes,
    }


def evaluate_command(
    reference: Path,
    prediction: Path,
    labels: str | None = None,
    json_path: Path | None = None,
    csv_path: Path | None = None,
    quiet: bool = False,
) -> int:
    """What `keyslice evaluate` does: score, print a table, write JSON and CSV if asked.

    Reports that exist are replaced: they can be computed again.

    Returns:
        Exit status: 0, or 1 if a case failed (it is named on stderr, the others are scored).

    Raises:
        InputError: bad input that stops the whole run (exit status 2).
    """
    for path, suffix in ((json_path, ".json"), (csv_path, ".csv")):
        if path is not None:
            check_output_file(path, suffixes=(suffix,), overwrite=True)
    result = evaluate(reference, prediction, labels)
    if json_path is not None:
        write_json(json_path, result)
    if csv_path is not None:
        write_csv(csv_path, result)
    if not quiet:
        print_result(result)
    for message in result["failed"].values():
        print(f"error: {message}", file=sys.stderr)
    return SOME_CASES_FAILED if result["failed"] else 0


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


def _means(cases: Iterable[Mapping[str, Score]]) -> dict[str, dict[str, float]]:
    by_structure: dict[str, list[dict[str, float]]] = {}
    for scores in cases:
        for name, score in scores.items():
            by_structure.setdefault(name, []).append(_plain(score))
    means = {name: _average(scores) for name, scores in by_structure.items()}
    return {**means, "all": _average(means.values())} if means else {}


def _average(scores: Iterable[Mapping[str, float]]) -> dict[str, float]:
    scores = list(scores)
    return {key: round(sum(one[key] for one in scores) / len(scores), 6) for key in ("dsc", "nsd")}


def _plain(score: Score) -> dict[str, float]:
    return {"dsc": score.dsc, "nsd": score.nsd}
