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

from propagation_module.hand_drawn import hand_drawn, smooth_field
from propagation_module.priors import shape_between, signed_distance
from volumes.resampling import AIR, cut, resize
from volumes.windows import windowed

KEY, FAR_KEY, PREVIOUS, FIRST = range(4)  # the slices of a sample, in this order; further queries follow
THIN_MM = 6.0  # radius of the largest disc in a slice of a thin structure, less than this
LOOKED_AT = 7  # slices of a structure that say whether it is thin
TARGET, OTHERS, STALE = 1, 2, 4  # bits of a sample's mask while it is augmented

Augment = Callable[..., tuple[NDArray, NDArray]]


@dataclass(frozen=True)
class Structure:
    """One label of a case: where it lies."""

    label: int
    slices: tuple[int, ...]  # where it is, rising
    box: tuple[int, int, int, int]  # top, bottom, left, right over all its slices
    thin: bool = False  # thin, or of several pieces, on most slices

    @property
    def low(self) -> int:
        """First slice."""
        return self.slices[0]

    @property
    def high(self) -> int:
        """Last slice."""
        return self.slices[-1]

    @property
    def holes(self) -> list[tuple[int, int]]:
        """First and last slice of each stretch between `low` and `high` where it is not."""
        return [(a + 1, b - 1) for a, b in zip(self.slices, self.slices[1:], strict=False) if b - a > 1]


class Case:
    """A volume in memory with its labels: `image` int16 and `labels` uint8, both (D, H, W)."""

    def __init__(self, name: str, image: NDArray, labels: NDArray, spacing: tuple[float, float, float]) -> None:
        self.name, self.image, self.labels, self.spacing = name, image, labels, spacing
        self.structures = _structures(labels, spacing)


def _structures(labels: NDArray, spacing: tuple[float, float, float]) -> list[Structure]:
    found = []
    for label in np.unique(labels):
        if label == 0:
            continue
        where = labels == label
        z = np.flatnonzero(where.any((1, 2)))
        y = np.flatnonzero(where.any((0, 2)))
        x = np.flatnonzero(where.any((0, 1)))
        if len(z) >= 4:
            box = (int(y[0]), int(y[-1]) + 1, int(x[0]), int(x[-1]) + 1)
            looked_at = z[np.linspace(0, len(z) - 1, LOOKED_AT).round().astype(int)]
            thin = _thin(where[looked_at, box[0] : box[1], box[2] : box[3]], spacing)
            found.append(Structure(int(label), tuple(z.tolist()), box, thin))
    return found


def _thin(masks: NDArray, spacing: tuple[float, float, float]) -> bool:
    """Whether most masks (N, h, w) are thin or in pieces."""
    shape = (masks.shape[1], round(masks.shape[2] * spacing[2] / spacing[1]))  # square pixels of `dy`
    votes = 0
    for mask in masks:
        framed = np.pad(resize(mask, (shape[0], max(1, shape[1]))) >= 0.5, 1).astype(np.uint8)
        radius = float(cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max() - 0.5) * spacing[1]
        pieces = cv2.connectedComponents(framed, connectivity=8)[0] - 1
        votes += int(radius < THIN_MM or pieces > 1)
    return votes > len(masks) / 2


