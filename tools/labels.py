"""`keyslice labels`: the label tables that are built in, and what a table says."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text


def labels_command(table: str | None, *, as_json: bool) -> None:
    """List the built-in tables, or the entries of one: a built-in name or a YAML file."""
    from volumes.labels import LabelTable, builtin_tables

    if table is None:
        names = builtin_tables()
        print(json.dumps(names) if as_json else "\n".join(names))
        return
    entries = LabelTable.read(table)
    labels = list(entries.values())
    if as_json:
        rows = [
            {
                "value": label.value,
                "name": label.name,
                "color": list(label.color),
                "role": label.role,
                "tolerance_mm": label.tolerance_mm,
                "snomed": None if label.snomed is None else asdict(label.snomed),
            }
            for label in labels
        ]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    shown = Table("label", "name", "colour", "NSD tolerance (mm)", "role", "SNOMED CT")
    for label in labels:
        tolerance = "" if label.tolerance_mm is None else f"{label.tolerance_mm:g}"
        swatch = Text("██ ", style=f"rgb({','.join(map(str, label.color))})")
        code = "#{:02x}{:02x}{:02x}".format(*label.color)
        swatch.append(code, style="default")
        known = label.snomed
        meaning = "" if known is None else " ".join(filter(None, (known.code, known.meaning, known.side)))
        shown.add_row(str(label.value), label.name, swatch, tolerance, label.role or "", meaning)
    Console().print(shown)
