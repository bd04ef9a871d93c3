"""Pseudo-structures for self-supervision, grown from a CT volume alone.

A propagation network learns to carry *any* outline through slices, so an image without labels teaches too, as
long as the outlines follow the image as anatomy does. Two generators, mixed by the seed:

- **merge tree**: a fine watershed of the gradient magnitude is merged pairwise, most alike neighbours first;
  the nodes that differ most from their neighbours become regions (organs and their parts, muscles, lumens).
- **bands**: voxels within a random HU band (bone, contrast vessels, soft tissue, fat, air), cut at bridges
  and split where too large by a watershed of the distance to their border (vertebrae, vessels, airways).

Measured on one core: 1-2.5 s for 0.6-1.5 M voxels, 3 s for 512x512x119 (worked on at a coarser pitch).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from propagation_module.merge_tree import MergeTree

WORKING_VOXELS = (
    2_000_000  # larger volumes are worked on at a coarser pitch: a watershed costs about 1 us a voxel
)
SMALLEST_MM3, LARGEST_MM3 = 150.0, 1.5e6
SMALLEST_VOXELS = 16
LARGEST_LEAVES = 3000  # watershed basins: merging them takes about 1 s
SMALLEST_SPAN_MM, SMALLEST_SPAN_SLICES = 6.0, 4
AIR_HU = (
    -830.0
)  # median of air at the rim: -840..-1000 around a patient and in couch foam, -810 in a cut lung

WINDOWS = ((-160.0, 240.0), (-60.0, 160.0), (-250.0, 700.0), (-1000.0, 200.0))
WINDOW_WEIGHTS = (0.4, 0.25, 0.2, 0.15)


@dataclass(frozen=True)
class _Region:
    """A candidate: ``mask`` (d,h,w) bool inside ``box`` of the grid, and how well the image supports it."""

    box: tuple[slice, ...]
    mask: NDArray[np.bool_]
    score: float


def grow_regions(
    array: NDArray[np.int16], spacing: Sequence[float], *, seed: int, max_regions: int = 40
) -> NDArray[np.uint8]:
    """Find pseudo-structures in a CT volume; other seeds find others.

    Args:
        array: (D,H,W) HU in canonical axial order.
        spacing: (dz,dy,dx) in mm.
        seed: the same seed gives the same regions.
        max_regions: at most this many, 1..255.

    Returns:
        (D,H,W) uint8, 0 for none, 1..n for regions that do not overlap, of 150 mm^3 to 1.5 litres, through at
        least 4 slices and 6 mm, inside the patient. All zeros if the image supports none.

    Raises:
        ValueError: not a 3D array, a spacing that is not positive, or max_regions out of range.
    """
    if array.ndim != 3 or len(spacing) != 3 or min(spacing) <= 0:
        raise ValueError(
            f"expected a (D,H,W) array and 3 positive spacings, found {array.shape} and {tuple(spacing)}"
        )
    if not 1 <= max_regions <= 255:
        raise ValueError(f"max_regions is {max_regions}, expected 1..255")
    rng = np.random.default_rng(seed)
    work, pitch = _working_grid(array, np.asarray(spacing, dtype=np.float64))
    inside = patient_mask(work, pitch)
    found = np.zeros(array.shape, dtype=np.uint8)
    if inside.sum() < SMALLEST_VOXELS:
        return found
    # Everything outside the patient's box is waste for the watersheds.
    box = ndimage.find_objects(inside.astype(np.uint8))[0]
    hu, inside = work[box], inside[box]
    gradient = _gradient(np.clip(hu, -300, 400), pitch, sigma=np.ones(3))
    pools = [_merge_tree_regions(hu, inside, pitch, rng)]
    pools += [_band_regions(hu, inside, pitch, band, rng) for band in _draw_bands(rng)]
    regions = [_finish(mask, where, hu, gradient, inside, pitch) for pool in pools for mask, where in pool]
    chosen = _choose([r for r in regions if r is not None], inside.shape, max_regions, rng)
    small = np.zeros(work.shape, dtype=np.uint8)
    small[box] = chosen
    return small if work.shape == array.shape else _upsample(small, array.shape)


def patient_mask(
    array: NDArray[np.int16], spacing: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(D,H,W) HU -> (D,H,W) bool: the patient, lungs and lumens too; no outside air, padding or couch."""
    in_plane = np.zeros((3, 3, 3), dtype=bool)
    in_plane[1] = ndimage.generate_binary_structure(2, 1)
    # Air that reaches a slice's rim is outside, unless it is lung that a narrow field of view cuts.
    airy, n = ndimage.label(array < -500, in_plane)
    sides = np.zeros((4, n + 1), dtype=bool)
    for touched, edge in zip(sides, (airy[:, 0], airy[:, -1], airy[:, :, 0], airy[:, :, -1]), strict=True):
        touched[edge] = True
    sides[:, 0] = False
    # No lung crosses a slice; the gap under the patient does.
    across = (sides[0] & sides[1]) | (sides[2] & sides[3])
    rim = sides[0] | sides[1] | sides[2] | sides[3]
    bodies, n = ndimage.label(rim[airy])
    outside = np.zeros(n + 1, dtype=bool)
    if n:
        outside[1:] = np.asarray(ndimage.median(array, bodies, np.arange(1, n + 1))) < AIR_HU
    inside = ~(outside[bodies] | across[airy])
    low = int(array.min())
    if low <= -1000:
        # A constant patch of the lowest value is padding wherever it lies; real air has noise.
        padding, m = ndimage.label(array == low, in_plane)
        patch = np.bincount(padding.ravel(), minlength=m + 1) >= 64
        patch[0] = False
        inside &= ~patch[padding]
    # Opened by some 4 mm, the patient lets go of couch and masks, which touch in thin lines.
    steps = max(1, round(4.0 / float(spacing[2])))
    thick = ndimage.binary_erosion(inside, in_plane, iterations=steps, border_value=1)
    parts, n = ndimage.label(thick)
    if n == 0:
        return inside
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return ndimage.binary_dilation((sizes >= 0.2 * sizes.max())[parts], in_plane, iterations=steps) & inside


