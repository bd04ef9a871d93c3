"""What clients asked for lately, for `/logs`."""

from __future__ import annotations

import time
from collections import deque

MOST_LINES = 1000
_LONGEST = 300


class Log:
    """The latest lines; they are nowhere else."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=MOST_LINES)

    def add(self, text: str) -> None:
        """Add a line; what was sent cannot make two of it."""
        line = "".join(one if one.isprintable() else "?" for one in text)[:_LONGEST]
        self._lines.append(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def last(self, count: int) -> str:
        """The last lines, as text."""
        return "".join(list(self._lines)[-count:] if count > 0 else self._lines)
