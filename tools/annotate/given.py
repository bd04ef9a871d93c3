"""What a person said of one slice, and what is seen of it together with the slice's proposal.

A slice *speaks for* a label: it was painted there, or said to be absent. What is spoken for counts, however the
proposal goes on: a proposal of that label is not seen there any more. Proposals of other labels are seen wherever
nothing is given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from tools.annotate.packing import Mask
from volumes.errors import InputError
from volumes.labels import MAX_LABEL

Kind = Literal["painted", "accepted", "automatic", "imported"]
"""How a slice got its labels; one that is edited counts as painted from then on."""

KINDS: tuple[str, ...] = get_args(Kind)


class Says(NamedTuple):
    """What a slice says besides its pixels; see `GivenSlice`."""

    speaks: frozenset[int]
    complete: bool
    kind: Kind


@dataclass(frozen=True, eq=False)
class GivenSlice:
    """What was said of one slice. Never changes, so threads may share it.

    `session.annotate(z, given.mask, given.speaks, complete=given.complete)` says the same to a propagation session
    that knows nothing of the slice.

    Attributes:
        mask: (H, W) uint8, read-only; 0 where nothing was painted.
        speaks: labels that the slice speaks for, all those in the mask among them; one that is not in it is absent.
        complete: it speaks for all labels, also for those that come later.
        kind: how it came about.
    """

    mask: Mask
    speaks: frozenset[int]
    complete: bool = False
    kind: Kind = "painted"

    def __post_init__(self) -> None:
        if self.mask.dtype != np.uint8 or self.mask.ndim != 2:
            raise _bad(f"{self.mask.dtype} {self.mask.shape}", "uint8 (H, W)", "give a label number for every pixel")
        mask = np.array(self.mask, order="C")
        mask.setflags(write=False)
        object.__setattr__(self, "mask", mask)
        object.__setattr__(self, "speaks", frozenset(int(label) for label in self.speaks))
        object.__setattr__(self, "complete", bool(self.complete))
        if not all(1 <= label <= MAX_LABEL for label in self.speaks):
            raise _bad(f"labels {sorted(self.speaks)}", f"labels from 1 to {MAX_LABEL}", "renumber them")
        if unnamed := mask.tobytes().translate(None, bytes((0, *self.speaks))):
            raise _bad(f"label {unnamed[0]}, which is not spoken for", "every painted label named", "name it as well")
        if self.kind not in KINDS:
            raise _bad(f"the kind '{self.kind}'", f"one of {', '.join(KINDS)}", "choose one of these")

    @classmethod
    def empty(cls, shape_hw: tuple[int, int]) -> GivenSlice:
        """A slice that says nothing."""
        return cls(np.zeros(shape_hw, np.uint8), frozenset())

    @cached_property
    def labels(self) -> frozenset[int]:
        """Labels in the mask."""
        return occurring(self.mask, self.speaks)

    @property
    def absent(self) -> frozenset[int]:
        """Labels that were said not to be on the slice; a complete one says it of all others, too."""
        return self.speaks - self.labels

    @property
    def says(self) -> Says:
        """All but the pixels."""
        return Says(self.speaks, self.complete, self.kind)

    @property
    def says_nothing(self) -> bool:
        """Whether it is a slice like any other."""
        return not self.speaks and not self.complete

    def speaks_for(self, label: int) -> bool:
        """Whether `label` is known to be there or to be absent."""
        return self.complete or label in self.speaks

    def painted(self, mask: Mask, labels: Iterable[int]) -> GivenSlice:
        """This slice after a person edited it: another mask, and spoken for `labels` as well."""
        return GivenSlice(mask, self.speaks | frozenset(labels), self.complete, "painted")

    def without(self, labels: Collection[int]) -> GivenSlice:
        """This slice without the pixels of `labels` and without a word about them."""
        kept = np.where(np.isin(self.mask, list(labels)), np.uint8(0), self.mask)
        return GivenSlice(kept, self.speaks - frozenset(labels), self.complete, self.kind)

    def beside(self, new: GivenSlice) -> GivenSlice:
        """This slice and what `new` adds: labels that it does not speak for, on pixels where nothing is painted."""
        added = frozenset(label for label in new.speaks if not self.speaks_for(label))
        mask = np.where((self.mask == 0) & np.isin(new.mask, list(added)), new.mask, self.mask)
        kind = new.kind if self.says_nothing else self.kind
        return GivenSlice(mask, self.speaks | added, self.complete or new.complete, kind)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GivenSlice):
            return NotImplemented
        return self.says == other.says and np.array_equal(self.mask, other.mask)

    __hash__ = None  # type: ignore[assignment]  # equal slices would need equal hashes of whole masks


def shown(given: GivenSlice | None, proposal: Mask, known: Iterable[int]) -> Mask:
    """What is seen of a slice, (H, W): given labels, else proposed ones that the slice does not speak for.

    Args:
        proposal: (H, W); zeros if there is none or if it was rejected.
        known: labels that proposals may have on this slice; others are not seen.
    """
    seen = np.zeros(MAX_LABEL + 1, np.uint8)
    for label in known:
        if given is None or not given.speaks_for(label):
            seen[label] = label
    proposed = seen.take(proposal)
    if given is not None:
        proposed *= given.mask == 0
        proposed |= given.mask
    return proposed


def occurring(mask: Mask, among: Iterable[int]) -> frozenset[int]:
    """Those labels that occur in `mask`, (H, W): a search for each, ten times as fast as counting all values."""
    pixels = mask.tobytes()
    return frozenset(label for label in among if pixels.find(label) >= 0)


def proposal_digest(proposal: NDArray[np.uint8]) -> str:
    """A proposal's digest: another one for every other mask (H, W)."""
    return hashlib.blake2b(np.ascontiguousarray(proposal).tobytes(), digest_size=16).hexdigest()


def _bad(found: str, expected: str, fix: str) -> InputError:
    return InputError("given slice", found=found, expected=expected, fix=fix)
