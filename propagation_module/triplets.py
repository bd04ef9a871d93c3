"""Training samples: a few slices of one structure in one volume, drawn so that any sample can be drawn again.

The triplet of Pham et al. (systems 1.10) is a key slice and two slices that follow it, the second labelled
from the first one's prediction. Two more slices make it what the propagator meets: a key slice on the far
side, and the slice labelled just before, with the kind of mistakes that a propagated mask has. More than two
queries in a row teach a network to live with its own predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from propagation_module.priors import shape_between, signed_distance
from propagation_module.resampling import AIR, cut, resize
from volumes.windows import windowed

KEY, FAR_KEY, PREVIOUS, FIRST = range(4)  # the slices of a sample, in this order; further queries follow
TARGET, OTHERS, STALE = 1, 2, 4  # bits of a sample's mask while it is augmented

Augment = Callable[..., tuple[NDArray, NDArray]]


@dataclass(frozen=True)
class Structure:
    """One label of a case: where it lies."""

    label: int
    low: int  # first slice
    high: int  # last slice
    box: tuple[int, int, int, int]  # top, bottom, left, right over all its slices


class Case:
    """A volume in memory with its labels: `image` int16 and `labels` uint8, both (D, H, W)."""

    def __init__(self, name: str, image: NDArray, labels: NDArray, spacing: tuple[float, float, float]) -> None:
        self.name, self.image, self.labels, self.spacing = name, image, labels, spacing
        self.structures = _structures(labels)


def _structures(labels: NDArray) -> list[Structure]:
    found = []
    for label in np.unique(labels):
        if label == 0:
            continue
        where = labels == label
        z = np.flatnonzero(where.any((1, 2)))
        y = np.flatnonzero(where.any((0, 2)))
        x = np.flatnonzero(where.any((0, 1)))
        if len(z) >= 4:
            found.append(
                Structure(int(label), int(z[0]), int(z[-1]), (int(y[0]), int(y[-1]) + 1, int(x[0]), int(x[-1]) + 1))
            )
    return found


@dataclass(frozen=True)
class SampleSettings:
    """How samples are drawn.

    Args:
        size: side of the crop in pixels.
        pixel: range of pixel spacings in mm, drawn log-uniformly.
        far_key: share of samples with a key slice beyond the queries.
        far_absent: share of those on which it says that the structure has just ended.
        beyond: share of samples whose queries may lie beyond the structure's end.
        detached: share of samples in which the slice before the queries is a prediction, not the key slice.
        longest_mm: no key slice is farther than this from the first query.
        queries: slices to label one after the other, 2 in the paper.
        second: what the mask of others shows: `all` other labels, or `one` of the key slice's, as in the paper.
        second_share: share of samples in which it shows anything.
    """

    size: int = 112
    pixel: tuple[float, float] = (1.0, 2.5)
    far_key: float = 0.6
    far_absent: float = 0.45
    beyond: float = 0.15
    detached: float = 0.7
    longest_mm: float = 90.0
    queries: int = 2
    second: str = "all"
    second_share: float = 0.5


@dataclass(frozen=True)
class _Chain:
    """Slice indices of a sample; `far` is None without a far key slice."""

    key: int
    far: int | None
    previous: int
    queries: tuple[int, ...]
    direction: int

    @property
    def slices(self) -> list[int]:
        """In the order of `KEY`, `FAR_KEY`, `PREVIOUS`, `FIRST`."""
        return [self.key, self.key if self.far is None else self.far, self.previous, *self.queries]


def draw_chain(
    rng: np.random.Generator, structure: Structure, depth: int, dz: float, jump: int, settings: SampleSettings
) -> _Chain:
    """Slices of one sample of `structure`: no key slice farther than `jump` slices."""
    low, high = structure.low, structure.high
    jump = max(1, min(jump, int(settings.longest_mm / dz)))
    direction = int(rng.choice((-1, 1)))
    step = int(rng.choice((1, 2, 3), p=(0.75, 0.17, 0.08)))
    if rng.random() < settings.beyond:
        end = high if direction > 0 else low
        previous = end - direction * int(rng.integers(0, 3))
    else:
        previous = int(rng.integers(low, high + 1))
        if not low <= previous + direction * step <= high:
            direction = -direction
    previous = int(np.clip(previous, low, high))
    queries = [int(np.clip(previous + direction * step, 0, depth - 1))]
    while len(queries) < settings.queries:
        step = int(rng.choice((1, 2), p=(0.85, 0.15)))
        queries.append(int(np.clip(queries[-1] + direction * step, 0, depth - 1)))
    gap = _gap(rng, jump) if rng.random() < settings.detached else 0
    key = int(np.clip(previous - direction * gap, low, high))
    far = None
    if rng.random() < settings.far_key:
        end = high if direction > 0 else low
        far = queries[-1] + direction * _gap(rng, jump)
        if rng.random() < settings.far_absent:
            far = end + direction  # what a stop mark says: absent from here on
        elif (end - far) * direction < 0:
            far = end
        if not 0 <= far < depth or (far - queries[-1]) * direction <= 0:
            far = None
    return _Chain(key, far, previous, tuple(queries), direction)


def _gap(rng: np.random.Generator, jump: int) -> int:
    """1..jump, short gaps as often as long ones on a log scale."""
    return int(round(np.exp(rng.uniform(0.0, np.log(jump + 0.49)))))


def draw_sample(
    rng: np.random.Generator,
    case: Case,
    structure: Structure,
    *,
    jump: int,
    settings: SampleSettings,
    augment: Augment | None = None,
) -> dict[str, NDArray]:
    """One sample of `structure`.

    Returns:
        With Q queries: images (3 + Q, 3, S, S) float32 in [0, 1]; masks and others (3 + Q, S, S) float32 of
        truth; previous (S, S) float32, the mask that the slice before the queries is said to have; shapes
        (Q, S, S) float32 signed distance in mm interpolated from the key slices; z (3 + Q,) float32 mm; pixel ()
        float32 mm; valid (3,) bool, which memory slices there are; distances (Q, 3) as in `local_stcn.Prior`.
    """
    dz = case.spacing[0]
    chain = draw_chain(rng, structure, len(case.image), dz, jump, settings)
    slices = chain.slices
    pixel = float(np.exp(rng.uniform(*np.log(settings.pixel))))
    stale = int(np.clip(chain.previous - chain.direction * rng.integers(1, 4), structure.low, structure.high))
    second = _second(rng, case, structure, chain.key, settings)
    images, masks = _crops(rng, case, structure, slices, stale, second, pixel, settings.size)
    if augment is not None:
        images, masks = augment(images, masks, seed=int(rng.integers(2**31)))
    target = (masks & TARGET > 0).astype(np.float32)
    others = (masks & OTHERS > 0).astype(np.float32)

    previous = target[PREVIOUS]
    if chain.previous != chain.key:
        before = (masks[PREVIOUS] & STALE > 0) if rng.random() < 0.3 else previous > 0
        previous = corrupt(rng, before, pixel)
    shapes, distances = _priors(target, chain, pixel, dz)
    return {
        "images": np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32),
        "masks": target,
        "others": others,
        "previous": previous,
        "shapes": shapes,
        "distances": distances,
        "z": (np.array(slices, np.float32) - slices[FIRST]) * np.float32(dz),
        "pixel": np.float32(pixel),
        "valid": np.array([True, chain.far is not None, chain.previous != chain.key]),
    }


def _second(
    rng: np.random.Generator, case: Case, structure: Structure, key: int, settings: SampleSettings
) -> list[int]:
    """Labels shown as others."""
    if rng.random() >= settings.second_share:
        return []
    if settings.second == "all":
        return [s.label for s in case.structures if s.label != structure.label]
    there = [label for label in np.unique(case.labels[key]) if label not in (0, structure.label)]
    return [int(rng.choice(there))] if there else []


def _priors(target: NDArray, chain: _Chain, pixel: float, dz: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    near = signed_distance(target[KEY] > 0, pixel)
    far = signed_distance(target[FAR_KEY] > 0, pixel) if target[FAR_KEY].any() else None
    shapes, distances, slices = [], [], chain.slices
    for before, z in zip(slices[PREVIOUS:], chain.queries, strict=False):
        to_key = abs(z - chain.key)
        if chain.far is None:
            shapes.append(near)
        else:
            shapes.append(shape_between(near, far, to_key / max(1, abs(chain.far - chain.key))))
            to_key = min(to_key, abs(chain.far - z))
        distances.append((abs(z - before) * dz, to_key * dz, float(chain.far is not None)))
    return np.stack(shapes), np.array(distances, np.float32)


def _crops(
    rng: np.random.Generator,
    case: Case,
    structure: Structure,
    slices: Sequence[int],
    stale: int,
    second: Sequence[int],
    pixel: float,
    size: int,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Windowed images (N, S, S, 3) and bit masks (N, S, S) of the same square, about the structure."""
    top, left, height, width = _square(rng, case, structure, slices[FIRST], pixel, size)
    images = np.empty((len(slices), size, size), np.int16)
    masks = np.zeros((len(slices), size, size), np.uint8)
    for i, z in enumerate(slices):
        image = cut(case.image[z], top, left, height, width, AIR)
        images[i] = np.rint(resize(image, (size, size)))
        labels = cut(case.labels[z], top, left, height, width, 0)
        masks[i] |= (resize(labels == structure.label, (size, size)) >= 0.5) * np.uint8(TARGET)
        masks[i] |= (resize(np.isin(labels, second), (size, size)) >= 0.5) * np.uint8(OTHERS)
    old = cut(case.labels[stale], top, left, height, width, 0) == structure.label
    masks[PREVIOUS] |= (resize(old, (size, size)) >= 0.5) * np.uint8(STALE)
    return windowed(images).transpose(0, 2, 3, 1), masks


