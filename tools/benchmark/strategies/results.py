"""Results of the comparison of strategies: means over structures, what each gains over the paper's, tables."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.files import whole_file, write_json
from volumes.labels import LabelTable

ALONE, EVERY_SLICE = "the pair alone", "every slice"
ONCE, ASKED, BLENDED = "once", "asked again", "blended"
WAYS = (ONCE, ASKED, BLENDED)
PAPER = "largest_area"


@dataclass(frozen=True)
class StrategyLine:
    """One strategy on one case, at one of `WAYS`.

    Attributes:
        labels: structures that the case contours.
        dice: of each of them, on the whole volume.
        key_slices: how many there were.
        seen: slices that the pair has looked at.
        seconds: from the volume to the label map.
        model: digest of the weights, the settings and the case's files.
        failed: there is no result; the Dice are 0.
    """

    strategy: str
    way: str
    case: str
    labels: tuple[int, ...]
    dice: tuple[float, ...]
    key_slices: int
    seen: int
    seconds: float
    model: str
    failed: bool = False

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What has to be computed only once."""
        return self.strategy, self.way, self.case, self.model


@dataclass(frozen=True)
class About:
    """What the tables say beside the scores.

    Attributes:
        table: the structures.
        required: labels that have a mean of their own; may be none.
        requery: slices that were looked at again, at most.
        failed: cases, and why.
    """

    table: LabelTable
    required: Sequence[int]
    requery: int
    failed: Mapping[str, str] = field(default_factory=dict)


def summarize(lines: Sequence[StrategyLine], about: About) -> dict[str, Any]:
    """Means over the cases that contour a structure, and over structures of these.

    Returns:
        `{"rows": {strategy: {way: {"dice", "required", "structures": {name: mean}, "key_slices", "seen", "seconds"}}},
        "gains": {strategy: {way: {"dice", "standard_error", "cases_better"}}}, "cases", "contoured", "failed", ...}`.
        A gain is the mean over cases of the difference to `largest_area` in the case's mean Dice.
    """
    by_row: dict[tuple[str, str], list[StrategyLine]] = {}
    for line in lines:
        by_row.setdefault((line.strategy, line.way), []).append(line)
    first = next(iter(by_row.values()), [])
    names = about.table.name_of
    found: dict[str, Any] = {
        "cases": len(first),
        "contoured": {names(label): sum(label in line.labels for line in first) for label in about.table},
        "required": [names(label) for label in about.required],
        "requery": about.requery,
        "failed": dict(about.failed),
        "rows": {},
        "gains": {},
    }
    for (strategy, way), of_row in by_row.items():
        found["rows"].setdefault(strategy, {})[way] = _row(of_row, about)
        if strategy not in (PAPER, ALONE) and (PAPER, way) in by_row:
            found["gains"].setdefault(strategy, {})[way] = _gain(by_row[PAPER, way], of_row)
    return found


def _row(lines: Sequence[StrategyLine], about: About) -> dict[str, Any]:
    values: dict[int, list[float]] = {}
    for line in lines:
        for label, value in zip(line.labels, line.dice, strict=True):
            values.setdefault(label, []).append(value)
    means = {label: statistics.fmean(values[label]) for label in about.table if label in values}
    worked = [line for line in lines if not line.failed]

    def mean(of: str) -> float | None:
        return round(statistics.fmean(getattr(line, of) for line in worked), 2) if worked else None

    required = [means[label] for label in about.required if label in means]
    return {
        "dice": round(statistics.fmean(means.values()), 4) if means else None,
        "required": round(statistics.fmean(required), 4) if required else None,
        "structures": {about.table.name_of(label): round(one, 4) for label, one in means.items()},
        **{name: mean(name) for name in ("key_slices", "seen", "seconds")},
    }


def _gain(paper: Sequence[StrategyLine], lines: Sequence[StrategyLine]) -> dict[str, Any]:
    gains = [
        statistics.fmean(new.dice) - statistics.fmean(old.dice)
        for old, new in zip(paper, lines, strict=True)
        if new.dice
    ]
    error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else None
    return {
        "dice": round(statistics.fmean(gains), 4),
        "standard_error": None if error is None else round(error, 4),
        "cases_better": sum(one > 0 for one in gains),
    }


