"""The phantom's solid organs, in the reference body's mm: liver, spleen, kidneys, adrenals, pancreas."""

from __future__ import annotations

import numpy as np

from volumes.phantom_body import Body, spine_y
from volumes.phantom_draw import (
    LEFT_ADRENAL,
    LEFT_KIDNEY,
    LIVER,
    PANCREAS,
    RIGHT_ADRENAL,
    RIGHT_KIDNEY,
    SPLEEN,
    Sizes,
    ellipsoid,
)
from volumes.phantom_render import KEEP, Layer, Part
from volumes.phantom_shapes import Array, Bumpy, Coords, Ripple, Shape, Tube, Union, Within, Without


def liver(draw: Sizes, body: Body, hu: dict[str, float]) -> list[Part]:
    k, at, rng = draw.scale(0.05), draw.shift(2), draw.rng
    left = rng.uniform(0.75, 1.2)
    lobes = Union(
        (
            ellipsoid((-77, 0, 52), (70, 86, 90), k=k, at=at),
            ellipsoid((-98, 2, -2), (34, 56, 46 + rng.uniform(-14, 12)), k=k, at=at),
            ellipsoid((-22, -46, 64), (52, 40, 44), k=k, at=at),
            ellipsoid((14, -46, 84), (56 * left, 40, 34), (0, -12, 0), k=k, at=at),
            ellipsoid((-14, -2, 66), (20, 22, 28), k=k, at=at),
        ),
        16,
    )
    visceral = Union(
        (
            ellipsoid((34, 26, -4), (76, 74, 78), (0, 20, 0), k=1, at=at),
            ellipsoid((-30, -8, 28), (22, 14, 12), (0, 0, 20), k=1, at=at),
            ellipsoid((-52, 44, -14), (36, 34, 55), k=1, at=at),
        ),
        14,
    )
    shape: Shape = Without(Bumpy(lobes, Ripple.make(rng, 60), 2.0), visceral, 14)
    cleft = ellipsoid((-12, -76, 36), (2.6, 32, 40), (0, 0, rng.uniform(-18, 22)), k=1, at=at)
    fissure = Bumpy(cleft, Ripple.make(rng, 24), 1.6)
    shape = Within(Without(shape, fissure, 5), body.abdomen, 0.4, 6)
    texture = Ripple.make(rng, 30)

    def parenchyma(c: Coords, _: Array) -> Array:
        return np.asarray(hu["liver"] + 1.5 * texture(c), np.float32)

    box = ((-150.0, -125.0, -85.0), (110.0, 100.0, 145.0))
    parts = [Part("liver", shape, box, (Layer(parenchyma),), LIVER, 1.0)]
    veins = [
        ((-24, -2, 106), (-80, -30, 70), 5.0),
        ((-24, -2, 106), (-45, -50, 70), 4.5),
        ((-24, -2, 106), (15, -50, 85), 4),
    ]
    for start, end, r in veins:
        tree = _branches(rng, np.array(start) + at, np.array(end) + at, r, 3)
        parts += [
            Part("hepatic vein", t, t.bounds, (Layer(hu["hepatic vein"]),), KEEP, inside=LIVER) for t in tree
        ]
    porta = np.array((-36, -8, 38)) + at
    for end, r in (((-72, 0, 48), 6.5), ((-70, -35, 15), 5), ((-85, 35, 30), 5), ((-8, -52, 58), 5)):
        tree = _branches(rng, porta, np.array(end) + at, r, 3)
        parts += [
            Part("portal branch", t, t.bounds, (Layer(hu["portal vein"]),), KEEP, inside=LIVER) for t in tree
        ]
    for _ in range(int(rng.choice([0, 0, 0, 1, 1, 2, 4]))):
        spot = np.array((rng.uniform(-115, -20), rng.uniform(-60, 50), rng.uniform(10, 100)))
        r = rng.uniform(3, 14)
        cyst = ellipsoid(spot, (r, r * rng.uniform(0.8, 1.2), r), k=1, at=at)
        value = rng.choice([6.0, hu["liver"] * 0.6])
        parts.append(Part("lesion", cyst, cyst.bounds, (Layer(float(value)),), KEEP, inside=LIVER))
    return parts


