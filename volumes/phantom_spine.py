"""The phantom's spine with canal and processes, the muscles beside it, and the hips. None is labelled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from volumes.phantom_body import T12, VERTEBRAE_Z, Body, spine_y
from volumes.phantom_render import Layer, Part
from volumes.phantom_shapes import Array, Coords, Ellipsoid, Ripple, Shape, Tube, Union, smooth_max


@dataclass(frozen=True)
class Spine:
    """The spine of one body."""

    body: Body

    def parts(self, rng: np.random.Generator) -> list[Part]:
        """Muscles of the back, vertebrae with canal and processes, sacrum and iliac wings."""
        hu = self.body.hu
        grain, marble = Ripple.make(rng, 5), Ripple.make(rng, 14)

        def muscle(c: Coords, _: Array) -> Array:
            return np.asarray(hu["muscle"] - 14 * np.clip(marble(c), 0, 2), np.float32)

        def spongy(c: Coords, _: Array) -> Array:
            return np.asarray(hu["marrow"] + 18 * grain(c), np.float32)

        fat = Layer(hu["fat"] + 10)
        around = ((-90.0, -20.0, -1e4), (90.0, 140.0, 1e4))
        column = ((-60.0, -20.0, -1e4), (60.0, 135.0, 1e4))
        parts = [
            Part("back", self._back, around, (Layer(muscle),), firm=True),
            Part("back muscles", self._back_muscles, around, (fat, Layer(muscle, 1.0)), firm=True),
        ]
        for side in (-1, 1):
            zs = (22, -10, -45, -80, -115, -150)
            path = [(side * (23 + 0.15 * (22 - z)), float(spine_y(z)) + 6 - 0.05 * (22 - z), z) for z in zs]
            psoas = Tube.spline(path, (6, 13, 17, 20, 22, 22), step=12)
            parts.append(Part("psoas", psoas, psoas.bounds, (fat, Layer(muscle, 1.0)), firm=True))
            path = [(side * (56 + 0.10 * (20 - z)), float(spine_y(z)) + 29, z) for z in (20, -20, -60, -95)]
            square = Tube.spline(path, (6, 12, 14, 14), step=14, flat=0.5)
            parts.append(Part("quadratus", square, square.bounds, (fat, Layer(muscle, 1.0)), firm=True))
            path = [
                (side * (13 + 0.02 * (90 - z)), float(spine_y(z)) - 15 - 0.04 * (z + 40), z)
                for z in (100, 60, 20, -30)
            ]
            crus = Tube.spline(path, (4.5, 4.5, 4, 3.0), step=12)
            parts.append(Part("crus", crus, crus.bounds, (Layer(hu["muscle"] + 6),), firm=True))
        parts += [
            Part("discs", self._column, column, (Layer(hu["disc"]),), firm=True),
            Part("vertebrae", self._vertebrae, column, (Layer(hu["bone"]), Layer(spongy, 1.8)), firm=True),
            Part("arches", self._arches, column, (Layer(hu["bone"] * 0.95), Layer(spongy, 2.2)), firm=True),
            Part("canal", self._canal, column, (fat, Layer(hu["cord"], 2.5))),
            *self._hips(),
        ]
        return parts

    def _local(self, c: Coords) -> tuple[Array, Array, Array, Array]:
        """x, y and z from the nearest vertebra's centre, and that vertebra's half height."""
        x, y, z = c.rigid
        flat = z.ravel()
        near = np.abs(flat[:, None] - VERTEBRAE_Z[None]).argmin(1)
        half = np.where(near <= T12, 14.0, 12.0)[:, None, None].astype(np.float32)
        dz = (flat - VERTEBRAE_Z[near])[:, None, None].astype(np.float32)
        return x, y - spine_y(flat)[:, None, None], dz, half

    def _column(self, c: Coords) -> Array:
        x, y, dz, half = self._local(c)
        waist = 1 - 0.09 * np.clip(1 - (dz / half) ** 2, 0, 1)
        wide = np.where(half > 13, 23.5, 18.0) * waist
        deep = np.where(half > 13, 17.0, 16.5) * waist
        notch = 3.5 * np.exp(-((x / 9) ** 2)) * np.clip(y / 10, 0, 1)
        return np.asarray((np.sqrt((x / wide) ** 2 + ((y + notch) / deep) ** 2) - 1) * 18, np.float32)

    def _vertebrae(self, c: Coords) -> Array:
        _, _, dz, half = self._local(c)
        return smooth_max(self._column(c), (np.abs(dz) - half + np.zeros_like(c.x)).astype(np.float32), 3)

    def _canal(self, c: Coords) -> Array:
        x, y, _, _ = self._local(c)
        field = (np.sqrt((x / 1.25) ** 2 + (y - 25) ** 2) - 8.5).astype(np.float32)
        return np.asarray(np.broadcast_to(field, c.x.shape))

    def _arches(self, c: Coords) -> Array:
        """Pedicles, laminae, spinous and transverse processes, facet joints."""
        x, y, dz, half = self._local(c)
        ax = np.abs(x)
        pedicle = np.maximum(np.maximum(np.abs(ax - 13) - 4, np.abs(y - 16) - 12), np.abs(dz - 4) - 7)
        ring = np.abs(np.sqrt((x / 1.25) ** 2 + (y - 25) ** 2) - 11.5) - 3.2
        lamina = np.maximum(np.maximum(ring, 24 - y), np.abs(dz + 3) - 10)
        spin_z = np.abs(dz + 4 + 0.30 * (y - 38)) - 9
        spin = np.maximum(np.maximum(ax - 3.2 - 0.06 * np.clip(y - 50, 0, 20), np.abs(y - 52) - 16), spin_z)
        cross = np.sqrt((y - 24 - 0.12 * ax) ** 2 + (dz - 3) ** 2) - 4.6
        cross = np.maximum(np.maximum(cross, ax - np.where(half > 13, 42, 32)), 12 - ax)
        joint_z = np.minimum(np.abs(dz - half - 1), np.abs(dz + half + 1))
        facet = np.sqrt((ax - 17) ** 2 + (y - 29) ** 2 + (0.5 * joint_z) ** 2) - 7.5
        field = np.minimum(np.minimum(pedicle, lamina), np.minimum(spin, np.minimum(cross, facet)))
        return np.asarray(np.broadcast_to(field, c.x.shape), np.float32)

    def _back(self, c: Coords) -> Array:
        """All that fills the back between spine and wall, behind the transverse processes."""
        x, y, _, _ = self._local(c)
        block = np.maximum(np.abs(x) - 64, 24 + 0.18 * np.abs(x) - y)
        return np.asarray(np.maximum(np.broadcast_to(block, c.x.shape), self.body.muscle(c) + 1), np.float32)

    def _back_muscles(self, c: Coords) -> Array:
        x, y, _, _ = self._local(c)
        _, _, z = c.rigid
        low = np.asarray(1 / (1 + np.exp((z - 60) / 25)), np.float32)
        wide, deep = 24 + 9 * low, 16 + 7 * low
        field = (np.sqrt(((np.abs(x) - 6 - wide) / wide) ** 2 + ((y - 42) / deep) ** 2) - 1) * 17
        return np.asarray(np.maximum(np.broadcast_to(field, c.x.shape), self.body.muscle(c) + 2), np.float32)

    def _hips(self) -> list[Part]:
        """Iliac wings and sacrum, for fields that reach low."""
        parts: list[Part] = []
        layers = (Layer(self.body.hu["bone"]), Layer(self.body.hu["marrow"], 2.5))
        for side in (-1, 1):
            rows = []
            for z in (-96, -112, -130, -150, -172):
                spread = (-96 - z) / 76
                front, back = 18 - 45 * spread, 52 + 22 * min(1.0, 2 * spread)
                rows.append(
                    Tube.spline(
                        [
                            (side * 112, front, z),
                            (side * 98, (front + back) / 2, z),
                            (side * (60 - 18 * spread), back, z),
                        ],
                        (4.5 + 2 * spread, 4 + spread, 7 + 3 * spread),
                        step=12,
                        reach=14,
                    )
                )
            wing: Shape = Union(tuple(rows), 9)
            parts.append(Part("ilium", wing, ((-125, -50, -190), (125, 95, -80)), layers))
        sacrum = Ellipsoid((0, 66, -165), (52, 17, 45), (-25, 0, 0))
        parts.append(Part("sacrum", sacrum, sacrum.bounds, layers))
        return parts
