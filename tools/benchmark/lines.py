"""Results as they come: one line for each, append-only and flushed to the disk.

A killed run loses at most the line that it was writing; a torn last line is dropped when the run resumes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import Field, asdict, fields
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar


class Line(Protocol):
    """A dataclass that is kept as one line; lists in it are read back as tuples."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def key(self) -> tuple[Any, ...]:
        """What has to be computed only once."""


AnyLine = TypeVar("AnyLine", bound=Line)


class LineFile(Generic[AnyLine]):
    """An append-only file of results, one JSON object a line; used by one process at a time."""

    def __init__(self, path: Path, kind: type[AnyLine]) -> None:
        self.path, self.kind = path, kind
        self.records: dict[tuple[Any, ...], AnyLine] = {}
        if path.exists():
            self._load()

    def append(self, records: Iterable[AnyLine]) -> None:
        """Add records, on the disk when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            for record in records:
                file.write(json.dumps(asdict(record)) + "\n")
                self.records[record.key] = record
            file.flush()
            os.fsync(file.fileno())

    def _load(self) -> None:
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:  # killed while writing a line
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
        known = {field.name for field in fields(self.kind)}
        for line in whole.decode("utf-8").splitlines():
            entry = {key: value for key, value in json.loads(line).items() if key in known}
            record = self.kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in entry.items()})
            self.records[record.key] = record
