"""Does taking small components out of a label map cost more with more labels? One labelling for all against one each.

The same bodies are labelled with 1, 2, ... labels in turn, so that nothing but their number differs. Processor seconds,
the least of some repeats: other work on the machine does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tools.files import write_json

if TYPE_CHECKING:
    Labels = NDArray[np.uint8]

SHARE = 0.1
_GRID = (5, 5, 10)  # bodies along z, y, x


def run(out: Path, *, shape: tuple[int, int, int], counts: Sequence[int], repeats: int, quiet: bool) -> None:
    """Measure, write `components.json` into `out`, and print a table.

    Args:
        shape: (D, H, W) of the label map.
        counts: numbers of labels.
    """
    from baseline3d.components import without_small

    rows = []
    bodies = numbered_bodies(shape)
    for count in counts:
        labels = labelled(bodies, count)
        same = np.array_equal(without_small(labels, SHARE), one_by_one(labels, SHARE))
        together = _seconds(lambda labels=labels: without_small(labels, SHARE), repeats)  # type: ignore[misc]
        apart = _seconds(lambda labels=labels: one_by_one(labels, SHARE), 1)  # type: ignore[misc]
        rows.append({"labels": count, "one_labelling": together, "one_each": apart, "same": bool(same)})
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "components.json", {"shape": list(shape), "repeats": repeats, "rows": rows})
    if not quiet:
        print(f"{' x '.join(map(str, shape))} voxels; processor seconds\n\n| labels | one labelling | one each |")
        print("|---|---|---|")
        for row in rows:
            print(f"| {row['labels']} | {row['one_labelling']:.2f} | {row['one_each']:.2f} |")


def numbered_bodies(shape: tuple[int, int, int]) -> NDArray[np.int64]:
    """250 ellipsoids, numbered from 1, that fill about half of (D, H, W), each with a speck beside it."""
    axes = [np.arange(length) for length in shape]
    cells = [np.minimum(at * count // length, count - 1) for at, length, count in zip(axes, shape, _GRID, strict=True)]
    middles = [(cell + 0.5) * length / count for cell, length, count in zip(cells, shape, _GRID, strict=True)]
    reach = [
        ((at + 0.5 - middle) / (0.48 * length / count)) ** 2
        for at, middle, length, count in zip(axes, middles, shape, _GRID, strict=True)
    ]
    inside = reach[0][:, None, None] + reach[1][None, :, None] + reach[2][None, None, :] <= 1
    number = 1 + np.ravel_multi_index(np.ix_(*cells), _GRID)
    specks = [np.diff(cell, prepend=-1) > 0 for cell in cells]
    inside |= specks[0][:, None, None] & specks[1][None, :, None] & specks[2][None, None, :]
    return np.where(inside, number, 0)


def labelled(bodies: NDArray[np.int64], count: int) -> Labels:
    """The bodies with `count` labels in turn, uint8 of the same shape."""
    return np.where(bodies > 0, (bodies - 1) % count + 1, 0).astype(np.uint8)


def one_by_one(labels: Labels, share: float) -> Labels:
    """As `baseline3d.components.without_small`, with a labelling of the whole map for each label."""
    from scipy import ndimage

    out = np.zeros_like(labels)
    touching = np.ones((3, 3, 3), bool)
    for label in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)):
        if label:
            numbers, found = ndimage.label(labels == label, touching)
            sizes = np.bincount(numbers.ravel(), minlength=found + 1)
            sizes[0] = 0
            keep = sizes >= share * sizes.sum()
            keep[sizes.argmax()], keep[0] = True, False
            out[keep[numbers]] = label
    return out


def _seconds(work: Callable[[], object], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return round(min(taken), 3)