def _merge_tree_regions(
    hu: NDArray[np.int16], inside: NDArray[np.bool_], pitch: NDArray[np.float64], rng: np.random.Generator
) -> list[tuple[NDArray[np.bool_], tuple[slice, ...]]]:
    lo, hi = WINDOWS[rng.choice(len(WINDOWS), p=WINDOW_WEIGHTS)]
    clipped = np.clip(hu, lo, hi).astype(np.float32)
    sigma = np.clip(rng.uniform(1.2, 3.0) / pitch, 0.5, 2.5)
    gradient = _gradient(clipped, pitch, sigma=sigma)
    reach = rng.uniform(6.0, 12.0)
    while True:
        size = np.maximum(np.round(reach / pitch), 3).astype(int) | 1
        minima = (gradient == ndimage.minimum_filter(gradient, size=tuple(size))) & inside
        markers, n = ndimage.label(minima, np.ones((3, 3, 3)))
        if n <= LARGEST_LEAVES:
            break
        reach *= 1.3
    basins = watershed(gradient, markers, mask=inside)
    tree = MergeTree(
        basins,
        clipped,
        gradient,
        pitch,
        slope_share=rng.uniform(0.1, 0.6),
        volumes=(SMALLEST_MM3, LARGEST_MM3),
        slices=max(SMALLEST_SPAN_SLICES, int(np.ceil(SMALLEST_SPAN_MM / pitch[0]))),
    )
    return _boxed(tree.cut(picks=60, temperature=rng.uniform(0.1, 0.4), rng=rng)[basins])


def _draw_bands(rng: np.random.Generator) -> list[tuple[float, float]]:
    """Two HU bands [lo, hi) out of bone, contrast vessels, soft tissue (wide, narrow), fat and air."""
    soft = rng.uniform(-10, 80)
    bands = [
        (rng.uniform(150, 280), 1e9),
        (rng.uniform(90, 170), rng.uniform(250, 450)),
        (soft, soft + rng.uniform(30, 60)),
        (rng.uniform(-20, 40), rng.uniform(120, 250)),
        (-160.0, rng.uniform(-60, -30)),
        (-1e9, rng.uniform(-700, -400)),
    ]
    picked = rng.choice(len(bands), size=2, replace=False, p=(0.25, 0.2, 0.2, 0.15, 0.05, 0.15))
    return [bands[i] for i in picked]


