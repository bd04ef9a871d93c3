"""Results of the confidence benchmark: does the confidence rank slices as their true Dice does, and is it that Dice?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from propagation_module.confidence import Evidence
from tools.benchmark.confidence.cases import NEAR, Extent, Measured
from tools.files import whole_file, write_json

WORST, BINS = 10, 10
LEAST_PAIRS = 2 * WORST  # of fewer, the ten worst are most of what there is
COUNTED = (
    "A structure's slice counts if it is no key slice of it, lies between its marks where they were given, and truth "
    f"or prediction is there or at most {NEAR} slices away. Dice is 1 where both are empty, 0 where one is."
)
Values = npt.NDArray[np.float64]


def spearman(one: Values, other: Values) -> float | None:
    """Rank correlation, ties at their mean rank; None where one of both does not vary."""
    from scipy.stats import rankdata

    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def among_lowest(values: Values, count: int) -> Values:
    """Probability of each to be among the `count` lowest, ties broken by lot."""
    if len(values) <= count:
        return np.ones(len(values))
    edge = np.partition(values, count - 1)[count - 1]
    below, tied = values < edge, values == edge
    return below + tied * ((count - below.sum()) / tied.sum())


def worst_found(confidence: Values, dice: Values, count: int = WORST) -> float:
    """How many of the `count` worst slices are expected among the `count` least confident, ties broken by lot."""
    return float(among_lowest(confidence, count) @ among_lowest(dice, count))


def as_bad_found(confidence: Values, dice: Values, count: int = WORST) -> float:
    """How many of the `count` least confident slices are expected to be no better than the `count`-th worst.

    Where many slices are equally bad, all of them count: no confidence could tell which of them are drawn.
    """
    edge = np.sort(dice)[min(count, len(dice)) - 1]
    return float(among_lowest(confidence, count) @ (dice <= edge))


def reliability(confidence: Values, dice: Values, bins: int = BINS) -> list[tuple[int, float, float]]:
    """Number, mean confidence and mean true Dice of each of `bins` equal intervals that is not empty."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        (int((place == at).sum()), float(confidence[place == at].mean()), float(dice[place == at].mean()))
        for at in np.unique(place)
    ]


def calibration_error(confidence: Values, dice: Values, bins: int = BINS) -> float:
    """Mean difference of confidence and true Dice over the bins, weighted by their numbers."""
    counted = reliability(confidence, dice, bins)
    return sum(n * abs(mean - true) for n, mean, true in counted) / sum(n for n, _, _ in counted)


def scores(confidence: Values, dice: Values, groups: npt.NDArray) -> dict[str, Any]:
    """All figures of a confidence.

    Args:
        groups: the case of each slice.

    Returns:
        `spearman` pooled and `spearman_per_case` (mean); `worst_found` and `as_bad_found`, means over the
        `worst_cases` cases that have at least `LEAST_PAIRS` slices, and what `chance` would find of the former;
        `calibration_error`.
    """
    cases = [groups == name for name in np.unique(groups)]
    correlations = [spearman(confidence[own], dice[own]) for own in cases]
    large = [own for own in cases if own.sum() >= LEAST_PAIRS]
    return {
        "spearman": _rounded(spearman(confidence, dice)),
        "spearman_per_case": _mean([one for one in correlations if one is not None]),
        "worst_found": _mean([worst_found(confidence[own], dice[own]) for own in large]),
        "as_bad_found": _mean([as_bad_found(confidence[own], dice[own]) for own in large]),
        "chance": _mean([WORST**2 / float(own.sum()) for own in large]),
        "worst_cases": len(large),
        "calibration_error": round(calibration_error(confidence, dice), 4),
    }


