"""What propagation said last, kept so that a reopened case shows it at once. It can always be computed again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cps.journal import replace_file
from tools.annotate.changes import Shape
from tools.annotate.packing import compress, damaged, decompress, marked, pack, split, unmarked, unpack
from volumes.labels import MAX_LABEL

_MARK = b"KEYSLICE PROPOSALS\n"


@dataclass(frozen=True, eq=False)
class SavedProposals:
    """What propagation says.

    Attributes:
        labels: (H, W) uint8 of each of D slices.
        confidence: label -> (D,) float32 in [0, 1].
        owners: label -> which one of those that had its number is meant; see `Proposals.owners`.
        revision: of the document that it was computed for.
    """

    labels: Sequence[NDArray[np.uint8]]
    confidence: dict[int, NDArray[np.float32]]
    owners: dict[int, int]
    revision: int


def write_proposals(path: Path, proposals: SavedProposals) -> None:
    """Write them whole or not at all; raises OSError."""
    masks = [compress(mask) for mask in proposals.labels]
    values = [np.asarray(proposals.confidence[label], "<f4").tobytes() for label in sorted(proposals.confidence)]
    head = {
        "shape": [len(masks), *proposals.labels[0].shape],
        "revision": proposals.revision,
        "confidence": sorted(proposals.confidence),
        "owners": sorted(proposals.owners.items()),
        "sizes": [len(part) for part in (*masks, *values)],
    }
    content = pack(head, (*masks, *values))
    whole = marked(_MARK, content)
    replace_file(path, lambda part: part.write_bytes(whole))


def read_proposals(path: Path, shape: Shape) -> SavedProposals:
    """Read them back.

    Args:
        shape: of the volume, (D, H, W).

    Raises:
        InputError: the file is not as it was written, or of another shape.
        OSError: it cannot be read.
    """
    head, body = unpack(unmarked(path.read_bytes(), _MARK, path), path)
    parts = split(body, head.get("sizes"), path)
    depth, height, width = shape
    labels, owners, revision = head.get("confidence"), head.get("owners", []), head.get("revision")
    if head.get("shape") != list(shape) or type(revision) is not int:
        raise damaged(path, "proposals of another shape")
    if not isinstance(labels, list) or not all(type(v) is int and 1 <= v <= MAX_LABEL for v in labels):
        raise damaged(path, "confidences of what is no label")
    if len(parts) != depth + len(labels) or any(len(part) != 4 * depth for part in parts[depth:]):
        raise damaged(path, f"{len(parts)} parts for {depth} slices and {len(labels)} labels")
    if not isinstance(owners, list) or not all(
        isinstance(row, list) and len(row) == 2 and all(type(number) is int for number in row) for row in owners
    ):
        raise damaged(path, "owners of labels in another form")
    masks = [decompress(part, height * width, path).reshape(height, width) for part in parts[:depth]]
    confidence = {
        v: np.frombuffer(part, "<f4").astype(np.float32) for v, part in zip(labels, parts[depth:], strict=True)
    }
    return SavedProposals(masks, confidence, dict(owners), revision)
