"""Files that a killed run leaves whole: a journal of JSON lines, and files that are replaced in one step."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from volumes.errors import InputError


class Journal:
    """An append-only file, one JSON object a line, on the disk when `append` returns; for one process at a time.

    A last line that was cut off when the process died is dropped when the file is opened again.

    Args:
        path: the file; it is made with the first line, in a folder that is there.

    Raises:
        InputError: a line that is no JSON object.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = self._load() if path.exists() else []

    def append(self, line: dict[str, Any]) -> None:
        """Add one line. Numbers must be finite: NaN is no JSON."""
        text = json.dumps(line, ensure_ascii=False, allow_nan=False)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.lines.append(json.loads(text))  # as it would be read back: tuples are lists, keys are text

    def _load(self) -> list[dict[str, Any]]:
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
        try:
            lines = [json.loads(line) for line in whole.decode("utf-8").splitlines()]
        except ValueError as error:
            raise self._damaged() from error
        if not all(isinstance(line, dict) for line in lines):
            raise self._damaged()
        return lines

    def _damaged(self) -> InputError:
        return InputError(
            self.path,
            found="a line that is no JSON object",
            expected="a journal as it was written",
            fix="restore the file, or begin anew in another folder",
        )


def write_whole(path: Path, text: str) -> None:
    """Write `text` whole or not at all."""

    def write(part: Path) -> None:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    replace_file(path, write)


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """`write` makes the file beside its place, which it then takes. What a killed process left there goes."""
    part = path.with_name(f".part-{path.name}")
    part.unlink(missing_ok=True)
    write(part)
    if path.exists() and path.samefile(part):
        part.unlink()  # two links to one file: replacing one with the other would leave both
    else:
        os.replace(part, path)