def summarize(measured: Sequence[Measured], calibration: Callable[[Evidence], float]) -> dict[str, Any]:
    """`{set: {"marks" or "no marks": {n: results}, "reliability": {...}}}`.

    Results: number of `cases` and `slices`, `mean_dice` of the slices, `calibrated` and `raw` (the expected Dice of
    the probabilities alone), both as in `scores`; without marks also `beyond` and `missed`, as in `shares`.
    """
    summary: dict[str, Any] = {}
    for name in dict.fromkeys(one.set for one in measured):
        summary[name] = {}
        for title, marks in (("marks", True), ("no marks", False)):
            chosen = [one for one in measured if (one.set, one.marks) == (name, marks)]
            results = {}
            for n in sorted({one.n for one in chosen}):
                of = [one for one in chosen if one.n == n]
                found = _results(of, calibration)
                if found is not None:
                    results[str(n)] = found if marks else {**found, **shares([e for one in of for e in one.extents()])}
            if results:
                confidence, _, dice, _ = _columns(chosen, calibration)
                binned = [[n, round(mean, 4), round(true, 4)] for n, mean, true in reliability(confidence, dice)]
                summary[name][title] = {"by_number": results, "reliability": binned}
    return summary


def shares(extents: Sequence[Extent]) -> dict[str, dict[str, float]]:
    """`beyond`: share of the labelled voxels beyond the true extent; `missed`: of the true ones where it ended early.

    Both `pooled` over all voxels and `per_structure`, the mean of the structures' own shares.
    """
    return {
        "beyond": _share([(one.beyond, one.predicted) for one in extents]),
        "missed": _share([(one.missed, one.true) for one in extents]),
    }


def _share(parts: Sequence[tuple[int, int]]) -> dict[str, float]:
    whole = sum(total for _, total in parts)
    own = [part / total if total else 0.0 for part, total in parts]
    return {
        "pooled": round(sum(part for part, _ in parts) / whole, 5) if whole else 0.0,
        "per_structure": round(sum(own) / len(own), 5) if own else 0.0,
    }


def _results(measured: Sequence[Measured], calibration: Callable[[Evidence], float]) -> dict[str, Any] | None:
    confidence, raw, dice, groups = _columns(measured, calibration)
    if not len(dice):
        return None
    return {
        "cases": len(set(groups)),
        "slices": len(dice),
        "mean_dice": round(float(dice.mean()), 4),
        "calibrated": scores(confidence, dice, groups),
        "raw": scores(raw, dice, groups),
        "seconds": round(sum(one.seconds for one in measured), 1),
    }


def _columns(
    measured: Sequence[Measured], calibration: Callable[[Evidence], float]
) -> tuple[Values, Values, Values, npt.NDArray]:
    """Confidence, raw expected Dice, true Dice and case of each slice."""
    pairs = [(one.case, pair) for one in measured for pair in one.pairs()]
    confidence = [pair.said if pair.seen is None else calibration(pair.seen) for _, pair in pairs]
    raw = [pair.said if pair.seen is None else pair.seen.expected_dice for _, pair in pairs]
    dice = np.array([pair.dice for _, pair in pairs], np.float64)
    return np.array(confidence, np.float64), np.array(raw, np.float64), dice, np.array([c for c, _ in pairs], np.str_)


def _mean(values: Sequence[float]) -> float | None:
    return round(math.fsum(values) / len(values), 4) if values else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


_HEADINGS = (
    "spearman", "mean of cases", f"of the {WORST} worst among the {WORST} least confident", "these or as bad",
    "by chance", "calibration error",
)  # fmt: skip


def cell_texts(one: Mapping[str, Any]) -> list[str]:
    return [
        cell_text(one["spearman"]), cell_text(one["spearman_per_case"]), cell_text(one["worst_found"], 1),
        cell_text(one["as_bad_found"], 1), cell_text(one["chance"], 1), cell_text(one["calibration_error"]),
    ]  # fmt: skip


