"""A session that acts until it is killed: `python -m tests.tools.annotate.killed_session FOLDER`.

It prints the number of each action once it was acknowledged.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import tools.annotate.store as store_module
from tools.annotate.changes import Change
from tools.annotate.document import Document
from tools.annotate.store import Store

SHAPE = (5, 64, 64)
NOTHING = np.zeros(SHAPE[1:], np.uint8)


def open_store(folder: Path) -> tuple[Store, Document]:
    """The session, begun or gone on with."""
    store = Store(folder, SHAPE, "ab", name="ct")
    return store, store.open({1: ("liver", (1, 2, 3)), 2: ("spleen", (4, 5, 6))})


def act(document: Document, number: int) -> Change | str:
    """The `number`-th action, which always changes something."""
    if number % 9 == 8 and document.undo():
        return "undo"
    rng = np.random.default_rng(number)
    top, left = rng.integers(0, 60, 2)
    pixels = np.zeros(SHAPE[1:], bool)
    pixels[top : top + 4, left : left + 4] = True
    z, label = number % 5, 1 + number % 2
    change = document.paint(z, label, pixels, NOTHING) or document.erase(z, label, pixels, NOTHING)
    assert change is not None
    return change


def main() -> None:
    store_module.COMPACT_RECORDS = 6  # so that some kills hit the writing of a snapshot
    store, document = open_store(Path(sys.argv[1]))
    while True:
        number = document.revision + 1
        store.append(act(document, number))  # type: ignore[arg-type]
        print(number, flush=True)


if __name__ == "__main__":
    main()