def _square(
    rng: np.random.Generator, case: Case, structure: Structure, z: int, pixel: float, size: int
) -> tuple[int, int, int, int]:
    """Native top, left, height and width of a square of `size` pixels of `pixel` mm that shows the structure."""
    dy, dx = case.spacing[1:]
    height, width = max(8, round(size * pixel / dy)), max(8, round(size * pixel / dx))
    ys, xs = np.nonzero(case.labels[z] == structure.label)
    top, bottom, left, right = structure.box
    if len(ys) and rng.random() < 0.7:
        i = int(rng.integers(len(ys)))
        centre = ((ys[i] + ys.mean()) / 2, (xs[i] + xs.mean()) / 2)
    else:
        centre = ((top + bottom) / 2, (left + right) / 2)
    jitter = rng.uniform(-0.2, 0.2, 2)
    return (
        round(centre[0] + (jitter[0] - 0.5) * height),
        round(centre[1] + (jitter[1] - 0.5) * width),
        height,
        width,
    )


def corrupt(rng: np.random.Generator, mask: NDArray, pixel: float) -> NDArray[np.float32]:
    """A mask (H, W) as a propagation might have left it: outline moved by a smooth field, soft at the edge."""
    if not mask.any():
        return np.zeros(mask.shape, np.float32)
    distance = signed_distance(mask, pixel)
    amplitude = rng.choice((0.0, 1.0, 2.0, 4.0), p=(0.2, 0.3, 0.3, 0.2))
    if amplitude:
        cells = int(rng.integers(3, 9))
        field = rng.normal(0.0, amplitude, (cells, cells)).astype(np.float32)
        distance = distance + cv2.resize(field, mask.shape[::-1], interpolation=cv2.INTER_CUBIC)
        distance = distance + np.float32(rng.normal(0.0, amplitude / 3))
    softness = rng.uniform(0.2, 1.5)  # mm
    return (1.0 / (1.0 + np.exp(-np.clip(distance / softness, -20, 20)))).astype(np.float32)