def _band_regions(
    hu: NDArray[np.int16],
    inside: NDArray[np.bool_],
    pitch: NDArray[np.float64],
    band: tuple[float, float],
    rng: np.random.Generator,
) -> list[tuple[NDArray[np.bool_], tuple[slice, ...]]]:
    smooth = ndimage.gaussian_filter(hu.astype(np.float32), rng.uniform(0.4, 0.9))
    member = (smooth >= band[0]) & (smooth < band[1]) & inside
    depth = ndimage.distance_transform_edt(member, sampling=pitch).astype(np.float32)
    # A marker wherever the structure is thickest within `reach`: bridges fall to their nearer end.
    reach = np.maximum(np.round(rng.uniform(12.0, 45.0) / pitch), 3).astype(int) | 1
    rounded = ndimage.gaussian_filter(depth, 1.0)
    peaks = (rounded == ndimage.maximum_filter(rounded, size=tuple(reach))) & (depth > 1.2 * pitch.min())
    markers, _ = ndimage.label(peaks, np.ones((3, 3, 3)))
    cut = member & (depth > rng.uniform(0.0, 1.2) * pitch.min())
    return _boxed(watershed(-rounded, markers, mask=cut))


def _finish(
    mask: NDArray[np.bool_],
    box: tuple[slice, ...],
    hu: NDArray[np.int16],
    gradient: NDArray[np.float32],
    inside: NDArray[np.bool_],
    pitch: NDArray[np.float64],
) -> _Region | None:
    """Smooth, connect and fill a candidate as a person would outline it; None if it is not plausible."""
    padded = np.pad(mask, 1)
    smooth = ndimage.gaussian_filter(padded.astype(np.float32), 0.6)[1:-1, 1:-1, 1:-1] > 0.45
    parts, n = ndimage.label(smooth & inside[box])
    if n == 0:
        return None
    sizes = np.bincount(parts.ravel())[1:]
    whole = parts == int(sizes.argmax()) + 1
    cross = np.zeros((3, 3, 3), dtype=bool)
    cross[1] = ndimage.generate_binary_structure(2, 1)
    whole = ndimage.binary_fill_holes(whole, cross) & inside[box]
    volume = float(whole.sum() * np.prod(pitch))
    if not SMALLEST_MM3 <= volume <= LARGEST_MM3 or whole.sum() < SMALLEST_VOXELS:
        return None
    span = int(whole.any(axis=(1, 2)).sum())
    if span < SMALLEST_SPAN_SLICES or span * pitch[0] < SMALLEST_SPAN_MM:
        return None
    # A sliver is the image of a blurred edge: most slices must keep a core when their rim is peeled off.
    core = ndimage.binary_erosion(whole, cross)
    if core.any(axis=(1, 2)).sum() < 0.5 * span:
        return None
    around = ndimage.binary_dilation(np.pad(whole, 1), cross)[1:-1, 1:-1, 1:-1] & ~core
    border, middle = float(gradient[box][around].mean()), float(gradient[box][core].mean())
    tidy = _tidiness(whole, pitch)
    # The share of the rim where the image has an edge: tiles of a lung or a liver have none between them.
    support = float((gradient[box][around] > 1.5 * middle + 2.0).mean())
    if border < 3.0 or support < 0.35 or tidy < 0.12:
        return None
    score = float(np.log(support) + 0.8 * np.log(tidy) + 0.15 * np.log(volume))
    # Fat under the skin passes every test above in every slice, and nobody labels it.
    fat = -150.0 < float(np.median(hu[box][whole])) < -40.0
    skin = 1.0 - float(inside[box][around].mean())
    return _Region(box, whole, score - 1.5 * fat - 4.0 * skin)


