"""The phantom's trunk: skin, fat, wall, ribs, diaphragm, lungs, heart, scanner table. None is labelled.

Reference body, mm: x to the left, y to the back, z up; the origin is the middle of the trunk at disc L1/L2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from volumes.phantom_render import Layer, Part
from volumes.phantom_shapes import (
    Array,
    Bumpy,
    Coords,
    Ellipsoid,
    Point,
    Ripple,
    Shape,
    Tube,
    Union,
    Within,
    smooth_max,
    smooth_min,
)

EVERYWHERE: tuple[Point, Point] = ((-1e4, -1e4, -1e4), (1e4, 1e4, 1e4))
SPINE_Z = (-260.0, -160.0, -110.0, -60.0, 0.0, 60.0, 120.0, 200.0, 300.0)
SPINE_Y = (70.0, 52.0, 36.0, 29.0, 33.0, 41.0, 47.0, 50.0, 46.0)
VERTEBRAE_Z = np.array(
    [-160, -123, -88, -53, -18, 16, 49, 80, 109, 136, 162, 187, 211, 234, 257, 280], np.float32
)
T12 = 6


def spine_y(z: float | Array) -> Array:
    """y of the vertebral bodies' centres at height z."""
    return np.asarray(CubicSpline(SPINE_Z, SPINE_Y)(z), np.float32)