def write_all(out: Path, lines: Sequence[StrategyLine], summary: dict[str, Any], about: About) -> None:
    """Write `results.json`, `results.md` and `structures.csv`, each whole or not at all."""
    write_json(out / "results.json", summary)
    with whole_file(out / "results.md") as temporary:
        temporary.write_text(markdown(summary), encoding="utf-8")
    with whole_file(out / "structures.csv") as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        head = ["strategy", "way", "case", "label", "structure", "dice", "key_slices", "seen", "seconds", "failed"]
        writer.writerow([*head, "model"])
        for one in lines:
            rest = (one.key_slices, one.seen, one.seconds, int(one.failed), one.model)
            for label, dice in zip(one.labels, one.dice, strict=True):
                writer.writerow([one.strategy, one.way, one.case, label, about.table.name_of(label), dice, *rest])


def table_of(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of means."""
    short = bool(summary["required"])
    head = ["key slices", "way", f"Dice of {len(_there(summary))}"]
    head += [f"of {len(summary['required'])}"] if short else []
    head += ["against largest_area", "key slices", "slices seen", "s"]
    rows = []
    for strategy, ways in summary["rows"].items():
        for way, one in ways.items():
            gain = summary["gains"].get(strategy, {}).get(way)
            rows.append(
                [
                    strategy,
                    way,
                    _number(one["dice"]),
                    *([_number(one["required"])] if short else []),
                    "" if gain is None else _gained(gain, summary["cases"]),
                    _number(one["key_slices"], 1) if way != EVERY_SLICE else "",
                    _number(one["seen"], 0),
                    _number(one["seconds"], 1),
                ]
            )
    return head, rows


def markdown(summary: Mapping[str, Any]) -> str:
    """The tables of the summary."""
    head, rows = table_of(summary)
    lines = [*_as_table(head, rows), "", "By structure, in the last way:", ""]
    names = _there(summary)
    last = [
        [strategy, *(_number(list(ways.values())[-1]["structures"].get(name)) for name in names)]
        for strategy, ways in summary["rows"].items()
    ]
    lines += _as_table(["key slices", *(name.replace("_", " ") for name in names)], last)
    return "\n".join([*lines, "", *(f"- {note}" for note in notes(summary))]) + "\n"


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print the table of means, and what has to be known."""
    from rich.console import Console
    from rich.table import Table

    head, rows = table_of(summary)
    table = Table(title=f"{summary['cases']} cases, mean Dice", title_justify="left")
    for place, name in enumerate(head):
        table.add_column(name, justify="left" if place < 2 else "right")
    before = None
    for row in rows:
        if before not in (None, row[0]):
            table.add_section()
        before = row[0]
        table.add_row(*row)
    console = Console()
    console.print(table)
    for note in notes(summary):
        console.print(f"- {note}", highlight=False, markup=False)


def notes(summary: Mapping[str, Any]) -> list[str]:
    """What a reader of the table has to know."""
    counts = ", ".join(f"{name} {count}" for name, count in summary["contoured"].items() if count)
    required = f"; {len(summary['required'])}: {', '.join(summary['required'])}" if summary["required"] else ""
    found = [
        f"Mean over structures of the mean over the cases that contour each ({counts}){required}.",
        f"{ONCE}: the strategy's key slices, carried to all slices. {ASKED}: then at most {summary['requery']} slices "
        f"more where a structure is missed or in doubt. {BLENDED}: then averaged with what the pair says of every "
        "slice. The seconds of each way include those before it.",
        "Against largest_area: mean difference over cases, its standard error, cases that are better.",
    ]
    found += [f"failed, counted as 0: {case}: {reason}" for case, reason in summary["failed"].items()]
    return found


def _there(summary: Mapping[str, Any]) -> list[str]:
    """Structures that a case contours."""
    return [name for name, count in summary["contoured"].items() if count]


def _as_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "|---|" + "---|" * (len(head) - 1),
        *("| " + " | ".join(r) + " |" for r in rows),
    ]


def _gained(gain: Mapping[str, Any], cases: int) -> str:
    error = "" if gain["standard_error"] is None else f" ± {gain['standard_error']:.3f}"
    return f"{gain['dice']:+.3f}{error}, {gain['cases_better']} of {cases}"


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
