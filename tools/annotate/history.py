"""Undo and redo without limit.

Changes are kept in their packed form: a stroke takes some hundred bytes, so a day's work stays below a few megabytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from tools.annotate.changes import title_of

Move = Literal["act", "undo", "redo"]


class History:
    """Packed changes that were done, and those that were undone and not yet forgotten; the newest last."""

    def __init__(self, done: Iterable[bytes] = (), undone: Iterable[bytes] = ()) -> None:
        self.done, self.undone = list(done), list(undone)
        self._last: tuple[Move, list[bytes]] | None = None  # and what a new action made forget

    def act(self, packed: bytes) -> None:
        """A new change was done: those that were undone before it are forgotten."""
        self._last = ("act", self.undone)
        self.done.append(packed)
        self.undone = []

    def undo(self) -> None:
        """The newest change was undone."""
        self._last = ("undo", [])
        self.undone.append(self.done.pop())

    def redo(self) -> None:
        """The change undone last was done again."""
        self._last = ("redo", [])
        self.done.append(self.undone.pop())

    @property
    def last(self) -> Move | None:
        """The last move, if it can be taken back; only one can."""
        return self._last and self._last[0]

    def take_back(self) -> None:
        """As if the last move had never been."""
        assert self._last is not None
        move, forgotten = self._last
        self._last = None
        if move == "undo":
            self.done.append(self.undone.pop())
            return
        packed = self.done.pop()
        if move == "redo":
            self.undone.append(packed)
        else:
            self.undone = forgotten

    @property
    def undo_title(self) -> str | None:
        """What `undo` would take back."""
        return title_of(self.done[-1]) if self.done else None

    @property
    def redo_title(self) -> str | None:
        """What `redo` would do again."""
        return title_of(self.undone[-1]) if self.undone else None
