"""The report of a run over many cases: `report.json` with all of it, `report.csv` a row a case, `report.html` to see.

The cases to look at first come first: by the lowest confidence of a structure on a slice, or the lowest score.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.batch.tasks import STATE, details_path
from tools.files import whole_file

if TYPE_CHECKING:
    from tools.batch.run import Finished, Plan

REPORT, TABLE, PAGE = "report.json", "report.csv", "report.html"
_COLUMNS = ("case", "state", "score", "structure", "slice", "seconds", "attempts", "memory_mb", "warnings", "error")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Row:
    """What the table says of a case.

    Attributes:
        name: of the case.
        error: why there is no result, None where there is one.
        line: what the manifest says of the result; empty where there is none.
        thumbnail: the picture, None if there is none.
        annotate: arguments of `keyslice annotate` that open it; none where it cannot be opened.
    """

    name: str
    error: str | None
    line: dict[str, Any]
    thumbnail: Path | None
    annotate: list[str]

    @property
    def brief(self) -> dict[str, Any]:
        """What `Work.brief` said; empty where there is no result."""
        found: dict[str, Any] = self.line.get("brief", {})
        return found

    @property
    def score(self) -> float | None:
        """In [0, 1], the lowest first to be looked at."""
        return self.brief.get("score")


def write_reports(folder: Path, plan: Plan, finished: Finished, also: Path | None = None) -> Path:
    """Write the three files into the folder of the results; returns the page.

    Args:
        also: where the JSON goes besides.
    """
    from tools.batch.review import write_page

    for path in {folder / REPORT, also or folder / REPORT}:
        _write_json(path, folder / STATE, finished)
    rows = sorted_rows(plan, finished)
    _write_table(folder / TABLE, rows)
    write_page(folder / PAGE, plan, finished, rows)
    return folder / PAGE


def sorted_rows(plan: Plan, finished: Finished) -> list[Row]:
    """Failed cases, then those that nothing is known of, then by score."""
    cases = {case.name: case for case in plan.cases}
    rows = []
    for name in {*finished.done, *finished.failed}:
        case = cases.get(name)
        picture = None if case is None else case.thumbnail
        there = picture is not None and name in finished.done and picture.exists()
        annotate = [] if case is None or name not in finished.done else case.annotate_arguments()
        line = finished.done.get(name, {})
        rows.append(Row(name, finished.failed.get(name), line, picture if there else None, annotate))
    return sorted(rows, key=lambda row: (row.error is None, -1.0 if row.score is None else row.score, row.name))


def _write_json(path: Path, state: Path, finished: Finished) -> None:
    """All of it but the confidence of each slice, a case a line: ten thousand cases do not fit into memory."""
    head = {**finished.facts, "kept": finished.kept}
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(_dump(head, indent=2).rstrip("}\n") + ',\n  "cases": {\n')
        for index, text in enumerate(_entries(state, finished)):
            file.write((",\n" if index else "") + "    " + text)
        file.write('\n  },\n  "failed": ' + _dump(dict(sorted(finished.failed.items()))) + "\n}\n")


def _entries(state: Path, finished: Finished) -> Iterator[str]:
    for name in sorted(finished.done):
        entry = json.loads(details_path(state, name).read_text(encoding="utf-8"))
        for one in entry.get("labels", {}).values():
            (one.get("confidence") or {}).pop("per_slice", None)
        yield f"{_dump(name)}: {_dump(entry)}"


def _dump(content: object, indent: int | None = None) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=indent)


def _write_table(path: Path, rows: list[Row]) -> None:
    extra = list(dict.fromkeys(name for row in rows for name in row.brief.get("facts", {})))
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*_COLUMNS, *extra])
        for row in rows:
            line, brief = row.line, row.brief
            memory = line.get("memory")
            cells = [
                row.name,
                "failed" if row.error else "done",
                row.score,
                brief.get("structure"),
                brief.get("slice"),
                line.get("seconds"),
                line.get("attempt"),
                None if memory is None else round(memory / 1e6),
                "; ".join(line.get("warnings", ())),
                row.error,
                *(brief.get("facts", {}).get(name) for name in extra),
            ]
            writer.writerow([_harmless(cell) for cell in cells])


def _harmless(cell: object) -> object:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
