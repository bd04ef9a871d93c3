"""The phantom's unlabelled bowel: colon with stool and gas, small bowel, vessels of the mesentery."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from volumes.phantom_body import Body
from volumes.phantom_draw import level
from volumes.phantom_render import Layer, Part
from volumes.phantom_shapes import Array, Coords, Ripple, Tube, Within


def colon(rng: np.random.Generator, body: Body, hu: dict[str, float]) -> list[Part]:
    """Ascending, transverse and descending colon."""
    sag = rng.uniform(-30, 15)
    pieces = (
        (
            [(-92, 8, -165), (-97, 2, -120), (-98, 0, -80), (-94, -14, -48), (-84, -34, -38)],
            (22, 25, 22, 19, 17),
        ),
        (
            [
                (-84, -34, -38),
                (-58, -64, -38 + 0.5 * sag),
                (-10, -74, -40 + sag),
                (40, -70, -25 + sag),
                (78, -52, 8),
                (97, -22, 36),
            ],
            (17, 16, 17, 16, 16, 16),
        ),
        (
            [(97, -22, 36), (106, 12, 18), (105, 24, -20), (103, 20, -70), (96, 10, -120), (80, 0, -165)],
            (15, 12, 12, 11, 12, 13),
        ),
    )
    parts = []
    for points, radii in pieces:
        shape = Within(
            Tube.spline(
                np.array(points) + rng.normal(0, 2.5, (len(points), 3)),
                np.array(radii) * rng.uniform(0.85, 1.1),
                step=6,
                ripple=(0.13, rng.uniform(22, 30)),
            ),
            body.cavity,
            3,
            5,
        )
        clumps, crumbs = Ripple.make(rng, 26, 5), Ripple.make(rng, 8, 12)
        gassy = rng.uniform(-0.5, 0.4)

        def stool(
            c: Coords, _: Array, clumps: Ripple = clumps, crumbs: Ripple = crumbs, gassy: float = gassy
        ) -> Array:
            """Mottled: crumbs of stool with gas between them."""
            gas = np.clip(1.3 * (crumbs(c) + 0.8 * clumps(c) + gassy - 0.6), 0, 1)
            return np.asarray(30 - 560 * gas + 12 * crumbs(c), np.float32)

        lo, hi = np.array(points).min(0) - 34, np.array(points).max(0) + 34
        surface = level(float(rng.uniform(-88, -68)))
        layers = (Layer(hu["gut wall"]), Layer(stool, 2.8), Layer(-900.0, 2.8, surface))
        parts.append(Part("colon", shape, (tuple(lo), tuple(hi)), layers, 0, 1.5))
    return parts


def small_bowel(rng: np.random.Generator, body: Body, hu: dict[str, float]) -> list[Part]:
    """Loops packed at random into the front of the middle abdomen and the left upper belly."""
    spots = rng.uniform((-80, -78, -175), (96, 8, 40), (2500, 3))
    spots = spots[(spots[:, 2] <= -30) | (spots[:, 0] >= 12 + 0.4 * np.maximum(0, spots[:, 2]))]
    centers: list[NDArray[np.float64]] = []
    free = np.ones(len(spots), bool)
    for i, spot in enumerate(spots):
        if free[i]:
            centers.append(spot)
            free &= (((spots - spot) * (1, 1, 0.8)) ** 2).sum(1) > 22**2
    parts = []
    for spot in centers:
        way = rng.normal(size=3) * (1, 0.6, 0.8)
        way *= rng.uniform(14, 24) / np.linalg.norm(way)
        bow = rng.normal(size=3) * 7
        r = rng.uniform(8, 13.5)
        tube = Tube.spline(
            [spot - way, spot + bow, spot + way],
            (r, r * rng.uniform(0.85, 1.1), r * 0.9),
            step=7,
            ripple=(0.05, 11),
        )
        shape = Within(tube, body.cavity, 5, 4)
        folds = Ripple.make(rng, 7)
        fluid = rng.uniform(5, 38) if rng.random() < 0.75 else rng.uniform(60, 140)

        def chyme(c: Coords, _: Array, folds: Ripple = folds, fluid: float = fluid) -> Array:
            return np.asarray(fluid + 9 * folds(c), np.float32)

        layers = [Layer(hu["gut wall"] + rng.uniform(0, 12)), Layer(chyme, rng.uniform(2.0, 6.0))]
        if rng.random() < 0.25:
            layers.append(Layer(-880.0, 2.5, level(float(spot[1] - rng.uniform(0, 8)))))
        parts.append(Part("small bowel", shape, tube.bounds, tuple(layers), 0, 1.2))
    return parts


def mesentery(rng: np.random.Generator, hu: dict[str, float]) -> list[Part]:
    """Small vessels that fan out from the root of the mesentery."""
    parts = []
    for i in range(70):
        end = np.array((rng.uniform(-75, 90), rng.uniform(-72, 0), rng.uniform(-150, 5)))
        root = np.array((0, -20, np.clip(end[2] + 25, -70, 0)))
        start = root + (end - root) * rng.uniform(0.0, 0.5)
        r = rng.uniform(1.0, 2.2)
        tube = Tube.spline(
            [start, (start + end) / 2 + rng.normal(0, 6, 3), end], (r, r * 0.9, r * 0.6), step=12, reach=2
        )
        value = hu["aorta"] * 0.8 if i % 3 == 0 else hu["portal vein"] * 0.95
        parts.append(Part("mesenteric vessel", tube, tube.bounds, (Layer(float(value)),), 0))
    return parts