def _branches(rng: np.random.Generator, start: Array, end: Array, radius: float, depth: int) -> list[Tube]:
    """A random tree of thin tubes from start towards end."""
    bend = (start + end) / 2 + rng.normal(0, 4, 3)
    tubes = [Tube.spline([start, bend, end], [radius, radius * 0.85, radius * 0.6], step=9, reach=2)]
    if depth and radius > 1.2:
        way = (end - start) * 0.72
        for _ in range(2 if depth < 3 else 3):
            turn = way + rng.normal(0, 0.55 * float(np.linalg.norm(way)) / 1.7, 3)
            tubes += _branches(rng, end if rng.random() < 0.6 else bend, end + turn, radius * 0.6, depth - 1)
    return tubes


def spleen(draw: Sizes, body: Body, hu: dict[str, float], arterial: bool) -> list[Part]:
    k, at, rng = draw.scale(0.12), draw.shift(3), draw.rng
    outer = ellipsoid((98, 36, 70), (40, 52, 60), (15, -10, 20), k=k, at=at)
    hollow = ellipsoid((50, -2, 40), (44, 48, 66), (0, -10, 0), k=1, at=at)
    shape = Within(Without(Bumpy(outer, Ripple.make(rng, 40), 2.0), hollow, 8), body.abdomen, 0.6, 6)
    bands = Ripple.make(rng, 22)
    depth = 28.0 if arterial else 1.5

    def pulp(c: Coords, _: Array) -> Array:
        return np.asarray(hu["spleen"] + depth * np.sin(2.2 * bands(c)), np.float32)

    return [Part("spleen", shape, ((45, -40, -30), (150, 110, 140)), (Layer(pulp),), SPLEEN, 1.2)]


def kidney(draw: Sizes, body: Body, hu: dict[str, float], side: int) -> list[Part]:
    label = LEFT_KIDNEY if side > 0 else RIGHT_KIDNEY
    k, at, rng = draw.scale(0.08), draw.shift(3), draw.rng
    z = -2 if side > 0 else -14
    y = float(spine_y(z)) + 5
    center, turn = np.array((side * 62, y, z)), (-10.0, -side * 12.0, side * 28.0)
    outer = ellipsoid(center, (25, 28, 54), turn, k=k, at=at)
    inward = np.array((-side * 0.85, -0.5, 0.0))
    sinus = Union(
        (
            ellipsoid(center + inward * 12 * k, (12, 9, 21), turn, k=k, at=at),
            ellipsoid(center + inward * 25 * k, (15, 9, 15), turn, k=k, at=at),
        ),
        5,
    )
    shape = Within(outer, body.cavity, 5, 6)
    lobes = Ripple.make(rng, 17)

    def parenchyma(c: Coords, field: Array) -> Array:
        """Cortex with pyramids, and columns of cortex between them."""
        pyramid = np.clip((-field - 4.5) / 2.5, 0, 1) * np.clip(0.65 + 1.1 * lobes(c), 0, 1)
        return np.asarray(hu["cortex"] + pyramid * (hu["medulla"] - hu["cortex"]), np.float32)

    (x0, y0, z0), (x1, y1, z1) = outer.bounds
    box = (x0 - 4, y0 - 4, z0 - 4), (x1 + 4, y1 + 4, z1 + 4)
    pelvis = ellipsoid(center + inward * 21 * k, (8, 4, 9), turn, k=k, at=at)
    hilum = center + inward * 30 * k + at
    middle = 4.0 if side > 0 else -24.0
    front = float(spine_y(z)) - 27
    path = [
        hilum,
        (hilum + np.array((middle, front, z + 6))) / 2 + (0, -3, 2),
        np.array((middle, front, z + 8)),
    ]
    vein = Tube.spline(path, (5.5, 5, 5), step=9)
    artery = Tube.spline(
        [hilum + (0, 4, 3), np.array((8, float(spine_y(z)) - 24, z + 12))], (2.6, 3), step=20
    )
    ureter = Tube.spline(
        np.array([hilum, hilum + (side * -4, -6, -35), (side * 34, float(spine_y(-90)) - 12, -90)]),
        (3, 2.2, 2.2),
    )
    return [
        Part("renal artery", artery, artery.bounds, (Layer(hu["aorta"] * 0.95),), 0),
        Part("ureter", ureter, ureter.bounds, (Layer(hu["pelvis"]),), 0),
        Part("kidney", shape, box, (Layer(parenchyma),), label, 3.5),
        Part("renal sinus", sinus, ((-110, -30, -80), (110, 90, 80)), (Layer(hu["fat"]),), 0, inside=label),
        Part("renal pelvis", pelvis, pelvis.bounds, (Layer(hu["pelvis"]),), KEEP),
        Part("renal vein", vein, vein.bounds, (Layer(hu["cava"] + 8),), KEEP, inside=0),
    ]


