"""Batches of slices for training, with labels or without.

Batch `b` of a run is a function of the seed, the rank and `b` alone, so a run that was killed goes on with the very
slices that it would have seen.

Two ways to draw run side by side, in a fixed rhythm. One goes through all slices in random order, again and
again: the data as they are. The other, for the share `rare`, goes through the structures; of each through the
cases that have it; and takes one of its slices there. So a structure of few slices, or one that few cases contour,
is seen as often as one of many: small organs are the weak spot that Pham et al. name. Going through the cases first
would not do: on head-neck the oesophagus, contoured in a third of the cases, was then seen on fewer slices than
without (98 of 1,000 instead of 112).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from networks.classes import class_numbers, known_classes, mirrored_classes
from networks.training.case_store import StoredCase
from networks.training.streams import Orders, cases_with, in_turn, stacked
from reference_module.augmentation import SliceAugmenter
from reference_module.inputs import check_windows, network_input, slice_position
from volumes.errors import InputError
from volumes.labels import LabelTable
from volumes.resampling import AIR, cut

FLIPS = ("none", "free", "swap")
_WHERE = "training.slices"
BODY_HU = -500
"""What is denser is the patient, or the table: where squares are cut out of larger slices."""

_ALL_SLICES = 0  # what an order is of, in its seed: of all slices, or of the cases with one label


@dataclass(frozen=True)
class SliceSettings:
    """How slices are drawn and changed.

    Args:
        size: side of the square that is cut out of a slice; air (background) where it reaches beyond it.
        rare: share of the labelled slices that are drawn by structure. Of 1,000 slices, 0 and 0.5 showed larynx on
            62 and 110, oesophagus on 112 and 139, left parotid on 223 and 343 (167 cases of head-neck); right adrenal
            on 108 and 192, gallbladder on 156 and 230 (8 phantoms).
        windows: `three` or `one`, see `reference_module.inputs`.
        augmentation: strength, 0 for none, see `SliceAugmenter`.
        flips: `none`; `free`: left-right and up-down, each on half of the slices, labels as they are (the
            public code of Pham et al.); `swap`: left-right on half of the slices, left and right structures exchanged.
    """

    size: int = 512
    rare: float = 0.0
    windows: str = "three"
    augmentation: float = 0.0
    flips: str = "none"

    def __post_init__(self) -> None:
        check_windows(self.windows, _WHERE)
        for name, fits, expected in (
            ("size", self.size >= 1, "1 or more pixels"),
            ("rare", 0 <= self.rare <= 1, "a share from 0 to 1"),
            ("augmentation", self.augmentation >= 0, "0 or more"),
            ("flips", self.flips in FLIPS, f"one of {', '.join(FLIPS)}"),
        ):
            if not fits:
                value = getattr(self, name)
                raise InputError(f"{_WHERE}.{name}", found=str(value), expected=expected, fix="correct the setting")


class SliceStream(IterableDataset[dict[str, Tensor]]):
    """Batches without end, from batch `start` on.

    A batch, of `B` slices of `S` by `S` pixels and `K` structures:
    - `image`: float32 (B, 3, S, S) in [0, 1];
    - `position`: float32 (B,), slice index / number of slices;
    - with `labelled`, `label`: int64 (B, S, S), classes (`networks.classes.class_values`), and
      `known`: bool (B, K+1), classes that the case contours. A structure that it does not lies in its class 0.

    Args:
        cases: from `open_store`; with `labelled`, each has labels.
        labelled: give labels, and draw by structure for `settings.rare`.
        start: first batch.
        rank: of this process among those that train together.

    Raises:
        InputError: no case, or, for flips: swap, a structure with one side in `table`.
    """

    def __init__(
        self,
        cases: Sequence[StoredCase],
        table: LabelTable,
        *,
        settings: SliceSettings,
        labelled: bool,
        batch_size: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
    ) -> None:
        if not cases:
            kind = "labelled" if labelled else "unlabelled"
            raise InputError("the training data", found=f"no {kind} case", expected="at least one", fix="add some")
        self.cases, self.settings, self.labelled = list(cases), settings, labelled
        self.batch_size, self.seed, self.start, self.rank = batch_size, seed, start, rank
        self._ends = np.cumsum([case.depth for case in self.cases])
        self._table, self._class_of = table, class_numbers(table)
        unchanged = np.arange(len(table) + 1, dtype=np.uint8)
        self._mirrored = mirrored_classes(table) if settings.flips == "swap" else unchanged
        self._augment = SliceAugmenter(settings.size, settings.augmentation)
        self._cases_with = cases_with(self.cases, tuple(table)) if labelled else {}
        self._rare = settings.rare if self._cases_with else 0.0
        self._orders = Orders(seed, rank)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return in_turn(self.batch, self.start)

    def batch(self, index: int) -> dict[str, Tensor]:
        """Batch `index`."""
        return stacked([self._sample(index, item) for item in range(self.batch_size)])

    def draw(self, number: int, rng: np.random.Generator) -> tuple[int, int, int | None]:
        """The `number`-th slice of the run: which case, which slice, and for which structure (None: for none)."""
        by_structure = int(number * self._rare)
        if int((number + 1) * self._rare) == by_structure:
            place = self._orders.at(_ALL_SLICES, number - by_structure, int(self._ends[-1]))
            case = int(np.searchsorted(self._ends, place, side="right"))
            return case, place - int(self._ends[case]) + self.cases[case].depth, None
        case, label = self._orders.by_structure(self._cases_with, by_structure)
        return case, int(rng.choice(self.cases[case].slices_of[label])), label

    def _sample(self, index: int, item: int) -> dict[str, NDArray]:
        rng = np.random.default_rng((self.seed, self.rank, index, item))
        number, z, structure = self.draw(index * self.batch_size + item, rng)
        case = self.cases[number]
        stored = case.labels if self.labelled else None
        plane = case.image[z]
        numbers = np.zeros(plane.shape, np.uint8) if stored is None else np.asarray(stored[z])
        plane, numbers = self._cut(plane, numbers, structure, rng)
        plane, numbers = self._augment.bend(plane, numbers, rng)
        classes, known = self._class_of[numbers], known_classes(self._table, case.contoured)
        plane, classes, known = self._flip(plane, classes, known, rng)
        image = network_input(np.ascontiguousarray(plane)[None], self.settings.windows)[0]
        sample: dict[str, NDArray] = {
            "image": self._augment.tint(image, rng),
            "position": np.array(slice_position(z, case.depth), np.float32),
        }
        return sample | {"label": classes.astype(np.int64), "known": known} if self.labelled else sample

    def _cut(
        self, plane: NDArray[np.int16], numbers: NDArray[np.uint8], structure: int | None, rng: np.random.Generator
    ) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """A square with a pixel of the structure in it, or else of the body, and the margin about it for `bend`."""
        size, margin = self.settings.size, self._augment.margin
        y = x = 0
        if max(plane.shape) > size:
            points = np.flatnonzero(plane > BODY_HU if structure is None else numbers == structure)
            chosen = int(rng.choice(points)) if len(points) else int(rng.integers(plane.size))
            y, x = divmod(chosen, plane.shape[1])
        top, left = _corner(plane.shape[0], size, y, rng) - margin, _corner(plane.shape[1], size, x, rng) - margin
        side = size + 2 * margin
        return cut(plane, top, left, side, side, AIR), cut(numbers, top, left, side, side, 0)

    def _flip(
        self, plane: NDArray[np.int16], classes: NDArray[np.uint8], known: NDArray[np.bool_], rng: np.random.Generator
    ) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.bool_]]:
        sideways, upside_down = rng.random(2) < 0.5
        if sideways and self.settings.flips != "none":
            # Who contours the left one has contoured what is now the right one.
            plane, classes, known = plane[:, ::-1], self._mirrored[classes[:, ::-1]], known[self._mirrored]
        if upside_down and self.settings.flips == "free":
            plane, classes = plane[::-1], classes[::-1]
        return plane, classes, known


def _corner(length: int, size: int, focus: int, rng: np.random.Generator) -> int:
    """Where a stretch of `size` begins on an axis of `length`. It takes in `focus`, off its ends where it can."""
    low, high = sorted((0, length - size))
    if length > size:
        off = size // 8
        low, high = (min(max(value, low), high) for value in (focus - size + 1 + off, focus - off))
    return int(rng.integers(low, high + 1))
