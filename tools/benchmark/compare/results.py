"""What came of the comparison: means by method and structure, what it cost; tables for people and programs."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.benchmark.compare.cases import CaseLine
from tools.benchmark.means import by_structure, mean_of
from tools.files import whole_file, write_json
from volumes.labels import LabelTable

_NONE = "–"


@dataclass(frozen=True)
class Contestant:
    """What is known of a method beside its scores.

    Attributes:
        title: what it is called in tables.
        parameters: of all its networks.
        training: seconds; None: not known.
        gain: of a recipe over its own supervised start, mean Dice on the validation cases.
    """

    title: str
    parameters: int
    training: float | None
    gain: float | None = None


@dataclass(frozen=True)
class About:
    """What the tables say beside the methods.

    Attributes:
        name: of the configuration.
        table: the structures.
        required: labels whose mean methods are compared by.
        labelled, unlabelled: numbers of training cases.
        machine: what it ran on.
        notes: what a reader has to know.
    """

    name: str
    table: LabelTable
    required: Sequence[int]
    labelled: int
    unlabelled: int
    machine: str
    notes: Sequence[str] = field(default_factory=tuple)


def summarize(
    lines: Mapping[str, Sequence[CaseLine]], contestants: Mapping[str, Contestant], about: About
) -> dict[str, Any]:
    """Means over cases for each structure, over structures of these, and over cases of what it cost.

    Returns:
        `{"methods": {name: {"title", "dsc": {structure: mean}, "nsd": {...}, "mean": {"dsc", "nsd"}, "all": {...},
        "seconds", "peak_mb", "memory_area", "cpu_area", "gpu_peak_mb", "gpu_area", "training_hours", "parameters",
        "gain", "failed": {case: why}, "worst": case}}, ...}`; `mean` is that of the required structures, `peak_mb` and
        `gpu_peak_mb` are of the worst case, the other costs means.
    """
    names = about.table.name_of
    found: dict[str, Any] = {
        "name": about.name,
        "cases": max((len(of) for of in lines.values()), default=0),
        "labelled": about.labelled,
        "unlabelled": about.unlabelled,
        "required": [names(label) for label in about.required],
        "machine": about.machine,
        "notes": list(about.notes),
        "methods": {},
    }
    for name, of in lines.items():
        means = {kind: by_structure(of, kind, about.table) for kind in ("dsc", "nsd")}
        one = contestants[name]
        found["methods"][name] = {
            "title": one.title,
            **{kind: {names(label): round(value, 4) for label, value in means[kind].items()} for kind in means},
            "mean": {kind: mean_of(means[kind], about.required) for kind in means},
            "all": {kind: mean_of(means[kind], tuple(about.table)) for kind in means},
            **{key: round(statistics.fmean(getattr(line, key) for line in of), 1) for key in _MEANS},
            **{key: max(getattr(line, key) for line in of) for key in ("peak_mb", "gpu_peak_mb")},
            "training_hours": None if one.training is None else round(one.training / 3600, 5),
            "parameters": one.parameters,
            "gain": one.gain,
            "failed": {line.case: line.error for line in of if line.error is not None},
            "worst": min(of, key=lambda line: (statistics.fmean(line.dsc), line.case)).case,
        }
    return found


_MEANS = ("seconds", "memory_area", "cpu_area", "gpu_area")


def write_all(
    out: Path, lines: Mapping[str, Sequence[CaseLine]], summary: Mapping[str, Any], table: LabelTable
) -> None:
    """Write `results.json`, `results.md`, `methods.csv` and `cases.csv`, each whole or not at all."""
    write_json(out / "results.json", dict(summary))
    with whole_file(out / "results.md") as temporary:
        temporary.write_text(markdown(summary), encoding="utf-8")
    head, body = costs(summary)
    _write_csv(out / "methods.csv", [head, *body])
    rows: list[Sequence[Any]] = [("method", "case", "label", "structure", "dsc", "nsd", "seconds", "peak_mb", "error")]
    for name, of in lines.items():
        for line in of:
            for label, dsc, nsd in zip(line.labels, line.dsc, line.nsd, strict=True):
                structure = table.name_of(label)
                rows.append((name, line.case, label, structure, dsc, nsd, line.seconds, line.peak_mb, line.error or ""))
    _write_csv(out / "cases.csv", rows)


def _write_csv(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def costs(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the main table; columns of the GPU only where one was used."""
    methods = summary["methods"].values()
    with_gpu = any(one["gpu_peak_mb"] for one in methods)
    head = ["method", "DSC", "NSD", "DSC, all", "s a case", "peak MB", "MB s", "CPU % s"]
    head += ["GPU peak MB", "GPU MB s"] if with_gpu else []
    head += ["training h", "parameters, M", "gain over start", "failed"]
    body = []
    for one in methods:
        row = [one["title"], *(_score(one["mean"][kind]) for kind in ("dsc", "nsd")), _score(one["all"]["dsc"])]
        row += [f"{one['seconds']:.1f}", f"{one['peak_mb']:.0f}", f"{one['memory_area']:.0f}", f"{one['cpu_area']:.0f}"]
        row += [f"{one['gpu_peak_mb']:.0f}", f"{one['gpu_area']:.0f}"] if with_gpu else []
        hours, gain = one["training_hours"], one["gain"]
        row += [_NONE if hours is None else f"{hours:.2f}", f"{one['parameters'] / 1e6:.2f}"]
        row += [_NONE if gain is None else f"{gain:+.3f}", str(len(one["failed"]))]
        body.append(row)
    return head, body