def adrenal(draw: Sizes, hu: dict[str, float], side: int) -> list[Part]:
    at, k = draw.shift(1.5), draw.scale(0.1)
    if side < 0:  # a line behind the cava with a second limb
        limbs = (
            ellipsoid((-29, 27, 48), (3.4, 15, 16), (0, 0, 12), k=k, at=at),
            ellipsoid((-34, 33, 44), (3.2, 11, 14), (0, 0, 40), k=k, at=at),
        )
    else:  # an inverted Y beside the crus
        limbs = (
            ellipsoid((31, 20, 44), (3.4, 12, 16), (0, 0, -20), k=k, at=at),
            ellipsoid((37, 27, 40), (3.2, 12, 14), (0, 0, -52), k=k, at=at),
        )
    shape = Union(limbs, 3)
    label = RIGHT_ADRENAL if side < 0 else LEFT_ADRENAL
    box = ((-60, 0, 15), (-10, 60, 75)) if side < 0 else ((10, 0, 15), (60, 60, 75))
    return [Part("adrenal", shape, box, (Layer(hu["adrenal"]),), label, 1.4)]


def pancreas(draw: Sizes, body: Body, hu: dict[str, float]) -> list[Part]:
    at, k, rng = draw.shift(1.5), draw.scale(0.1), draw.rng
    points = (
        np.array(
            [
                (-26, -10, -28),
                (-30, -14, -8),
                (-26, -20, 8),
                (-10, -28, 18),
                (10, -28, 26),
                (32, -14, 32),
                (56, 4, 38),
                (80, 22, 46),
            ]
        )
        + at
    )
    radii = np.array([11, 16, 15, 11, 12, 12.5, 12, 10.5]) * k
    lobules = Ripple.make(rng, 9)
    shape = Bumpy(Tube.spline(points, radii), lobules, 1.1)
    fatty = rng.uniform(4, 22)

    def gland(c: Coords, _: Array) -> Array:
        return np.asarray(hu["pancreas"] - fatty * np.clip(lobules(c), 0, 2), np.float32)

    vein = hu["portal vein"]
    splenic = Tube.spline(points[3:] + (0, 9.5, 1), (4.8, 4.6, 4.4, 4.0, 3.6), step=8)
    portal = Tube.spline([points[3] + (0, 10, -4), (-24, -10, 28), (-37, -8, 40)], (7, 7, 7), step=8)
    mesenteric = Tube.spline(
        [points[3] + (0, 10, -4), (-8, -22, -12), (-10, -28, -45), (-4, -34, -85)], (6.5, 6, 5.5, 4), step=9
    )
    box = ((-70, -60, -60), (120, 60, 75))
    parts = [Part("pancreas", shape, box, (Layer(gland),), PANCREAS, 1.2)]
    for tube in (splenic, portal, mesenteric):
        parts.append(Part("portal system", tube, tube.bounds, (Layer(vein),), 0, 0.6))
    return parts
