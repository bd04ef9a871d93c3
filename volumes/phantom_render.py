"""Paints implicit shapes into a block of slices: partial volume, fat between organs, labels, deformation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volumes.phantom_shapes import Array, Coords, Point, Shape

Content = float | Callable[[Coords, Array], Array]
KEEP = -1


@dataclass(frozen=True)
class Layer:
    """A material in a part: from `depth` mm under its surface inwards, if given only where `where` < 0."""

    hu: Content
    depth: float = 0.0
    where: Shape | None = None


@dataclass(frozen=True)
class Part:
    """One thing to paint over what is there.

    bounds: box in mm (lowest, highest corner) outside which the shape need not be looked at.
    label: value written where the shape is; 0 clears, KEEP leaves what is there.
    halo: mm of fat laid round it first, inside the abdominal cavity only: organs do not touch.
    inside: paint only where this label already is (vessels in the liver).
    firm: later halos leave it alone (muscle, bone).
    """

    name: str
    shape: Shape
    bounds: tuple[Point, Point]
    layers: tuple[Layer, ...]
    label: int = 0
    halo: float = 0.0
    inside: int | None = None
    firm: bool = False


def cover(field: Array, width: Array | float) -> Array:
    """Share of each voxel inside: a linear ramp as wide as the voxel seen along the surface normal."""
    return np.clip(np.float32(0.5) - field / width, 0, 1)


def field_width(field: Array) -> Array:
    """(D, H, W) change of the field across one voxel, summed over the axes: the width of partial volume.

    It makes oblique surfaces in thick slices as blurred as a scanner makes them, without supersampling.
    """
    width = np.full(field.shape, 1e-3, np.float32)
    for axis in range(3):
        if field.shape[axis] < 2:
            continue
        step = np.abs(np.diff(field, axis=axis))
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        step *= np.float32(0.5)
        width[low] += step
        width[high] += step
        for end in (0, -1):  # one-sided at both ends
            edge = tuple(end if a == axis else slice(None) for a in range(3))
            width[edge] += step[edge]
    return width


class Canvas:
    """HU (float32) and labels (uint8) of a block of slices, painted part by part."""

    def __init__(self, coords: Coords, fat_hu: float) -> None:
        self.coords = coords
        self.fat_hu = np.float32(fat_hu)
        self.hu = np.full(coords.x.shape, -1000, np.float32)
        self.labels = np.zeros(coords.x.shape, np.uint8)
        self.cavity: Array | None = None  # where halos may lay fat, 0..1

    def paint(self, part: Part) -> None:
        """Paint `part` over what is there."""
        box = self.coords.box(*part.bounds, pad=part.halo + self.coords.voxel)
        if box is None:
            return
        c = self.coords.crop(box)
        field = np.broadcast_to(part.shape(c), c.x.shape)
        if field.min() > part.halo + self.coords.voxel:
            return
        width = field_width(field)
        hu, labels = self.hu[box], self.labels[box]
        allowed = None if part.inside is None else labels == part.inside
        if part.halo > 0 and self.cavity is not None:
            room = self.cavity[box]
            ring = cover(field - np.float32(part.halo), width) * room
            hu += (self.fat_hu - hu) * ring
            labels[ring > 0.5] = 0
        for layer in part.layers:
            deep = field + np.float32(layer.depth) if layer.depth else field
            share: Array = cover(deep, width)
            if layer.where is not None:
                limit = np.broadcast_to(layer.where(c), c.x.shape)
                share = share * cover(limit, field_width(limit))
            if allowed is not None:
                share = share * allowed
            value = layer.hu(c, field) if callable(layer.hu) else np.float32(layer.hu)
            hu += (value - hu) * share
        if part.firm and self.cavity is not None:
            self.cavity[box] *= 1 - cover(field, width)
        if part.label != KEEP:
            solid = field < 0
            labels[solid if allowed is None else solid & allowed] = part.label


@dataclass(frozen=True)
class Deformation:
    """A smooth random displacement in mm: cubic B-splines on coarse knots, in several octaves."""

    octaves: tuple[tuple[float, NDArray[np.float32]], ...]
    low: Point

    @classmethod
    def make(
        cls, rng: np.random.Generator, low: Point, high: Point, octaves: tuple[tuple[float, float], ...]
    ) -> Deformation:
        """octaves: (knot distance mm, standard deviation mm of the knots' displacement)."""
        made = []
        for distance, sd in octaves:
            count = [int(np.ceil((h - lo) / distance)) + 4 for lo, h in zip(low, high, strict=True)]
            knots = np.clip(rng.normal(size=(3, count[2], count[1], count[0])), -2, 2) * sd
            made.append((distance, knots.astype(np.float32)))
        return cls(tuple(made), low)

    def coords(self, x: Array, y: Array, z: Array) -> Coords:
        """Coordinates of the grid spanned by three lines of reference positions (W,), (H,), (D,)."""
        total = [np.zeros((z.size, y.size, x.size), np.float32) for _ in range(3)]
        for distance, knots in self.octaves:
            bx, by, bz = (
                _basis((line - lo) / distance, n)
                for line, lo, n in zip((x, y, z), self.low, knots.shape[:0:-1], strict=True)
            )
            for i in range(3):
                rows = np.tensordot(bz, knots[i], axes=(1, 0))  # (D, ny, nx)
                rows = np.matmul(by, rows)  # (D, H, nx)
                total[i] += np.matmul(rows, bx.T)
        rigid = (x[None, None, :], y[None, :, None], z[:, None, None])
        moved = [t + line for t, line in zip(total, rigid, strict=True)]
        sx, sy, sz = (float(np.abs(t).max()) for t in total)
        voxel = sum(float(line[1] - line[0]) for line in (x, y, z) if line.size > 1)
        return Coords(moved[0], moved[1], moved[2], rigid, (sx, sy, sz), voxel)


def _basis(t: Array, count: int) -> Array:
    """(n, count) uniform cubic B-spline weights at positions `t` in knot units; held constant outside."""
    t = np.clip(t, 0, count - 3 - 1e-3)
    first = np.floor(t).astype(int)
    u = t - first
    weights = np.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], 1) / 6
    basis = np.zeros((t.size, count), np.float32)
    for i in range(4):
        basis[np.arange(t.size), first + i] = weights[:, i]
    return basis