def structures(summary: Mapping[str, Any], kind: str = "dsc") -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table by structure: methods side by side would be too wide."""
    names = list(dict.fromkeys(name for one in summary["methods"].values() for name in one[kind]))
    body = [[one["title"], *(_score(one[kind].get(name)) for name in names)] for one in summary["methods"].values()]
    return ["method", *names], body


def markdown(summary: Mapping[str, Any]) -> str:
    """All tables of the summary."""
    lines = [
        f"{summary['name']}: {summary['cases']} cases; trained with {summary['labelled']} labelled and "
        f"{summary['unlabelled']} unlabelled cases. {summary['machine']}",
        "",
        *_rows(*costs(summary)),
    ]
    for kind, title in (("dsc", "DSC"), ("nsd", "NSD")):
        lines += ["", f"{title} by structure.", "", *_rows(*structures(summary, kind))]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes(summary))]) + "\n"


def _rows(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    rows = [head, ["---"] * len(head), *body]
    return ["| " + " | ".join(row) + " |" for row in rows]


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print the tables: each method a column, so that they fit a terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    head, body = costs(summary)
    table = Table(title=f"{summary['name']}: {summary['cases']} cases", title_justify="left")
    for place, row in enumerate([head, *body]):
        table.add_column(row[0], justify="right" if place else "left", overflow="fold")
    for place in range(1, len(head)):
        table.add_row(head[place], *(row[place] for row in body))
    table.add_section()
    names, rows = structures(summary)
    for place in range(1, len(names)):
        table.add_row(names[place], *(row[place] for row in rows))
    console.print(table)
    for note in notes(summary):
        console.print(f"- {note}", highlight=False, markup=False)


def notes(summary: Mapping[str, Any]) -> list[str]:
    """What a reader of the table has to know."""
    found = [
        f"DSC and NSD: mean of {', '.join(summary['required'])}, each the mean of the cases that contour it; "
        "DSC, all: of all structures. By the official rules of FLARE22, roles and tolerances as in the label table.",
        "Seconds, memory and processor use are those of the command that labels a case, start-up included, sampled "
        "every 0.1 s; peak MB of the worst case, memory that processes share counted in each; MB s the area under "
        "the curve of memory, CPU % s that under the curve of processor use, GPU MB s that above 2,048 MB.",
        "Gain over start: mean Dice of all structures on the validation cases that are not of this table, from the "
        "supervised start to what the recipe ends with, its post-processing included.",
    ]
    for one in summary["methods"].values():
        found += [f"{one['title']} failed on {case}, which counts 0: {why}" for case, why in one["failed"].items()]
    return [*found, *summary["notes"]]


def _score(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}"
