"""Implicit shapes in mm for the phantom: negative inside, positive outside, a distance near the surface.

A shape is a callable ``shape(coords) -> field``; `coords` is a `Coords`, the field an array that broadcasts
to (D, H, W). Far from its surface a shape may return any positive number: nobody looks there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

Array = NDArray[np.floating[Any]]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Coords:
    """Positions of a block of voxels in the reference body, mm: x to the patient's left, y back, z up.

    x, y, z: (D, H, W) positions after the individual's smooth deformation: soft tissue lives here.
    rigid: the same positions undeformed, (1, 1, W), (1, H, 1), (D, 1, 1): skeleton and body wall.
    slack: bounds of the deformation in mm along x, y, z in this block, for bounding boxes.
    voxel: sum of the voxel's sides in mm: a surface blurs over no more than that.
    """

    x: Array
    y: Array
    z: Array
    rigid: tuple[Array, Array, Array]
    slack: Point
    voxel: float

    def box(
        self, lo: Sequence[float], hi: Sequence[float], pad: float = 0.0
    ) -> tuple[slice, slice, slice] | None:
        """Index box (z, y, x) of the voxels that may lie in [lo, hi] mm (xyz) and `pad` round it, or None."""
        found = []
        for axis, low, high, slack in zip(self.rigid, lo, hi, self.slack, strict=True):
            size = axis.size
            start = float(axis.flat[0])
            step = (
                (float(axis.flat[-1]) - start) / (size - 1) if size > 1 else 1.0
            )  # the lines are evenly spaced
            first = int(min(max(0.0, (float(low) - pad - slack - start) / step - 1), size))
            last = int(max(min(float(size), (float(high) + pad + slack - start) / step + 2), 0.0))
            if first >= last:
                return None
            found.append(slice(first, last))
        return found[2], found[1], found[0]

    def crop(self, box: tuple[slice, slice, slice]) -> Coords:
        """The coordinates of an index box as `box` returns it."""
        rx, ry, rz = self.rigid
        rigid = (rx[:, :, box[2]], ry[:, box[1]], rz[box[0]])
        return Coords(self.x[box], self.y[box], self.z[box], rigid, self.slack, self.voxel)


Shape = Callable[[Coords], Array]


def smooth_min(a: Array, b: Array, k: float) -> Array:
    """Minimum of two fields with corners rounded over `k` mm: a soft union."""
    h = np.maximum(np.float32(k) - np.abs(a - b), 0) / np.float32(k)
    return np.minimum(a, b) - h * h * np.float32(k / 4)


def smooth_max(a: Array, b: Array, k: float) -> Array:
    """Maximum of two fields with corners rounded over `k` mm: a soft intersection."""
    return -smooth_min(-a, -b, k)


def rotation(degrees: Point) -> NDArray[np.float64]:
    """(3, 3) matrix that turns about x, then y, then z by the given angles."""
    ax, ay, az = np.deg2rad(degrees)
    cx, sx, cy, sy, cz, sz = np.cos(ax), np.sin(ax), np.cos(ay), np.sin(ay), np.cos(az), np.sin(az)
    rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(rz @ ry @ rx)


@dataclass(frozen=True)
class Ellipsoid:
    """Ellipsoid with half-axes `radii` (mm), turned by `turn` degrees about x, y, z."""

    center: Point
    radii: Point
    turn: Point = (0.0, 0.0, 0.0)

    @property
    def bounds(self) -> tuple[Point, Point]:
        """Lowest and highest corner of a box around it, mm."""
        reach = np.sqrt((rotation(self.turn) ** 2) @ (np.array(self.radii) ** 2))
        return tuple(np.array(self.center) - reach), tuple(np.array(self.center) + reach)  # type: ignore[return-value]

    def __call__(self, c: Coords) -> Array:
        dx, dy, dz = (v - np.float32(m) for v, m in zip((c.x, c.y, c.z), self.center, strict=True))
        if any(self.turn):
            m = rotation(self.turn).astype(np.float32)
            dx, dy, dz = (m[0, i] * dx + m[1, i] * dy + m[2, i] * dz for i in range(3))
        rx, ry, rz = (np.float32(1 / r) for r in self.radii)
        px, py, pz = dx * rx, dy * ry, dz * rz
        k0 = np.sqrt(px * px + py * py + pz * pz)
        px, py, pz = px * rx, py * ry, pz * rz
        return np.asarray(k0 * (k0 - 1) / np.maximum(np.sqrt(px * px + py * py + pz * pz), np.float32(1e-6)))


@dataclass(frozen=True)
class Tube:
    """A swept tube: a chain of round cones through `points` (n, 3) with `radii` (n,); `flat` < 1 squashes y.

    The field is true up to `reach` mm from the surface and constant beyond (on coarse grids a voxel further).
    """

    points: NDArray[np.float32]
    radii: NDArray[np.float32]
    reach: float = 4.0
    flat: float = 1.0

    @classmethod
    def spline(
        cls,
        points: ArrayLike | Sequence[ArrayLike],
        radii: ArrayLike,
        *,
        step: float = 7.0,
        reach: float = 4.0,
        flat: float = 1.0,
        ripple: tuple[float, float] = (0.0, 1.0),
    ) -> Tube:
        """A tube along a cubic spline through `points`, cut every `step` mm; ripple: share, period."""
        knots = np.asarray(points, float)
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
        at = np.linspace(0, along[-1], max(2, int(np.ceil(along[-1] / step)) + 1))
        path = CubicSpline(along, knots)(at)
        width = np.interp(at, along, np.asarray(radii, float))
        width = width * (1 + ripple[0] * np.cos(2 * np.pi * at / ripple[1]))
        return cls(path.astype(np.float32), width.astype(np.float32), reach, flat)

    @property
    def bounds(self) -> tuple[Point, Point]:
        """Lowest and highest corner of a box around it, mm."""
        r = self.radii[:, None]
        return tuple((self.points - r).min(0)), tuple((self.points + r).max(0))

    def __call__(self, c: Coords) -> Array:
        reach = max(self.reach, c.voxel)
        field = np.full(c.x.shape, reach, np.float32)
        squash = np.float32(1 / self.flat)
        for a, b, ra, rb in zip(
            self.points[:-1], self.points[1:], self.radii[:-1], self.radii[1:], strict=True
        ):
            r = max(ra, rb)
            box = c.box(np.minimum(a, b) - r, np.maximum(a, b) + r, reach)
            if box is None:
                continue
            px, py, pz = c.x[box] - a[0], (c.y[box] - a[1]) * squash, c.z[box] - a[2]
            d = (b - a).astype(np.float32)
            d[1] *= squash
            t = (px * d[0] + py * d[1] + pz * d[2]) * np.float32(1 / max(float(d @ d), 1e-6))
            np.clip(t, 0, 1, out=t)
            px -= t * d[0]
            py -= t * d[1]
            pz -= t * d[2]
            dist = np.sqrt(px * px + py * py + pz * pz) - (ra + t * (rb - ra))
            np.minimum(field[box], dist, out=field[box])
        return field


@dataclass(frozen=True)
class Union:
    """Soft union of shapes: corners rounded over `k` mm."""

    parts: tuple[Shape, ...]
    k: float = 1.0

    def __call__(self, c: Coords) -> Array:
        field = self.parts[0](c)
        for part in self.parts[1:]:
            field = smooth_min(field, part(c), self.k)
        return field


@dataclass(frozen=True)
class Within:
    """`shape` cut to the inside of `limit`, kept `gap` mm away from it, corners rounded over `k` mm."""

    shape: Shape
    limit: Shape
    gap: float = 0.0
    k: float = 4.0

    def __call__(self, c: Coords) -> Array:
        return smooth_max(self.shape(c), self.limit(c) + np.float32(self.gap), self.k)


@dataclass(frozen=True)
class Without:
    """`shape` with `hole` taken out, corners rounded over `k` mm."""

    shape: Shape
    hole: Shape
    k: float = 4.0

    def __call__(self, c: Coords) -> Array:
        return smooth_max(self.shape(c), -self.hole(c), self.k)


@dataclass(frozen=True)
class Ripple:
    """Smooth noise about -1..1: a sum of plane waves of about `wavelength` mm, not deformed with the body."""

    waves: NDArray[np.float32]
    phases: NDArray[np.float32]

    @classmethod
    def make(cls, rng: np.random.Generator, wavelength: float, count: int = 4) -> Ripple:
        """Random directions, wavelengths within 30 %."""
        direction = rng.normal(size=(count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        length = wavelength * rng.uniform(0.7, 1.3, (count, 1))
        return cls(
            (direction * 2 * np.pi / length).astype(np.float32),
            rng.uniform(0, 6.28, count).astype(np.float32),
        )

    def __call__(self, c: Coords) -> Array:
        x, y, z = c.rigid
        total = np.zeros(c.x.shape, np.float32)
        for wave, phase in zip(self.waves, self.phases, strict=True):
            # sin(a + b) from a line and a plane: no sine per voxel
            line, plane = wave[0] * x, wave[1] * y + wave[2] * z + phase
            total += np.sin(line) * np.cos(plane)
            total += np.cos(line) * np.sin(plane)
        return total * np.float32(1 / np.sqrt(len(self.waves)))


@dataclass(frozen=True)
class Bumpy:
    """`shape` with its surface moved in and out by `height` mm after a `Ripple`."""

    shape: Shape
    ripple: Ripple
    height: float

    def __call__(self, c: Coords) -> Array:
        return self.shape(c) + np.float32(self.height) * self.ripple(c)
