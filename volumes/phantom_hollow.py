"""The phantom's great vessels and hollow organs, in the reference body's mm."""

from __future__ import annotations

import numpy as np

from volumes.phantom_body import Body, spine_y
from volumes.phantom_draw import (
    AORTA,
    CAVA,
    DUODENUM,
    GALLBLADDER,
    OESOPHAGUS,
    STOMACH,
    Sizes,
    ellipsoid,
    level,
)
from volumes.phantom_render import KEEP, Layer, Part
from volumes.phantom_shapes import Array, Bumpy, Coords, Ripple, Tube, Within


def cava(draw: Sizes, hu: dict[str, float]) -> list[Part]:
    k = draw.scale(0.1)
    zs = np.array([-96.0, -70, -40, -5, 30, 60, 90, 106, 118])
    xs = np.array([-14.0, -18, -21, -23, -24, -25, -25, -23, -18]) + draw.shift(1)[0]
    front = np.array([-27.0, -27, -27, -26, -27, -32, -38, -43, -49])
    path = np.stack([xs, spine_y(zs) + front, zs], 1)
    shape = Tube.spline(path, np.array([9, 10.5, 11, 11.5, 12, 13, 13.5, 13.5, 14]) * k, flat=0.85)
    parts = []
    for side in (-1, 1):
        start = path[0] + (0, 0, 3)
        leg = Tube.spline(
            [start, (side * 24 - 4, float(spine_y(-118)) - 22, -122), (side * 42, 18, -175)],
            (8.5, 8, 7.5),
            step=10,
        )
        parts.append(Part("iliac vein", leg, leg.bounds, (Layer(hu["cava"]),), 0, 1.5))
    return [*parts, Part("cava", shape, shape.bounds, (Layer(hu["cava"]),), CAVA)]


def aorta(draw: Sizes, hu: dict[str, float]) -> list[Part]:
    k, rng = draw.scale(0.08), draw.rng
    zs = np.array([-92.0, -70, -40, 0, 40, 80, 120, 160, 260])
    xs = np.array([4.0, 6, 8, 8, 6, 6, 12, 17, 20]) + draw.shift(1)[0]
    front = np.array([-29.0, -29, -28, -28, -28, -27, -22, -18, -14])
    path = np.stack([xs, spine_y(zs) + front, zs], 1)
    shape = Tube.spline(path, np.array([8.5, 8.5, 9, 9.5, 10.5, 11, 11.5, 12, 12.5]) * k)
    parts: list[Part] = []
    blood = Layer(hu["aorta"])
    for side in (-1, 1):
        leg = Tube.spline(
            [path[0] + (0, 0, 2), (side * 22, float(spine_y(-118)) - 27, -122), (side * 45, 8, -175)],
            (6.5, 6, 5),
            step=10,
        )
        parts.append(Part("iliac artery", leg, leg.bounds, (blood,), 0, 1.5))
    y = float(spine_y(15)) - 36
    branches = (
        (
            [(7, y, 22), (6, y - 16, 14), (4, y - 22, -20), (-2, y - 24, -70)],
            (3.8, 3.6, 3.4, 2.5),
        ),  # superior mesenteric
        (
            [(7, y, 36), (4, y - 18, 40), (-14, y - 22, 36), (-32, y - 22, 38)],
            (3.8, 3.6, 2.8, 2.4),
        ),  # coeliac, hepatic
        (
            [(4, y - 18, 40), (30, y - 2, 40), (52, y + 14, 46), (78, y + 30, 52)],
            (3.2, 2.8, 2.6, 2.2),
        ),  # splenic
    )
    for points, radii in branches:
        tube = Tube.spline(points, radii)
        parts.append(Part("artery", tube, tube.bounds, (blood,), 0, 0.8))
    layers = [blood]
    parts.append(Part("aorta", shape, shape.bounds, tuple(layers), AORTA, 1.2))
    for _ in range(int(rng.choice([0, 0, 2, 5, 9]))):
        i = int(rng.integers(0, 5))
        turn = rng.uniform(0, 6.28)
        r = float(np.array([8.5, 8.5, 9, 9.5, 10.5])[i] * k * 0.92)
        spot = path[i] + (r * np.cos(turn), r * np.sin(turn), rng.uniform(-12, 12))
        plaque = ellipsoid(spot, (1.8, 1.8, 4), k=1, at=np.zeros(3))
        parts.append(Part("plaque", plaque, plaque.bounds, (Layer(650.0),), KEEP, inside=AORTA))
    return parts