@dataclass(frozen=True)
class Body:
    """One trunk. Methods named after a surface give its field, negative inside."""

    fat_side: float
    fat_front: float
    fat_back: float
    belly: float
    dome: tuple[float, float]
    hu: dict[str, float]
    outline: tuple[tuple[float, float], ...]
    lean: float
    rng_seed: tuple[int, ...]

    @classmethod
    def make(cls, rng: np.random.Generator, hu: dict[str, float], seed: int) -> Body:
        """Draw one individual."""
        fat = rng.uniform(0, 1) ** 1.5
        return cls(
            fat_side=6 + 26 * fat + rng.uniform(0, 4),
            fat_front=7 + 22 * fat + rng.uniform(0, 8),
            fat_back=8 + 16 * fat + rng.uniform(0, 5),
            belly=rng.uniform(-4, 10),
            dome=(rng.uniform(122, 138), rng.uniform(106, 120)),
            hu=hu,
            outline=tuple((rng.normal(0, 0.011), rng.uniform(0, 6.28)) for _ in range(3)),
            lean=rng.normal(0, 4),
            rng_seed=(seed, 11),
        )

    @property
    def half_width(self) -> float:
        """Largest distance of the skin from the midline, mm."""
        return (141 + self.fat_side) * 1.03

    @property
    def depth(self) -> float:
        """From the front of the skin to its back, mm."""
        return 201 + self.fat_front + self.fat_back

    def _girth(self, z: Array) -> Array:
        up = np.clip((z - 75) / 110, 0, 1.2)
        waist = np.exp(-(((z + 40) / 38) ** 2))
        hips = np.clip((-z - 70) / 80, 0, 1)
        return np.asarray(1 - 0.09 * up * up - 0.035 * waist + 0.05 * hips, np.float32)

    def _front(self, z: Array) -> Array:
        return np.asarray(self.belly * np.exp(-(((z + 50) / 70) ** 2)), np.float32)

    def _uneven(self, c: Coords) -> Array:
        """(1, H, W) factor about 1: no trunk is a perfect oval, nor the same on both sides."""
        x, y, _ = c.rigid
        angle = np.arctan2(y, x)
        total = np.ones(angle.shape, np.float32)
        for k, (height, phase) in enumerate(self.outline, start=2):
            total += np.float32(height) * np.cos(k * angle + np.float32(phase))
        return total

    def _wall(self, c: Coords, side: float, front: float, back: float, p: float) -> Array:
        x, y, z = c.rigid
        groove = 7 * np.exp(-((x / 16) ** 2)) * np.clip(y / 60, 0, 1)
        swell = 1 + self._front(z) / 95
        depth = np.where(y < 0, np.float32(front) * swell, np.float32(back))
        u, v = np.abs(x) / (np.float32(side) * self._girth(z)), np.abs(y + groove) / depth
        total = (u ** np.float32(p) + v ** np.float32(p)) ** np.float32(1 / p)
        return np.asarray((total * self._uneven(c) - 1) * np.float32(100), np.float32)

    def skin(self, c: Coords) -> Array:
        """Outer skin."""
        return self._wall(c, 141 + self.fat_side, 99 + self.fat_front, 102 + self.fat_back, 2.45)

    def muscle(self, c: Coords) -> Array:
        """Outer side of the muscle wall."""
        return self._wall(c, 141, 99, 102, 2.5)

    def cavity(self, c: Coords) -> Array:
        """Inner side of the wall: chest and abdomen together."""
        x, y, z = c.rigid
        chest = 1 / (1 + np.exp(-(z - 45) / 12))
        depth = np.where(y < 0, 90 * (1 + self._front(z) / 95), 86 + 3 * chest)
        u, v = np.abs(x) / ((130 - 1 * chest) * self._girth(z)), np.abs(y) / depth
        total = (u * u * np.sqrt(u) + v * v * np.sqrt(v)) ** np.float32(0.4)
        return np.asarray((total * self._uneven(c) - 1) * np.float32(100), np.float32)

    def above_diaphragm(self, c: Coords) -> Array:
        """Height below the diaphragm, negative above it: right, left, middle dome, recess at the wall."""
        x, y, z = c.rigid
        base = np.float32(14)
        height = np.zeros(np.broadcast_shapes(x.shape, y.shape), np.float32)
        right, left = self.dome
        for cx, cy, rx, ry, top in (
            (-60, -8, 72, 88, right),
            (62, -2, 70, 88, left),
            (0, -25, 70, 76, left - 20),
        ):
            rho = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2
            dome = (top - base) * np.sqrt(np.maximum(1 - rho**1.6, 0))
            height = -smooth_min(-height, -dome.astype(np.float32), 14)
        return np.asarray(base + height - z, np.float32)

    def abdomen(self, c: Coords) -> Array:
        """Inside of the abdominal cavity: the wall below the diaphragm."""
        return smooth_max(self.cavity(c), -self.above_diaphragm(c), 6)

    def chest(self, c: Coords) -> Array:
        """Inside of the chest: the wall above the diaphragm."""
        return np.maximum(self.cavity(c), self.above_diaphragm(c))

    def trunk(self) -> list[Part]:
        """Skin, fat, muscle wall, ribs and the two cavities, outermost first."""
        hu = self.hu
        rng = np.random.default_rng([*self.rng_seed, 1])
        marble = Ripple.make(rng, 9)
        streak = Ripple.make(rng, 40)

        def subcutaneous(c: Coords, _: Array) -> Array:
            return np.asarray(hu["fat"] + 5 * marble(c) + 5 * streak(c), np.float32)

        def omental(c: Coords, _: Array) -> Array:
            return np.asarray(hu["fat"] - 2 + 6 * marble(c), np.float32)

        def wall(c: Coords, _: Array) -> Array:
            return self._wall_layers(c) + 5 * marble(c)

        return [
            Part("skin", self.skin, EVERYWHERE, (Layer(hu["skin"]), Layer(subcutaneous, 2.2))),
            Part("wall", self.muscle, EVERYWHERE, (Layer(wall),)),
            Part("cavity", self.cavity, EVERYWHERE, (Layer(omental),)),
            Part(
                "ribs",
                self._ribs,
                ((-200, -140, -90), (200, 140, 400)),
                (Layer(hu["bone"]), Layer(hu["marrow"], 2.0)),
            ),
            Part("diaphragm", self.chest, EVERYWHERE, (Layer(hu["muscle"]), Layer(hu["lung"], 2.6))),
        ]

    def _wall_layers(self, c: Coords) -> Array:
        """HU in the muscle wall: three sheets with fat planes at the sides, two straight muscles in front."""
        x, y, z = c.rigid
        outer, inner = self.muscle(c), self.cavity(c)
        depth = -outer / np.maximum(inner - outer, 1)
        low = 1 / (1 + np.exp((z - 25) / 10))
        side = np.clip((np.abs(x) - 62) / 10, 0, 1) * np.clip((70 - y) / 20, 0, 1)
        gap = np.exp(-(((depth - 0.36) / 0.05) ** 2)) + np.exp(-(((depth - 0.68) / 0.05) ** 2))
        alba = np.exp(-((x / 4) ** 4)) + np.exp(-(((np.abs(x) - 60) / 4) ** 4))
        front = np.clip((-y - 40) / 20, 0, 1)
        rim = np.clip(depth * 8, 0, 1)
        fat = np.clip(0.5 * gap * side * low + 0.9 * alba * front * low, 0, 1) * rim
        intercostal = (
            (1 - low) * np.exp(-(((depth - 0.45) / 0.12) ** 2)) * 0.45 * np.clip((95 - y) / 20, 0, 1)
        )
        share = np.clip(fat + intercostal, 0, 1)
        return np.asarray(self.hu["muscle"] + share * (self.hu["fat"] - self.hu["muscle"]), np.float32)

    def _ribs(self, c: Coords) -> Array:
        """All ribs at once: each runs in the wall from its vertebra to the front, falling as it goes."""
        x, y, z = c.rigid
        middle = 0.42 * self.muscle(c) + 0.58 * self.cavity(c)
        angle = np.arctan2(np.abs(x), y)  # 0 behind, pi in front
        turn = np.clip((angle - 0.25) / 2.5, 0, 1.2)
        fall = 165 * turn**1.15
        height_of_side = np.where(x < 0, np.float32(self.lean), np.float32(-self.lean))
        field = np.full(np.broadcast_shapes(middle.shape, c.x.shape), 1e3, np.float32)
        for k, height in enumerate(VERTEBRAE_Z):
            if k < T12:
                continue
            end = {0: 1.1, 1: 1.6, 2: 1.95, 3: 2.2}.get(k - T12, 2.55)
            dz = (z - (height + 6 - fall + height_of_side)) * np.float32(0.6)
            rib = (np.sqrt((middle * 1.1) ** 2 + dz * dz) - 4.0).astype(np.float32)
            rib = np.maximum(rib, (angle - end) * 60)
            np.minimum(field, rib, out=field)
        return np.maximum(field, (0.3 - angle) * 60).astype(np.float32)

    def _rib_bone(self, c: Coords) -> Array:
        """HU of the ribs' shell: bone, cartilage towards the front."""
        x, y, _ = c.rigid
        front = np.clip((np.arctan2(np.abs(x), y) - 1.95) / 0.2, 0, 1)
        return np.asarray(self.hu["bone"] + front * (105 - self.hu["bone"]), np.float32)

    def _rib_core(self, c: Coords) -> Array:
        x, y, _ = c.rigid
        front = np.clip((np.arctan2(np.abs(x), y) - 1.95) / 0.2, 0, 1)
        return np.asarray(self.hu["marrow"] + front * (85 - self.hu["marrow"]), np.float32)

    def thorax(self, rng: np.random.Generator) -> list[Part]:
        """Mediastinum, heart and lung vessels, above the diaphragm."""
        hu = self.hu
        dx = rng.normal(0, 4)
        heart = Union(
            (
                Ellipsoid((26 + dx, -36, 134), (58, 48, 42), (0, 22, -20)),
                Ellipsoid((-16 + dx, -22, 150), (34, 36, 38)),
                Ellipsoid((5 + dx, -25, 190), (38, 36, 45)),
            ),
            14,
        )
        mediastinum: Shape = Union(
            (Ellipsoid((4, 25, 170), (22, 32, 200)), Ellipsoid((14 + dx, -62, 165), (56, 56, 85))), 20
        )
        mediastinum = Bumpy(mediastinum, Ripple.make(rng, 55), 5.0)
        blood = Ripple.make(rng, 70)

        def chambers(c: Coords, field: Array) -> Array:
            myocard = np.clip((10 + field) / 4, 0, 1)
            return np.asarray(hu["heart"] * (1 - 0.22 * myocard) + 6 * blood(c), np.float32)

        limit = self.chest
        parts = [
            Part("mediastinum", Within(mediastinum, limit, 2.5), EVERYWHERE, (Layer(hu["fat"]),)),
            Part("heart", Within(heart, limit, 3.0), ((-110, -110, 90), (120, 60, 260)), (Layer(chambers),)),
        ]
        for _ in range(110):
            side = rng.choice([-1, 1])
            at = np.array([side * rng.uniform(45, 100), rng.uniform(-50, 70), rng.uniform(20, 200)])
            way = np.array([side * rng.uniform(-0.3, 1), rng.uniform(-1, 1), -rng.uniform(0.3, 1.5)])
            way *= rng.uniform(15, 40) / np.linalg.norm(way)
            r = rng.uniform(0.8, 2.4)
            tube = Tube.spline([at, at + way], [r, r * 0.6], step=20, reach=2)
            parts.append(Part("lung vessel", Within(tube, limit, 5.0, 1), tube.bounds, (Layer(40.0),)))
        return parts


def table(body: Body) -> Part:
    """The scanner's table: a thin curved sheet under the back."""
    back = 102 + body.fat_back + 3

    def sheet(c: Coords) -> Array:
        x, y, _ = c.rigid
        middle = y - (back + 17 - 0.00045 * x * x)
        field = np.maximum(np.abs(middle) - 9.0, np.abs(x) - 205)
        return np.asarray(np.broadcast_to(field, c.x.shape), np.float32)

    layers = (Layer(70.0), Layer(-900.0, 2.6))
    return Part("table", sheet, ((-210, back - 25, -1e4), (210, back + 30, 1e4)), layers)
