"""Results of the interaction benchmark: curves over the number of annotated slices, and slices to reach a Dice."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tools.files import whole_file, write_json
from tools.report import how_many

GOAL = 0.90
SUGGESTED, EQUIDISTANT, RANDOM = "suggested", "equidistant", "random"
OURS = (SUGGESTED, EQUIDISTANT, RANDOM)
INTERPOLATION = ("shape", "shape+ends", "morphological+ends", "nearest")
NAMES = {
    SUGGESTED: "Keyslice, suggested slices",
    EQUIDISTANT: "Keyslice, equidistant slices",
    RANDOM: "Keyslice, random slices",
    "shape": "shape-based interpolation",
    "shape+ends": "shape-based, ends copied",
    "morphological": "morphological contour interpolation",
    "morphological+ends": "morphological, ends copied",
    "nearest": "nearest copy",
}


@dataclass(frozen=True)
class Step:
    """One case after `n` annotated slices.

    Attributes:
        structures: how many are scored.
        dice: mean over structures, whole structures, annotated slices included.
        acceptable: share of the structures' slices with a Dice of 0.9 or more.
        seconds: what this step took: choosing, painting and propagating.
        slices: those annotated so far, in the order of annotation. Fewer than `n` where none was left.
        model: digest of the weights and settings, "" for interpolation.
    """

    set: str
    case: str
    noise: str
    seed: int
    method: str
    n: int
    structures: int
    dice: float
    acceptable: float
    seconds: float
    slices: tuple[int, ...]
    model: str = ""

    @property
    def key(self) -> tuple[str, str, str, int, str, int, str]:
        """What has to be computed only once."""
        return self.set, self.case, self.noise, self.seed, self.method, self.n, self.model


def summarize(steps: Sequence[Step], budget: int) -> dict[str, Any]:
    """Means over cases, as `{set: {noise: {"cases": n, "dice": {method: {n: dice}}, ...}}}`.

    Also `acceptable` (the same), `seconds` (per case, all steps) and `to_reach`: for each method the first number of
    slices whose mean Dice is `GOAL` (`mean`), the median of the cases' own first numbers (`median`), both None if
    that takes more than `budget`, and how many cases get there (`cases`).
    """
    summary: dict[str, Any] = {}
    for name in dict.fromkeys(step.set for step in steps):
        summary[name] = {}
        for noise in dict.fromkeys(step.noise for step in steps if step.set == name):
            chosen = [step for step in steps if (step.set, step.noise) == (name, noise)]
            methods = [method for method in NAMES if any(step.method == method for step in chosen)]
            of = {method: [step for step in chosen if step.method == method] for method in methods}
            dice = {method: _means(of[method], "dice") for method in methods}
            summary[name][noise] = {
                "cases": len({step.case for step in chosen}),
                "dice": dice,
                "acceptable": {method: _means(of[method], "acceptable") for method in methods},
                "to_reach": {method: _to_reach(of[method], dice[method], budget) for method in methods},
                "seconds": {
                    method: round(sum(step.seconds for step in of[method]) / len({step.case for step in of[method]}), 2)
                    for method in methods
                },
            }
    return summary


def _means(steps: Sequence[Step], value: str) -> dict[str, float]:
    values: dict[int, list[float]] = {}
    for step in steps:
        values.setdefault(step.n, []).append(getattr(step, value))
    return {str(n): round(statistics.fmean(values[n]), 4) for n in sorted(values)}


def _to_reach(steps: Sequence[Step], means: dict[str, float], budget: int) -> dict[str, Any]:
    first = {step.case: float("inf") for step in steps}
    for step in steps:
        if step.dice >= GOAL:
            first[step.case] = min(first[step.case], step.n)
    median = statistics.median(first.values())
    return {
        "mean": min((int(n) for n, dice in means.items() if dice >= GOAL), default=None),
        "median": median if median <= budget else None,
        "cases": sum(n <= budget for n in first.values()),
    }


def markdown(summary: dict[str, Any], about: dict[str, Any]) -> str:
    """The summary as Markdown: slices to reach the goal, then both curves."""
    budget = about["budget"]
    counts = [str(n) for n in range(1, budget + 1)]
    lines = [f"Annotated slices to reach a mean Dice of {GOAL:.2f}; at most {budget} were annotated.", ""]
    lines += ["| set | annotator | method | mean over cases | median case | cases that get there | seconds a case |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, noise, one in _parts(summary):
        for method, reach in one["to_reach"].items():
            cells = (_slices(reach["mean"], budget), _slices(reach["median"], budget))
            got = f"{reach['cases']} of {one['cases']}"
            seconds = one["seconds"][method]
            lines.append(f"| {name} | {noise} | {NAMES[method]} | {' | '.join(cells)} | {got} | {seconds:.1f} |")
    for key, title in (("dice", "Mean Dice"), ("acceptable", "Share of slices acceptable as they are (Dice 0.9)")):
        lines += ["", f"{title}, by the number of annotated slices.", ""]
        lines += ["| set | annotator | method | " + " | ".join(counts) + " |", "|---|---|---|" + "---|" * budget]
        for name, noise, one in _parts(summary):
            for method, values in one[key].items():
                cells_of = " | ".join(_cell(values.get(n)) for n in counts)
                lines.append(f"| {name} | {noise} | {NAMES[method]} | {cells_of} |")
    notes = [f"{name}: {note}." for name, note in about.get("notes", {}).items() if note and name in summary]
    return "\n".join([*lines, "", *notes]).rstrip() + "\n"


def write_all(out: Path, steps: Sequence[Step], summary: dict[str, Any], about: dict[str, Any]) -> None:
    """Write `results.json`, `steps.csv` and `results.md` into `out`, each whole or not at all."""
    write_json(out / "results.json", {"about": about, "sets": summary})
    with whole_file(out / "steps.csv") as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Step)])
        writer.writeheader()
        for step in steps:
            writer.writerow({**asdict(step), "slices": " ".join(str(z) for z in step.slices)})
    with whole_file(out / "results.md") as temporary:
        temporary.write_text(markdown(summary, about), encoding="utf-8")


def print_summary(summary: dict[str, Any], budget: int) -> None:
    """Print one table per set and kind of annotator."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for name, noise, one in _parts(summary):
        title = f"{name}, {noise} annotator: {how_many(one['cases'], 'case')}, mean Dice"
        # Methods side by side: they fit into eighty columns, where a column for each number of slices would be cut.
        table = Table(title=title, title_justify="left")
        table.add_column("annotated slices")
        for method in one["dice"]:
            table.add_column(NAMES[method], justify="right")
        for n in range(1, budget + 1):
            table.add_row(str(n), *(_cell(values.get(str(n))) for values in one["dice"].values()))
        table.add_section()
        reached = (_slices(one["to_reach"][method]["mean"], budget) for method in one["dice"])
        table.add_row(f"to {GOAL:.2f}", *reached)
        console.print(table)


def _parts(summary: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(name, noise, one) for name, by_noise in summary.items() for noise, one in by_noise.items()]


def _slices(n: float | None, budget: int) -> str:
    return f"> {budget}" if n is None else f"{n:g}"


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
