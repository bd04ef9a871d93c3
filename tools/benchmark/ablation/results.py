"""Results of the ablation: means by row and structure, what each step gains, tables and a picture."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.benchmark.ablation.rows import CaseLine
from tools.benchmark.ablation.settings import ROW_NAMES
from tools.benchmark.means import by_structure, mean_of
from tools.files import whole_file, write_json
from volumes.labels import LabelTable

STEPS = ((1, 2), (2, 3), (3, 4), (1, 4))
_COLOURS = {1: "#9a9a9a", 2: "#0072b2", 3: "#009e73", 4: "#c1272d"}


@dataclass(frozen=True)
class About:
    """What the tables say beside the scores.

    Attributes:
        name: of the configuration.
        table: the structures.
        required: labels whose mean rows are compared by.
        smallest: so many structures have a mean of their own.
        labelled, unlabelled: numbers of training cases.
        seconds: of training, by row, shared stages counted in each.
        pseudo: what came of the rounds; empty where they are not done.
        notes: what a reader has to know.
    """

    name: str
    table: LabelTable
    required: Sequence[int]
    smallest: int
    labelled: int
    unlabelled: int
    seconds: Mapping[int, float]
    pseudo: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


def summarize(rows: Mapping[int, Sequence[CaseLine]], about: About) -> dict[str, Any]:
    """Means over cases for each structure, and over structures of these.

    Returns:
        `{"rows": {"1": {"dsc": {structure: mean}, "nsd": {...}, "mean": {"dsc", "nsd"}, "all": {...},
        "smallest": {...}, "seconds": {"training", "case"}}}, "gains": {"1 to 2": {...}}, "smallest": [names], ...}`;
        `mean` is that of the required structures. A gain is the difference of two rows' `mean`, with the standard error
        of its mean over cases and the number of cases that are better.
    """
    names = about.table.name_of
    smallest = _smallest(rows, about)
    groups = {"mean": tuple(about.required), "all": tuple(about.table), "smallest": smallest}
    found: dict[str, Any] = {
        "name": about.name,
        "cases": max((len(lines) for lines in rows.values()), default=0),
        "labelled": about.labelled,
        "unlabelled": about.unlabelled,
        "required": [names(label) for label in about.required],
        "smallest": [names(label) for label in smallest],
        "contoured": {names(label): _count(rows, label) for label in about.table},
        "rows": {},
        "gains": {},
        "pseudo_labels": dict(about.pseudo),
        "notes": list(about.notes),
    }
    for row, lines in sorted(rows.items()):
        means = {kind: by_structure(lines, kind, about.table) for kind in ("dsc", "nsd")}
        found["rows"][str(row)] = {
            "name": ROW_NAMES[row],
            **{kind: {names(label): round(one, 4) for label, one in means[kind].items()} for kind in means},
            **{group: {kind: mean_of(means[kind], labels) for kind in means} for group, labels in groups.items()},
            "seconds": {
                "training": round(about.seconds.get(row, 0.0)),
                "case": round(statistics.fmean(one.seconds for one in lines), 2),
            },
        }
    for before, after in STEPS:
        if before in rows and after in rows:
            found["gains"][f"{before} to {after}"] = _gain(rows[before], rows[after], about)
    return found


def _smallest(rows: Mapping[int, Sequence[CaseLine]], about: About) -> tuple[int, ...]:
    """The structures of the least median volume, rising; where a case has none of one, that does not count."""
    volumes: dict[int, list[float]] = {}
    for line in next(iter(rows.values()), ()):
        for label, volume in zip(line.labels, line.millilitres, strict=True):
            if volume > 0:
                volumes.setdefault(label, []).append(volume)
    ordered = sorted(volumes, key=lambda label: (statistics.median(volumes[label]), label))
    return tuple(ordered[: about.smallest])


def _count(rows: Mapping[int, Sequence[CaseLine]], label: int) -> int:
    return sum(label in line.labels for line in next(iter(rows.values()), ()))


def _gain(before: Sequence[CaseLine], after: Sequence[CaseLine], about: About) -> dict[str, Any]:
    gains: dict[str, Any] = {}
    for kind in ("dsc", "nsd"):
        means = [by_structure(lines, kind, about.table) for lines in (before, after)]
        first, second = (statistics.fmean(one[label] for label in about.required) for one in means)
        gains[kind] = round(second - first, 4)
    per_case = [_of_case(new, about) - _of_case(old, about) for old, new in zip(before, after, strict=True)]
    error = statistics.stdev(per_case) / len(per_case) ** 0.5 if len(per_case) > 1 else None
    gains["standard_error"] = None if error is None else round(error, 4)
    gains["cases_better"] = sum(one > 0 for one in per_case)
    return gains


def _of_case(line: CaseLine, about: About) -> float:
    scores = dict(zip(line.labels, line.dsc, strict=True))
    return statistics.fmean(scores[label] for label in about.required if label in scores)


def write_all(out: Path, rows: Mapping[int, Sequence[CaseLine]], summary: dict[str, Any], about: About) -> None:
    """Write `results.json`, `results.md`, `structures.csv` and `structures.png`, each whole or not at all."""
    write_json(out / "results.json", summary)
    with whole_file(out / "results.md") as temporary:
        temporary.write_text(markdown(summary), encoding="utf-8")
    with whole_file(out / "structures.csv") as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "name", "case", "label", "structure", "dsc", "nsd", "millilitres", "model"])
        for row, lines in sorted(rows.items()):
            for one in lines:
                for label, *values in zip(one.labels, one.dsc, one.nsd, one.millilitres, strict=True):
                    structure = about.table.name_of(label)
                    writer.writerow([row, ROW_NAMES[row], one.case, label, structure, *values, one.model])
    draw(summary, out / "structures.png")


def markdown(summary: Mapping[str, Any]) -> str:
    """The tables of the summary."""
    head, body = _table(summary)
    lines = [
        f"{summary['name']}: {summary['cases']} cases; trained with {summary['labelled']} labelled and "
        f"{summary['unlabelled']} unlabelled cases.",
        "",
        "| " + " | ".join(head) + " |",
        "|---|" + "---|" * (len(head) - 1),
        *("| " + " | ".join(row) + " |" for row in body),
        "",
        "| step | DSC | standard error over cases | cases better | NSD |",
        "|---|---|---|---|---|",
    ]
    for step, gain in summary["gains"].items():
        error = "–" if gain["standard_error"] is None else f"{gain['standard_error']:.3f}"
        better = f"{gain['cases_better']} of {summary['cases']}"
        lines.append(f"| {step} | {gain['dsc']:+.3f} | {error} | {better} | {gain['nsd']:+.3f} |")
    return "\n".join([*lines, "", *(f"- {note}" for note in notes(summary))]) + "\n"


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print the tables."""
    from rich.console import Console
    from rich.table import Table

    head, body = _table(summary)
    title = f"{summary['name']}: {summary['cases']} cases"
    table = Table(title=title, title_justify="left")
    for place, name in enumerate(head):
        table.add_column(name, justify="left" if place == 0 else "right")
    for row in body:
        table.add_row(*row)
    console = Console()
    console.print(table)
    for step, gain in summary["gains"].items():
        error = "" if gain["standard_error"] is None else f" ± {gain['standard_error']:.3f}"
        console.print(f"{step}: DSC {gain['dsc']:+.3f}{error}, {gain['cases_better']} cases better", highlight=False)
    for note in notes(summary):
        console.print(f"- {note}", highlight=False, markup=False)