@dataclass(frozen=True)
class SampleSettings:
    """How samples are drawn.

    Args:
        size: side of the crop in pixels.
        pixel: range of pixel spacings in mm, drawn log-uniformly.
        far_key: share of samples with a key slice beyond the queries.
        far_absent: share of those on which it says that the structure has ended: just before it or somewhere between.
        beyond: share of samples whose queries run from inside the structure over its end.
        holes: share of samples, of structures with holes, whose queries run into a hole: slices without it inside it.
        thin: how often thin and branching structures are drawn, against the others of a case.
        noisy_keys: share of samples whose key slices are as a person draws them; the queries stay exact.
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
    holes: float = 0.0
    thin: float = 1.0
    noisy_keys: float = 0.0
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
    ends = {way: end for way, end in ((-1, low), (1, high)) if 0 <= end + 2 * way < depth}
    beyond, into_hole = rng.random() < settings.beyond and bool(ends), rng.random() < settings.holes
    has_far, far_absent = rng.random() < settings.far_key, rng.random() < settings.far_absent
    if beyond:
        direction = direction if direction in ends else -direction
        previous = ends[direction] - direction * int(rng.integers(0, settings.queries))
    elif into_hole and structure.holes:
        first, last = structure.holes[int(rng.integers(len(structure.holes)))]
        edge = first - 1 if direction > 0 else last + 1
        previous = edge - direction * int(rng.integers(0, settings.queries))
    else:
        previous = int(rng.integers(low, high + 1))
        room = settings.queries + 1  # for a row with a key slice beyond it
        if has_far and not far_absent and high - low > room:
            previous = (
                int(rng.integers(low, high - room + 1)) if direction > 0 else int(rng.integers(low + room, high + 1))
            )
        if not low <= previous + direction * step <= high:
            direction = -direction
    previous = int(np.clip(previous, low, high))
    queries = [int(np.clip(previous + direction * step, 0, depth - 1))]
    while len(queries) < settings.queries:
        step = int(rng.choice((1, 2), p=(0.85, 0.15)))
        queries.append(int(np.clip(queries[-1] + direction * step, 0, depth - 1)))
    gap = _gap(rng, jump) if rng.random() < settings.detached else 0
    key = _nearest_with(structure, int(np.clip(previous - direction * gap, low, high)), -direction)
    far = None
    if has_far:
        end = high if direction > 0 else low
        far = queries[-1] + direction * _gap(rng, jump)
        if beyond:
            pass  # a key slice farther out, on which it is absent: nothing says where it ended
        elif far_absent:
            # What a stop mark says, absent from here on; or a key slice farther out.
            far = end + direction * (1 if rng.random() < 0.5 else _gap(rng, jump))
        elif (end - far) * direction < 0:
            far = end
        if not 0 <= far < depth or (far - queries[-1]) * direction <= 0:
            far = None
    return _Chain(key, far, previous, tuple(queries), direction)


def _nearest_with(structure: Structure, z: int, direction: int) -> int:
    """The first slice that has the structure, from `z` (between its first and last) on in `direction`."""
    slices = np.array(structure.slices)
    index = int(np.searchsorted(slices, z, side="left" if direction > 0 else "right"))
    return int(slices[index if direction > 0 else index - 1])


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
        truth; keys (2, S, S) float32, the masks that the key slices are said to have; previous (S, S) float32, the
        same for the slice before the queries; shapes
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

    keys = target[: FAR_KEY + 1].copy()
    if rng.random() < settings.noisy_keys:
        keys[KEY] = hand_drawn(rng, keys[KEY], pixel)
        keys[FAR_KEY] = keys[KEY] if chain.far is None else hand_drawn(rng, keys[FAR_KEY], pixel)
    previous = keys[KEY]
    if chain.previous != chain.key:
        before = (masks[PREVIOUS] & STALE > 0) if rng.random() < 0.3 else target[PREVIOUS] > 0
        previous = corrupt(rng, before, pixel)
    shapes, distances = _priors(keys, chain, pixel, dz)
    return {
        "images": np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32),
        "masks": target,
        "others": others,
        "keys": keys,
        "previous": previous,
        "shapes": shapes,
        "distances": distances,
        "z": (np.array(slices, np.float32) - slices[FIRST]) * np.float32(dz),
        "pixel": np.float32(pixel),
        # A key slice without the structure leaves nothing in memory, as in use: the shape prior alone knows of it.
        "valid": np.array([True, chain.far is not None and bool(keys[FAR_KEY].any()), chain.previous != chain.key]),
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


def _priors(keys: NDArray, chain: _Chain, pixel: float, dz: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    near = signed_distance(keys[KEY] > 0, pixel)
    far = signed_distance(keys[FAR_KEY] > 0, pixel) if keys[FAR_KEY].any() else None
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
        distance = distance + smooth_field(rng, mask.shape, cells, amplitude)
        distance = distance + np.float32(rng.normal(0.0, amplitude / 3))
    softness = rng.uniform(0.2, 1.5)  # mm
    return (1.0 / (1.0 + np.exp(-np.clip(distance / softness, -20, 20)))).astype(np.float32)
