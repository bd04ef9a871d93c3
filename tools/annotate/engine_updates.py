"""What the engine tells the server, in the order in which it holds.

Each run ends in exactly one of `Finished`, `KeySlicesFound`, `Cancelled` and `Failed`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from propagation_module.suggestion import Suggestion
    from tools.annotate.given import GivenSlice
    from tools.annotate.merging import LabelMerge


@dataclass(frozen=True, eq=False)
class Proposed:
    """The proposals of one slice, to be taken over whatever run they are of: they are not computed again.

    Attributes:
        run: number of the run.
        revision: of the document that the run was started with.
        z: the slice.
        mask: (H, W) uint8; 0 where something is given, and of labels that the slice speaks for.
        confidence: in [0, 1], 0 for labels that are not carried any more. A label that is not in it was never carried:
            the mask says nothing of it.
        settled: nothing more will change there in this run.
        done, total: steps of the run.
    """

    run: int
    revision: int
    z: int
    mask: npt.NDArray[np.uint8]
    confidence: dict[int, float]
    settled: bool
    done: int
    total: int


@dataclass(frozen=True, eq=False)
class Finished:
    """All is propagated.

    Attributes:
        confidence: (D,) float32 of each label that is carried.
        suggestion: the slice to annotate next, None if there is nothing to gain.
    """

    run: int
    revision: int
    confidence: dict[int, npt.NDArray[np.float32]]
    suggestion: Suggestion | None


@dataclass(frozen=True)
class Working:
    """How far the reference model has come, in slices that it looks at first; it may look at more."""

    run: int
    done: int
    total: int


@dataclass(frozen=True, eq=False)
class KeySlicesFound:
    """What the reference model says.

    Attributes:
        key_slices: by slice, in the document's label numbers, marks of absence included; empty if it found nothing.
        merge: how its labels became the document's, and those that the document lacks.
        names: of the document's labels when the run began.
    """

    run: int
    key_slices: dict[int, GivenSlice]
    merge: LabelMerge
    names: dict[int, str]


@dataclass(frozen=True)
class Cancelled:
    """The run was cancelled, or a newer one took its place."""

    run: int


@dataclass(frozen=True)
class Failed:
    """The run ended early, for a reason told in one line; the engine goes on with the next one."""

    run: int
    message: str


EngineUpdate = Proposed | Finished | Working | KeySlicesFound | Cancelled | Failed