def oesophagus(draw: Sizes, hu: dict[str, float]) -> list[Part]:
    at = draw.shift(1.0)
    zs = np.array([260.0, 180, 150, 125, 108, 98, 92])
    path = (
        np.stack(
            [np.array([2.0, 4, 6, 10, 18, 27, 36]), spine_y(zs) + [-28.0, -31, -36, -40, -40, -37, -34], zs],
            1,
        )
        + at
    )
    shape = Tube.spline(path, np.array([8, 8, 8, 8, 8, 8.5, 9]) * draw.scale(0.08), flat=0.85)
    gas = Layer(-500.0, 6.2) if draw.rng.random() < 0.4 else Layer(hu["oesophagus"] - 12, 4.0)
    return [Part("oesophagus", shape, shape.bounds, (Layer(hu["oesophagus"]), gas), OESOPHAGUS, 1.2)]


def stomach(draw: Sizes, body: Body, hu: dict[str, float]) -> list[Part]:
    k, at, rng = draw.scale(0.1), draw.shift(2.5), draw.rng
    fill = rng.uniform(0.75, 1.1)
    points = (
        np.array(
            [
                (58, 22, 92),
                (62, 8, 80),
                (66, -18, 60),
                (58, -42, 38),
                (36, -56, 20),
                (8, -58, 12),
                (-16, -50, 14),
                (-28, -44, 16),
            ]
        )
        + at
    )
    radii = np.array([32, 31, 27 * fill, 24 * fill, 19 * fill, 16 * fill, 12, 8]) * k
    tube = Tube.spline(points, radii, step=8, reach=9)
    shape = Within(Bumpy(tube, Ripple.make(rng, 32), 1.6), body.abdomen, 3, 8)
    content = rng.choice([8.0, 22.0, 35.0])
    grain = Ripple.make(rng, 9, 12)
    food = rng.random() < 0.35
    rough = 30.0 if food else 2.0

    def meal(c: Coords, _: Array) -> Array:
        return np.asarray(content + rough * grain(c), np.float32)

    surface = level(float(rng.uniform(-50, -22)) + at[1])
    layers = (Layer(hu["gut wall"]), Layer(meal, 4.0), Layer(-960.0, 4.0, surface))
    return [Part("stomach", shape, ((-60, -100, -30), (125, 80, 135)), layers, STOMACH, 1.5)]


def duodenum(draw: Sizes, body: Body, hu: dict[str, float]) -> list[Part]:
    at, k, rng = draw.shift(1.5), draw.scale(0.08), draw.rng
    points = (
        np.array(
            [
                (-30, -42, 15),
                (-42, -34, 12),
                (-50, -18, 2),
                (-52, -8, -18),
                (-49, -4, -40),
                (-36, -8, -55),
                (-12, -19, -58),
                (12, -21, -54),
                (28, -16, -40),
                (32, -20, -22),
                (36, -32, -16),
            ]
        )
        + at
    )
    radii = np.array([10, 11.5, 12, 12.5, 12, 11.5, 10, 10, 11, 10.5, 9.5]) * k
    shape = Bumpy(Tube.spline(points, radii, ripple=(0.06, 17)), Ripple.make(rng, 16), 0.8)
    layers = [Layer(hu["gut wall"] + 4), Layer(float(rng.uniform(14, 40)), 3.2)]
    if rng.random() < 0.6:
        layers.append(Layer(-850.0, 3.4, level(float(rng.uniform(-44, -30)) + at[1])))
    return [Part("duodenum", shape, ((-80, -65, -85), (60, 25, 40)), tuple(layers), DUODENUM, 1.3)]


def gallbladder(draw: Sizes, body: Body, hu: dict[str, float]) -> list[Part]:
    at, k = draw.shift(2), draw.scale(0.15)
    points = np.array([(-38, -18, 26), (-44, -28, 16), (-52, -42, 2), (-58, -54, -12)]) + at
    shape = Within(Tube.spline(points, np.array([4, 9, 13.5, 13]) * k, step=6), body.abdomen, 3, 4)
    layers = (Layer(hu["gallbladder wall"]), Layer(hu["gallbladder"], 1.6))
    return [Part("gallbladder", shape, ((-90, -90, -45), (-20, 5, 45)), layers, GALLBLADDER, 0.8)]
