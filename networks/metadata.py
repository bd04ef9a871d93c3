"""What a weights file says of itself beside its tensors; read without loading torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from volumes.errors import InputError
from volumes.labels import Label, LabelTable
from volumes.snomed import Snomed


def read_metadata(path: str | Path) -> dict[str, str]:
    """What was saved beside the tensors of a `.safetensors` file.

    Raises:
        InputError: no such file, or not one of those.
    """
    path = Path(path)
    try:
        with safe_open(path, "np") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        found = "a file that is cut short, or no safetensors file" if path.exists() else "no such file"
        raise bad_file(path, found) from error


def bad_file(path: Path, found: str) -> InputError:
    """InputError for a file that holds no weights."""
    return InputError(
        path,
        found=found,
        expected="weights as .safetensors, or a .pth file with nothing but tensors",
        fix="check the path; save other checkpoints again with torch.save(network.state_dict(), path)",
    )


def plain_table(table: LabelTable) -> dict[str, Any]:
    """A label table as weights keep it, for JSON; `read_table` takes it back."""
    return {"name": table.name, "labels": [asdict(label) for label in table.values()]}


def read_table(content: Mapping[str, Any], path: Path) -> LabelTable:
    """The label table of the weights at `path`.

    Raises:
        InputError: it contradicts itself, or is empty.
    """
    try:
        labels = [
            Label(
                **{
                    **entry,
                    "color": tuple(entry["color"]),
                    "aliases": tuple(entry["aliases"]),
                    "snomed": Snomed(**entry["snomed"]) if entry.get("snomed") else None,
                }
            )
            for entry in content["labels"]
        ]
        table = LabelTable(labels, name=str(content["name"]))
    except InputError as error:
        raise _bad_table(path, str(error)) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise _bad_table(path, f"{type(error).__name__} {error}") from error
    if not table:
        raise _bad_table(path, "no label in it")
    return table


def _bad_table(path: Path, why: str) -> InputError:
    return InputError(
        path,
        found=f"a label table that cannot be read ({why})",
        expected="the table that keyslice train wrote",
        fix="choose another file, or train again",
    )
