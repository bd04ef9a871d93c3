"""Files that a killed run leaves whole: a journal of JSON lines, and files that are replaced in one step."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from volumes.errors import InputError


class Journal:
    """An append-only file, one JSON object a line, on the disk when `append` returns.

    Any number of processes may read it, one may write. A last line without its end, cut off when the writer died or
    still being written, is not read; the next `append` takes its place. Reading changes nothing on the disk.

    Args:
        path: the file; it is made with the first line, in a folder that is there.

    Raises:
        InputError: a line that is no JSON object.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = 0  # bytes of whole lines
        self.lines: list[dict[str, Any]] = self._load() if path.exists() else []

    def append(self, line: dict[str, Any]) -> None:
        """Add one line. Numbers must be finite: NaN is no JSON."""
        text = json.dumps(line, ensure_ascii=False, allow_nan=False)
        new = not self.path.exists()
        with self.path.open("a+b") as file:
            file.seek(self._size)
            self._size += file.read().rfind(b"\n") + 1
            file.truncate(self._size)
            self._size += file.write(text.encode("utf-8") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if new:
            _sync(self.path.parent)
        self.lines.append(json.loads(text))  # as it would be read back: tuples are lists, keys are text

    def _load(self) -> list[dict[str, Any]]:
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        self._size = len(whole)
        try:
            # Not splitlines: a name may hold U+2028, which JSON leaves as it is and which ends a line there.
            lines = [json.loads(line) for line in whole.decode("utf-8").split("\n")[:-1]]
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
    replace_file(path, lambda part: part.write_text(text, encoding="utf-8"))


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """`write` makes the file beside its place, which it then takes, on the disk when this returns.

    What a killed process left there goes.
    """
    part = path.with_name(f".part-{path.name}")
    part.unlink(missing_ok=True)
    try:
        write(part)
        _sync(part)
    except OSError:
        part.unlink(missing_ok=True)  # on a full disk it would take the room that is needed next
        raise
    if path.exists() and path.samefile(part):
        part.unlink()  # two links to one file: replacing one with the other would leave both
    else:
        os.replace(part, path)
    _sync(path.parent)


def settle(path: Path, top: Path) -> None:
    """Have a file, and its name in the folders from its own up to `top`, on the disk, before a journal speaks of it."""
    _sync(path)
    for folder in path.parents:
        _sync(folder)
        if folder == top or not folder.is_relative_to(top):
            return


def _sync(path: Path) -> None:
    """Wait for a file, or the names in a folder, to be on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
