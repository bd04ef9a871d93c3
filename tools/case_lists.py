"""Cases as a list: a CSV or JSON file with a row for each, for data that does not lie in one folder.

Columns `case` (a name, optional), `input`, `keys`, `extents`, and for scores `reference` and `prediction`; others are
the person's own. Paths are absolute or start at the list's folder. A JSON file holds a list of objects with the same
names.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.cases import CHANNEL, WRITTEN_AS, Case
from tools.files import ALL_LABEL_SUFFIXES, LABEL_SUFFIXES, stem_of, suffix_of
from volumes.errors import InputError

LIST_SUFFIXES = (".csv", ".tsv", ".json")


@dataclass(frozen=True)
class Row:
    """A case of a list.

    Attributes:
        name: of the case; a plain file name.
        paths: by column.
    """

    name: str
    paths: dict[str, Path]


def is_list(path: Path) -> bool:
    """Whether a list of cases is meant."""
    return suffix_of(path, LIST_SUFFIXES) is not None and not path.is_dir()


def listed_cases(path: Path, output: Path, *, keys: bool = False) -> tuple[list[Case], dict[str, InputError]]:
    """The cases of a list.

    Args:
        output: the folder of the results.
        keys: whether a case has key slices.

    Returns:
        The cases sorted by name, and for each that cannot be run what is wrong with it.

    Raises:
        InputError: no such file, no list, or one without a column that is needed.
    """
    rows, unusable = read_rows(path, ("input", "keys") if keys else ("input",), ("extents",) if keys else ())
    cases = []
    for row in rows:
        ct, given = row.paths["input"], row.paths.get("keys")
        like, known = (ct, LABEL_SUFFIXES) if given is None else (given, ALL_LABEL_SUFFIXES)
        suffix = (suffix_of(like, known) if not like.is_dir() else None) or ".nii.gz"
        place = output / f"{row.name}{WRITTEN_AS.get(suffix, suffix)}"
        cases.append(Case(row.name, ct, given, place, extents=row.paths.get("extents")))
    return cases, unusable


def read_rows(
    path: Path, needed: Sequence[str], optional: Sequence[str] = ()
) -> tuple[list[Row], dict[str, InputError]]:
    """The rows of a list, sorted by name, and by name what is wrong with others.

    Raises:
        InputError: no such file, no list, or one without a column that is needed.
    """
    rows = _rows(path)
    for column in needed:
        if not any(column in row for row in rows):
            raise InputError(
                path,
                found=f"no column '{column}'" if rows else "no row",
                expected=f"rows with the columns {', '.join(needed)} (and case, {', '.join(optional)} if you like)"
                if optional
                else f"rows with the columns {', '.join(needed)} (and case if you like)",
                fix="name the columns in the first line (CSV) or in each object (JSON)",
            )
    found: list[Row] = []
    unusable: dict[str, InputError] = {}
    for number, row in enumerate(rows, start=1):
        name = row.get("case") or _stem(row.get(needed[0], ""))
        try:
            found.append(Row(name, _paths(path, number, name, row, needed, optional)))
        except InputError as error:
            unusable[name or f"row {number}"] = error
    for name, count in Counter(row.name for row in found).items():
        if count > 1:
            unusable[name] = InputError(
                path,
                found=f"{count} rows for the case {name}",
                expected="a name of its own for each case",
                fix="give them names in the column 'case'",
            )
    return sorted((row for row in found if row.name not in unusable), key=lambda row: row.name), unusable


def _paths(
    path: Path, number: int, name: str, row: dict[str, str], needed: Sequence[str], optional: Sequence[str]
) -> dict[str, Path]:
    where = f"{path}, row {number}"
    if not name or name != Path(name).name or name.startswith(".") or "\0" in name or len(name.encode()) > 200:
        raise InputError(
            where, found=f"the case name '{name}'", expected="a plain file name", fix="name it in the column 'case'"
        )
    paths = {}
    for column in (*needed, *optional):
        text = row.get(column, "")
        if text:
            paths[column] = path.parent / text
        elif column in needed:
            raise InputError(where, found=f"nothing in '{column}'", expected="a path", fix="fill it in, or take it out")
    return paths


def _stem(text: str) -> str:
    name = stem_of(Path(text)) if text else ""
    return name.removesuffix(CHANNEL) or name


def _rows(path: Path) -> list[dict[str, str]]:
    """Rows as text by column, columns without a value left out."""
    if not path.is_file():
        raise InputError(path, found="no such file", expected="a list of cases", fix="check the path")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            return _objects(path, json.loads(text))
        head = text.split("\n", 1)[0]
        delimiter = max(",;\t", key=head.count)
        rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        return [
            {column.strip().lower(): value.strip() for column, value in row.items() if column and value} for row in rows
        ]
    except (ValueError, csv.Error) as error:
        raise InputError(
            path,
            found=f"no list of cases ({error})",
            expected="CSV with column names in its first line, or a JSON list of objects, in UTF-8",
            fix="correct the file",
        ) from None


def _objects(path: Path, content: object) -> list[dict[str, str]]:
    rows = content.get("cases") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("not a list of objects")
    texts = []
    for row in rows:
        kept = {str(column).strip().lower(): value for column, value in row.items() if value is not None}
        texts.append({column: str(value).strip() for column, value in kept.items() if isinstance(value, (str, int))})
    return texts
