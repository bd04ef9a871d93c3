"""Results of the propagation benchmark: one line per structure as they come, tables of means at the end."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tools.benchmark.lines import LineFile
from tools.files import whole_file, write_json

OURS = "keyslice"
OURS_WITHOUT_MARKS = "keyslice-no-marks"
THREE_TOOLS = ("nearest", "shape", "morphological")
NAMES = {
    OURS: "Keyslice",
    OURS_WITHOUT_MARKS: "Keyslice, no marks",
    "nearest": "nearest copy",
    "shape": "shape-based interpolation",
    "morphological": "morphological contour interpolation",
    "shape+ends": "shape-based, ends copied",
    "morphological+ends": "morphological, ends copied",
}


@dataclass(frozen=True)
class Record:
    """One structure of one case, one method, one number of key slices.

    Attributes:
        dice: over the whole volume, key slices included.
        beyond: share of the labelled voxels that lie beyond the structure's true extent in z.
        seconds: time of this structure; where one call carries all structures, an equal share of it.
        model: digest of the weights and settings, "" for classical methods.
    """

    set: str
    case: str
    label: int
    structure: str
    method: str
    n: int
    dice: float
    beyond: float
    seconds: float
    slices: tuple[int, ...]
    model: str = ""

    @property
    def key(self) -> tuple[str, str, int, str, int, str]:
        """What has to be computed only once."""
        return self.set, self.case, self.label, self.method, self.n, self.model


class RecordFile(LineFile[Record]):
    """The file of the propagation benchmark."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Record)


def summarize(records: Sequence[Record]) -> dict[str, Any]:
    """Means over structures, as `{set: {"structures": n, "dice": {method: {n: dice}}, ...}}`.

    Per set also `by_structure` (the same by structure name), `beyond` (mean share beyond the true
    extent, ours only), `seconds` (sum) and `targets`: our Dice less nearest copy's at one key slice, and
    less the best of the three tools at every other number; `over_all_tools` counts the tools with copied
    ends as well.
    """
    summary: dict[str, Any] = {}
    for name in dict.fromkeys(record.set for record in records):
        of_set = [record for record in records if record.set == name]
        dice = _means(of_set, "dice")
        structures = sorted({record.structure for record in of_set})
        summary[name] = {
            "structures": len({(record.case, record.label) for record in of_set}),
            "dice": dice,
            "beyond": _means([record for record in of_set if record.method.startswith(OURS)], "beyond"),
            "seconds": {
                method: round(sum(record.seconds for record in of_set if record.method == method), 2) for method in dice
            },
            "by_structure": {
                one: _means([record for record in of_set if record.structure == one], "dice") for one in structures
            },
            "targets": _gains(dice, THREE_TOOLS),
            "over_all_tools": _gains(dice, tuple(method for method in dice if not method.startswith(OURS))),
        }
    return summary


def _means(records: Sequence[Record], value: str) -> dict[str, dict[str, float]]:
    values: dict[str, dict[str, list[float]]] = {}
    for record in records:
        values.setdefault(record.method, {}).setdefault(str(record.n), []).append(getattr(record, value))
    order = [method for method in NAMES if method in values] + [m for m in values if m not in NAMES]
    return {
        method: {n: round(sum(v) / len(v), 4) for n, v in sorted(values[method].items(), key=_number)}
        for method in order
    }


def _number(item: tuple[str, Any]) -> int:
    return int(item[0])


def _gains(dice: dict[str, dict[str, float]], tools: Sequence[str]) -> dict[str, float]:
    """Our Dice less nearest copy's at one key slice, less the best tool's at more."""
    gains = {}
    for n, ours in dice.get(OURS, {}).items():
        others = [dice[tool][n] for tool in (("nearest",) if n == "1" else tools) if n in dice.get(tool, {})]
        if others:
            gains[n] = round(ours - max(others), 4)
    return gains


def counts_of(summary: dict[str, Any]) -> list[str]:
    """Numbers of key slices in a summary, rising."""
    every = {n for one in summary.values() for of in one["dice"].values() for n in of}
    return sorted(every, key=int)


