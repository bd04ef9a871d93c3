"""What a training run was made with, kept in its folder: who goes on with it must mean the same run.

Checkpoints hold numbers and no names. Without a record, a run that was begun with other data, another seed or other
structures in the same order would be gone on with, or its old weights given out as new ones.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from volumes.errors import InputError

RECORD = "run.json"
"""The record, in the run's folder."""

_NAMED = 4  # differences named in one error
_LONGEST = 80  # characters of a value in an error


def check_record(out: Path, made_with: Mapping[str, Any]) -> None:
    """See that the run in `out` was made with the same.

    Args:
        made_with: plain values and mappings of them, as `keep_record` got them.

    Raises:
        InputError: it was made with something else, which the error names, or does not say with what.
    """
    path = out / RECORD
    fix = "choose another --out, or delete the folder to begin anew"
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            path,
            found="no record of what the run was made with",
            expected=f"one beside its {out.name}/checkpoints",
            fix=fix,
        ) from error
    if differences := list(_differences(before, _plain(made_with))):
        more = len(differences) - _NAMED
        told = "; ".join(differences[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
        raise InputError(
            out, found=f"a run of something else: {told}", expected="one of the same data, settings and start", fix=fix
        )


def keep_record(out: Path, made_with: Mapping[str, Any]) -> None:
    """Write the record of a new run; it appears whole or not at all. All processes of a run may do so."""
    out.mkdir(parents=True, exist_ok=True)
    part = out / f".{RECORD}.{os.getpid()}.part"
    try:
        with part.open("w", encoding="utf-8") as file:
            json.dump(_plain(made_with), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        part.replace(out / RECORD)
    finally:
        part.unlink(missing_ok=True)


def digest_of(path: str | Path | None) -> str | None:
    """SHA-256 of a file's bytes, such as the weights that a run begins with; None for None.

    Raises:
        InputError: a file that cannot be read.
    """
    if path is None:
        return None
    found = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while piece := file.read(1 << 20):
                found.update(piece)
    except OSError as error:
        why = f"no readable file ({error.strerror})"
        raise InputError(path, found=why, expected="weights to begin with", fix="check --start-from") from error
    return found.hexdigest()


def _plain(made_with: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back: tuples are lists, keys are text."""
    content = json.loads(json.dumps(made_with, default=str))
    assert isinstance(content, dict)
    return content


def _differences(before: Any, now: Any, where: str = "") -> Iterator[str]:
    """A phrase for each entry that is not the same."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in {**before, **now}:
            yield from _differences(before.get(key), now.get(key), f"{where}.{key}" if where else str(key))
    elif before != now:
        yield f"{where} was {_told(before)}, is {_told(now)}"


def _told(value: Any) -> str:
    text = "nothing" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
