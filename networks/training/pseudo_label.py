"""A label map that no person drew, for a case without one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PseudoLabel:
    """A label map and what it speaks for.

    Attributes:
        path: the label map, on the grid of the case's CT.
        contoured: labels that it speaks for: as in `volumes.datasets.DataCase`. None: all of the table.
    """

    path: Path
    contoured: frozenset[int] | None = None

    @classmethod
    def of(cls, value: str | Path | PseudoLabel) -> PseudoLabel:
        """A label map by its path speaks for all of the table."""
        return value if isinstance(value, PseudoLabel) else cls(Path(value))