def markdown(summary: dict[str, Any], notes: dict[str, str]) -> str:
    """The summary as Markdown: the means per set, what was gained, and each structure by name."""
    counts = counts_of(summary)
    head = "| set | structures | method | " + " | ".join(counts) + " |"
    lines = ["Mean Dice over structures, by the number of key slices for each structure.", ""]
    lines += [head, "|---|---|---|" + "---|" * len(counts)]
    for name, one in summary.items():
        note = f" ({notes[name]})" if notes.get(name) else ""
        for method, values in one["dice"].items():
            cells = " | ".join(_cell(values.get(n)) for n in counts)
            lines.append(f"| {name}{note} | {one['structures']} | {NAMES.get(method, method)} | {cells} |")
    for key, opponent in (("targets", "three"), ("over_all_tools", "all")):
        if any(one[key] for one in summary.values()):
            lines += ["", f"Keyslice less nearest copy (1), less the best of {opponent} tools (more).", ""]
            lines += ["| set | " + " | ".join(counts) + " |", "|---|" + "---|" * len(counts)]
            for name, one in summary.items():
                cells = " | ".join(_cell(one[key].get(n), sign=True) for n in counts)
                lines.append(f"| {name} | {cells} |")
    if any(OURS_WITHOUT_MARKS in one["beyond"] for one in summary.values()):
        lines += ["", "Without marks: share of the labelled voxels beyond the structure's true extent.", ""]
        lines += ["| set | " + " | ".join(counts) + " |", "|---|" + "---|" * len(counts)]
        for name, one in summary.items():
            shares = one["beyond"].get(OURS_WITHOUT_MARKS, {})
            lines.append(f"| {name} | " + " | ".join(_cell(shares.get(n)) for n in counts) + " |")
    lines += ["", "By structure:", "", "| set | structure | method | " + " | ".join(counts) + " |"]
    lines.append("|---|---|---|" + "---|" * len(counts))
    for name, one in summary.items():
        for structure, of in one["by_structure"].items():
            for method, values in of.items():
                cells = " | ".join(_cell(values.get(n)) for n in counts)
                lines.append(f"| {name} | {structure} | {NAMES.get(method, method)} | {cells} |")
    return "\n".join(lines) + "\n"


def write_all(out: Path, records: Sequence[Record], summary: dict[str, Any], about: dict[str, Any]) -> None:
    """Write `results.json`, `structures.csv` and `results.md` into `out`, each whole or not at all."""
    write_json(out / "results.json", {"about": about, "sets": summary})
    names = [field.name for field in fields(Record)]
    with whole_file(out / "structures.csv") as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for record in records:
            writer.writerow({**asdict(record), "slices": " ".join(str(z) for z in record.slices)})
    with whole_file(out / "results.md") as temporary:
        temporary.write_text(markdown(summary, about.get("notes", {})), encoding="utf-8")


def print_summary(summary: dict[str, Any]) -> None:
    """Print one table per set."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    counts = counts_of(summary)
    for name, one in summary.items():
        table = Table(title=f"{name}: {one['structures']} structures, mean Dice", title_justify="left")
        table.add_column("key slices for each structure")
        for n in counts:
            table.add_column(n, justify="right")
        for method, values in one["dice"].items():
            table.add_row(NAMES.get(method, method), *(_cell(values.get(n)) for n in counts))
        if one["targets"]:
            table.add_section()
            for key, opponent in (("targets", "three"), ("over_all_tools", "all")):
                gains = (_cell(one[key].get(n), sign=True) for n in counts)
                table.add_row(f"Keyslice less nearest (1), best of {opponent} (more)", *gains)
        shares = one["beyond"].get(OURS_WITHOUT_MARKS)
        if shares:
            table.add_row("no marks: voxels beyond the extent", *(_cell(shares.get(n)) for n in counts))
        console.print(table)


def _cell(value: float | None, sign: bool = False) -> str:
    return "–" if value is None else f"{value:+.3f}" if sign else f"{value:.3f}"