def notes(summary: Mapping[str, Any]) -> list[str]:
    """What a reader of the table has to know."""
    many = len(summary["required"])
    found = [
        f"mean: of {'all' if many == len(summary['contoured']) else 'the'} {many} structures "
        f"({', '.join(summary['required'])}), each the mean of its cases; all: of all structures that cases contour. "
        "A structure is scored only in the cases that contour it: "
        + ", ".join(f"{name} {count}" for name, count in summary["contoured"].items())
        + f". Smallest: {', '.join(summary['smallest'])}.",
        "Rows 1 to 3 are the pair alone on every slice, without post-processing. Row 1 has had as many steps with "
        "labels as row 2, from the same weights and on the same slices.",
        "Minutes of training are those of all stages that a row needs, one after the other, shared ones counted in "
        "each.",
    ]
    if pseudo := summary["pseudo_labels"]:
        text = f"Pseudo-labels: {pseudo['accepted']} of {pseudo['judged']} cases accepted"
        known = {kind: pseudo[f"dice_of_{kind}"] for kind in ("accepted", "rejected")}
        said = [f"{value:.3f} for {kind} ones" for kind, value in known.items() if value is not None]
        text += f"; their Dice with the labels that were hidden: {', '.join(said)}" if said else ""
        scores = ", ".join("–" if one is None else f"{one:.3f}" for one in pseudo["validation"])
        found.append(f"{text}. Ended: {pseudo['ended']}. Dice of the models on other validation cases: {scores}.")
    return found + list(summary["notes"])


def _table(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and lines: a column for each row of the ablation, since there are more structures than rows."""
    rows = summary["rows"].values()
    head = ["DSC (NSD)", *(f"{row} {one['name']}" for row, one in summary["rows"].items())]
    body = [
        [title, *(_cell(one[group]["dsc"], one[group]["nsd"]) for one in rows)]
        for group, title in (("mean", "mean"), ("all", "all"), ("smallest", "smallest"))
    ]
    for name, count in summary["contoured"].items():
        if count:
            body.append([name, *(_cell(one["dsc"].get(name), one["nsd"].get(name)) for one in rows)])
    body.append(["training, min", *(f"{one['seconds']['training'] / 60:.0f}" for one in rows)])
    body.append(["a case, s", *(f"{one['seconds']['case']:.1f}" for one in rows)])
    return head, body


def _cell(dsc: float | None, nsd: float | None) -> str:
    return "–" if dsc is None or nsd is None else f"{dsc:.3f} ({nsd:.3f})"


def draw(summary: Mapping[str, Any], path: Path) -> None:
    """Bars of DSC and NSD by structure and row, as a PNG (whole or not at all)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    structures = [name for name, count in summary["contoured"].items() if count]
    names = [*structures, "mean"]
    places = [*range(len(structures)), len(structures) + 0.5]
    figure = Figure(figsize=(max(7.0, 1.15 * len(names) + 1), 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 1, sharex=True)
    rows = summary["rows"]
    width = 0.84 / max(1, len(rows))
    for panel, kind in zip(panels, ("dsc", "nsd"), strict=True):
        for place, (row, one) in enumerate(rows.items()):
            values = [one[kind].get(name, 0.0) for name in structures] + [one["mean"][kind] or 0.0]
            shift = (place - (len(rows) - 1) / 2) * width
            label = f"{row} {one['name']}: {one['mean'][kind]:.3f}"
            xs = [x + shift for x in places]
            panel.bar(xs, values, 0.94 * width, color=_COLOURS[int(row)], label=label)
        panel.set_ylabel(kind.upper())
        panel.set_ylim(0, 1)
        panel.grid(axis="y", alpha=0.25)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(ncols=2, frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    panels[1].set_xticks(places, [name.replace("_", "\n") for name in names], fontsize=9)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
