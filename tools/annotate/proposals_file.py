"""What propagation said last, kept so that a reopened case shows it at once. It can always be computed again."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cps.journal import replace_file
from tools.annotate.changes import Shape, digest_from_json
from tools.annotate.packing import compress, damaged, decompress, pack, split, unpack
from volumes.labels import MAX_LABEL

_MARK = b"KEYSLICE PROPOSALS\n"


@dataclass(frozen=True, eq=False)
class SavedProposals:
    """What propagation says.

    Attributes:
        labels: (D, H, W) uint8.
        confidence: label -> (D,) float32 in [0, 1].
        digests: z -> digest of the slice's proposal, where it is wanted.
        revision: of the document that it was computed for.
    """

    labels: NDArray[np.uint8]
    confidence: dict[int, NDArray[np.float32]]
    digests: dict[int, str]
    revision: int


def write_proposals(path: Path, proposals: SavedProposals) -> None:
    """Write them whole or not at all; raises OSError."""
    masks = [compress(mask) for mask in proposals.labels]
    values = [np.asarray(proposals.confidence[label], "<f4").tobytes() for label in sorted(proposals.confidence)]
    head = {
        "shape": list(proposals.labels.shape),
        "revision": proposals.revision,
        "confidence": sorted(proposals.confidence),
        "digests": [[z, digest] for z, digest in sorted(proposals.digests.items())],
        "sizes": [len(part) for part in (*masks, *values)],
    }
    content = pack(head, (*masks, *values))
    whole = b"".join((_MARK, zlib.crc32(content).to_bytes(4, "little"), content))
    replace_file(path, lambda part: part.write_bytes(whole))


def read_proposals(path: Path, shape: Shape) -> SavedProposals:
    """Read them back.

    Args:
        shape: of the volume, (D, H, W).

    Raises:
        InputError: the file is not as it was written, or of another shape.
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    start = len(_MARK) + 4
    if not content.startswith(_MARK) or zlib.crc32(content[start:]).to_bytes(4, "little") != content[start - 4 : start]:
        raise damaged(path, "other contents than were written")
    head, body = unpack(content[start:], path)
    parts = split(body, head.get("sizes"), path)
    depth, height, width = shape
    labels, digests, revision = head.get("confidence"), head.get("digests"), head.get("revision")
    if head.get("shape") != list(shape) or type(revision) is not int:
        raise damaged(path, "proposals of another shape")
    if not isinstance(labels, list) or not all(type(v) is int and 1 <= v <= MAX_LABEL for v in labels):
        raise damaged(path, "confidences of what is no label")
    if len(parts) != depth + len(labels) or any(len(part) != 4 * depth for part in parts[depth:]):
        raise damaged(path, f"{len(parts)} parts for {depth} slices and {len(labels)} labels")
    if not isinstance(digests, list) or not all(
        isinstance(r, list) and len(r) == 2 and type(r[0]) is int for r in digests
    ):
        raise damaged(path, "digests in another form")
    array = np.empty(shape, np.uint8)
    for mask, part in zip(array, parts, strict=False):
        mask[...] = decompress(part, height * width, path).reshape(height, width)
    confidence = {
        v: np.frombuffer(part, "<f4").astype(np.float32) for v, part in zip(labels, parts[depth:], strict=True)
    }
    return SavedProposals(array, confidence, {z: digest_from_json(digest, path) for z, digest in digests}, revision)