def markdown(summary: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """The summary as Markdown: figures of the confidence, then of where structures end."""
    lines = [f"Confidence and true Dice of a slice; the confidence is {about['calibration']}.", COUNTED, ""]
    columns = ("set", "marks", "key slices", "slices", "mean Dice", "confidence", *_HEADINGS)
    lines += [table_row(columns), table_row(["---"] * len(columns))]
    for name, title, n, one in _parts(summary):
        for kind, called in (("calibrated", "calibrated"), ("raw", "raw expected Dice")):
            own = (name, title, n, str(one["slices"]), cell_text(one["mean_dice"]), called)
            lines.append(table_row([*own, *cell_texts(one[kind])]))
    lines += ["", "Without marks: voxels labelled beyond the true extent, and true voxels missed by ending early.", ""]
    ends = ("set", "key slices", "beyond, pooled", "mean of structures", "missed, pooled", "mean of structures")
    lines += [table_row(ends), table_row(["---"] * len(ends))]
    for name, _, n, one in _parts(summary):
        if "beyond" in one:
            lines.append(table_row([name, n, *_ends(one)]))
    notes = [f"{name}: {note}." for name, note in about.get("notes", {}).items() if note and name in summary]
    notes.append(
        f"The {WORST} worst: mean over cases with at least {LEAST_PAIRS} slices that count; ties by lot. As bad: of "
        f"the {WORST} least confident, those no better than the {WORST}th worst."
    )
    return "\n".join([*lines, "", *notes]) + "\n"


def write_all(out: Path, summary: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write `results.json`, `results.md` and, where there are results, `reliability.png` into `out`."""
    write_json(out / "results.json", {"about": {**about, "counted": COUNTED}, "sets": summary})
    with whole_file(out / "results.md") as temporary:
        temporary.write_text(markdown(summary, about), encoding="utf-8")
    if any(summary.values()):
        draw_reliability(summary, out / "reliability.png")


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print one table for all, and one for the ends."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    title = "confidence and true Dice of a slice"
    table = Table(title=title, title_justify="left", box=None, collapse_padding=True)
    ends = Table(title="no marks: shares of voxels, pooled and mean of structures", title_justify="left")
    columns = ("set", "marks", "keys", "", "spearman", "of cases", f"{WORST} worst", "as bad", "chance", "error")
    for heading in columns:
        table.add_column(heading)
    for heading in ("set", "keys", "beyond", "(mean)", "missed", "(mean)"):
        ends.add_column(heading)
    for name, title, n, one in _parts(summary):
        table.add_row(name, title, n, "ours", *cell_texts(one["calibrated"]))
        table.add_row("", "", "", "raw", *cell_texts(one["raw"]))
        if "beyond" in one:
            ends.add_row(name, n, *_ends(one))
    console.print(table)
    if ends.row_count:
        console.print(ends)


def draw_reliability(summary: Mapping[str, Any], path: Path) -> None:
    """Mean true Dice against the confidence in ten bins, one line a set, one panel with marks and one without."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    titles = [title for title in ("marks", "no marks") if any(title in one for one in summary.values())]
    figure = Figure(figsize=(4.6 * len(titles) + 0.4, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(titles), squeeze=False, sharey=True)[0]
    lines: dict[str, Any] = {}
    for panel, title in zip(panels, titles, strict=True):
        panel.plot([0, 1], [0, 1], color="#999999", linewidth=1.0, linestyle=":")
        for color, (name, one) in enumerate(summary.items()):
            if title in one:
                counts, means, true = np.array(one[title]["reliability"]).T
                (lines[name],) = panel.plot(means, true, color=f"C{color}", linewidth=1.6)
                panel.scatter(means, true, 8 + 200 * counts / counts.sum(), color=f"C{color}")
        panel.set_title({"marks": "start and stop marks given", "no marks": "no marks"}[title], fontsize=11)
        panel.set_xlabel("confidence (area: share of slices)")
        panel.set_aspect("equal")
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("mean true Dice of the slices")
    figure.legend(list(lines.values()), list(lines), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def _parts(summary: Mapping[str, Any]) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Set, marks, number of key slices and results."""
    return [
        (name, title, n, one)
        for name, by_title in summary.items()
        for title, of in by_title.items()
        for n, one in of["by_number"].items()
    ]


def _ends(one: Mapping[str, Any]) -> list[str]:
    return [f"{one[key][kind]:.2%}" for key in ("beyond", "missed") for kind in ("pooled", "per_structure")]


def table_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def cell_text(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
