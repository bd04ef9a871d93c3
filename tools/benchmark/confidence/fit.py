"""What a fitted calibration is worth on cases that it was not fitted to, and which features it goes by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from propagation_module.calibration import Examples, cross_validated, influence, predict
from propagation_module.confidence import FEATURES, Calibration
from tools.benchmark.confidence.cases import Job
from tools.benchmark.confidence.results import cell_text, cell_texts, scores, spearman, table_row
from tools.files import whole_file, write_json

_NAMES = {
    "cross_validated": "cross-validated",
    "fitted": "as fitted",
    "raw": "raw expected Dice",
}
_COLUMNS = ("confidence", "spearman", "of cases", "10 worst", "as bad", "chance", "error")
_FEATURE_COLUMNS = ("feature", "found", "lost", "spearman without")
_ENDING_COLUMNS = ("ended below", "beyond", "missed", "overlap")
_ENDING_LEGEND = (
    "Where structures end, cases left out in turn, areas beyond the outermost key slices: beyond is the share of what "
    "is labelled there that lies beyond the true end, missed the share of the truth that was given up."
)
_LEGEND = (
    "Cross-validated: by a fit to other cases. Of cases: mean correlation of a case with one number of key slices. "
    "10 worst: how many of them are among the 10 least confident slices of such a case; as bad: or any no better than "
    "the tenth worst. Features: weight times spread in both regressions, and the cross-validated correlation of a fit "
    "without it."
)


def report(calibration: Calibration, examples: Examples, jobs: Sequence[Job]) -> dict[str, Any]:
    """Figures of the calibration.

    Args:
        jobs: the number of key slices of each example, and whether marks were given.

    Returns:
        `scores`: as `confidence_results.scores`, cross-validated by case, on the cases that it was fitted to, and
        of the raw expected Dice (as the feature has it, clipped). `by_job`: those cross-validated, for each number
        of key slices. `features`: for each the weight times the feature's spread in both regressions, and the
        cross-validated correlation `without` it, refitted.
    """
    titles = np.array([f"{n} key slices, {'marks' if marks else 'no marks'}" for n, marks in jobs], np.str_)
    groups = np.array([f"{case}, {title}" for case, title in zip(examples.cases, titles, strict=True)], np.str_)
    moved = influence(calibration, examples)
    raw = 1.0 / (1.0 + np.exp(-examples.inputs[:, FEATURES.index("expected_dice")]))
    values = {"cross_validated": cross_validated(examples), "fitted": predict(calibration, examples), "raw": raw}
    return {
        "cases": len(set(examples.cases)),
        "slices": {"found": int(examples.found.sum()), "lost": int((~examples.found).sum())},
        "scores": {name: scores(confidence, examples.dice, groups) for name, confidence in values.items()},
        "by_job": {
            str(title): scores(values["cross_validated"][own], examples.dice[own], groups[own])
            for title, own in ((title, titles == title) for title in np.unique(titles))
        },
        "features": {
            feature: {
                "found": round(moved["found"][feature], 4),
                "lost": round(moved["lost"][feature], 4),
                "without": _without(examples, feature),
            }
            for feature in FEATURES
        },
        "calibration": {
            part: dict(zip((*FEATURES, "constant"), (round(w, 4) for w in own), strict=True))
            for part, own in (("found", calibration.found), ("lost", calibration.lost))
        },
    }


def _without(examples: Examples, feature: str) -> float | None:
    found = spearman(cross_validated(examples.without(feature)), examples.dice)
    return None if found is None else round(found, 4)


def markdown(found: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    slices = found["slices"]
    lines = [f"{found['cases']} cases; {slices['found']} slices with a mask, {slices['lost']} without.", ""]
    lines += [table_row(_COLUMNS), table_row(["---"] * len(_COLUMNS))]
    lines += [table_row([name, *cell_texts(one)]) for name, one in _worth(found)]
    lines += ["", table_row(_FEATURE_COLUMNS), table_row(["---"] * len(_FEATURE_COLUMNS))]
    for feature, one in _by_influence(found):
        lines.append(table_row([feature, f"{one['found']:+.3f}", f"{one['lost']:+.3f}", cell_text(one["without"], 4)]))
    lines += ["", table_row(_ENDING_COLUMNS), table_row(["---"] * len(_ENDING_COLUMNS))]
    lines += [table_row(cells) for cells in _endings(found)]
    return "\n".join([*lines, "", _LEGEND, _ENDING_LEGEND]) + "\n"


def write_report(folder: Path, found: dict[str, Any], *, quiet: bool) -> None:
    """Write `fit.json` and `fit.md` into `folder`, and print the tables."""
    write_json(folder / "fit.json", found)
    with whole_file(folder / "fit.md") as temporary:
        temporary.write_text(markdown(found), encoding="utf-8")
    if not quiet:
        _print(found)


def _print(found: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    slices = found["slices"]
    title = f"{found['cases']} cases, {slices['found']} slices with a mask, {slices['lost']} without"
    worth, features = Table(title=title, title_justify="left"), Table()
    for column in _COLUMNS:
        worth.add_column(column)
    for column in _FEATURE_COLUMNS:
        features.add_column(column)
    for name, one in _worth(found):
        worth.add_row(name, *cell_texts(one))
    for feature, one in _by_influence(found):
        features.add_row(feature, f"{one['found']:+.3f}", f"{one['lost']:+.3f}", cell_text(one["without"], 4))
    endings = Table()
    for column in _ENDING_COLUMNS:
        endings.add_column(column)
    for cells in _endings(found):
        endings.add_row(*cells)
    console = Console()
    for part in (worth, features, _LEGEND, endings, _ENDING_LEGEND):
        console.print(part)


def _worth(found: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(_NAMES[name], one) for name, one in found["scores"].items()] + list(found["by_job"].items())


def _by_influence(found: Mapping[str, Any]) -> list[tuple[str, dict[str, float]]]:
    return sorted(found["features"].items(), key=lambda item: -abs(item[1]["found"]))


def _endings(found: Mapping[str, Any]) -> list[list[str]]:
    chosen = found["ending"]["chosen"]
    return [
        [
            f"{one['threshold']:.2f}" + (" (chosen)" if one["threshold"] == chosen else ""),
            *(f"{one[name]:.3f}" for name in ("beyond", "missed", "overlap")),
        ]
        for one in found["ending"]["outcomes"]
    ]