def _tidiness(mask: NDArray[np.bool_], pitch: NDArray[np.float64]) -> float:
    """4 pi area / perimeter^2 of the mask's (D,H,W) outlines, mean weighted by area: 1 for discs."""
    area = mask.sum(axis=(1, 2)) * pitch[1] * pitch[2]
    framed = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    edges = (framed[:, 1:] != framed[:, :-1]).sum(axis=(1, 2)) * pitch[2]
    edges = edges + (framed[:, :, 1:] != framed[:, :, :-1]).sum(axis=(1, 2)) * pitch[1]
    perimeter = np.maximum(edges * np.pi / 4, 1e-6)  # a voxel outline is 4/pi too long
    return float(np.average(np.minimum(4 * np.pi * area / perimeter**2, 1.0), weights=area))


def _choose(
    regions: list[_Region], shape: tuple[int, ...], max_regions: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Paste regions, best first with noise; one that is more than a tenth taken already is left out."""
    labels = np.zeros(shape, dtype=np.uint8)
    noisy = np.asarray([r.score for r in regions]) + 0.5 * rng.gumbel(size=len(regions))
    count = 0
    for index in np.argsort(-noisy).tolist():
        if count == max_regions:
            break
        region = regions[index]
        free = region.mask & (labels[region.box] == 0)
        if free.sum() >= 0.9 * region.mask.sum():
            count += 1
            labels[region.box][free] = count
    return labels


def _boxed(labels: NDArray[np.int32]) -> list[tuple[NDArray[np.bool_], tuple[slice, ...]]]:
    """Label map (D,H,W) -> a mask in its box, for every label that spans enough slices."""
    found = []
    for value, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None and box[0].stop - box[0].start >= SMALLEST_SPAN_SLICES:
            box = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in box)  # with the rim around it
            found.append((labels[box] == value, box))
    return found


def _gradient(
    values: NDArray, pitch: NDArray[np.float64], *, sigma: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Gradient magnitude in HU/mm of the smoothed values, (D,H,W) float32; sigma in voxels."""
    smooth = ndimage.gaussian_filter(values.astype(np.float32), sigma)
    total = np.zeros(smooth.shape, dtype=np.float32)
    for axis in range(3):
        if smooth.shape[axis] > 1:
            total += (np.gradient(smooth, axis=axis) / np.float32(pitch[axis])) ** 2
    return np.sqrt(total)


def _working_grid(
    array: NDArray[np.int16], spacing: NDArray[np.float64]
) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """The array and its spacing; at a coarser pitch, the finest axes first, if it has too many voxels."""
    pitch = spacing.copy()
    while array.size * float(np.prod(spacing / pitch)) > WORKING_VOXELS:
        pitch = np.maximum(pitch, 1.05 * pitch.min())
    shape = np.maximum(np.round(np.asarray(array.shape) * spacing / pitch), 1).astype(int)
    if tuple(shape) == array.shape:
        return array, spacing
    factors = shape / np.asarray(array.shape)
    smooth = ndimage.gaussian_filter(array.astype(np.float32), np.maximum(0.0, 0.4 / factors - 0.4))
    work = ndimage.zoom(smooth, factors, order=1, grid_mode=True, mode="nearest")
    return work.astype(np.int16), spacing / (np.asarray(work.shape) / np.asarray(array.shape))


def _upsample(labels: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Labels of the working grid on a finer one, (D,H,W) uint8; through linear weights, so without steps."""
    index = []
    for fine, coarse in zip(shape, labels.shape, strict=True):
        index.append(np.clip((np.arange(fine) + 0.5) * coarse / fine - 0.5, 0, coarse - 1))
    result = np.zeros(shape, dtype=np.uint8)
    for value, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        fine_box = tuple(
            slice(int(np.searchsorted(c, s.start - 1, "right")), int(np.searchsorted(c, s.stop, "left")))
            for c, s in zip(index, box, strict=True)
        )
        weight = (labels == value).astype(np.float32)[
            tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in box)
        ]
        for axis in range(3):
            at = index[axis][fine_box[axis]] - max(box[axis].start - 1, 0)
            low = np.minimum(np.floor(at).astype(int), weight.shape[axis] - 1)
            high = np.minimum(low + 1, weight.shape[axis] - 1)
            part = (at - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
            weight = weight.take(low, axis) * (1 - part) + weight.take(high, axis) * part
        view = result[fine_box]
        view[(weight > 0.5) & (view == 0)] = value
    return result
