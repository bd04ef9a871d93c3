"""How sure a label is on a slice: the Dice to expect there.

What is known without the truth - how sure the network's pixels are, whether both directions agree, how far the key
slices are, whether the mask follows from its neighbour and from the key slices' shape - goes through a small logistic
regression that was fitted to the Dice of held-out patients. It knows no structure and no anatomy.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from propagation_module.fusion import expected_dice
from propagation_module.grid import Patch, union
from propagation_module.walks import Walk

_PARTS = ("found", "lost")

# In the order of `Evidence.vector`.
FEATURES = (
    "expected_dice", "agreement", "between", "follows", "shape", "sharpness", "smallness", "distance", "change",
    "distance_smallness", "presence", "certain",
)  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """What speaks for a label's mask on a slice.

    Args:
        label, z: which label, on which slice.
        found: whether there is a mask; without one it is evidence for nothing being there.
        certain: whether key slices or marks say that the label is there.
        expected_dice: from the probabilities alone, see `fusion.expected_dice`; without a mask, how sure they are
            that nothing is there.
        agreement: Dice of the two directions' masks; None where there is one direction.
        follows: Dice with the mask of the slice before, on the way there; of two directions the mean.
        shape: Dice with the shape that the key slices suggest.
        sharpness: share of the mask's pixels that are surer than 0.9.
        area: of the mask, mm2.
        expected_area: of the shape that the key slices suggest, mm2.
        distance: to the nearest key slice, mm.
        presence: the network's probability of the label being on the slice at all; None from one that does not say.
    """

    label: int
    z: int
    found: bool
    certain: bool
    expected_dice: float
    agreement: float | None
    follows: float
    shape: float
    sharpness: float
    area: float
    expected_area: float
    distance: float
    presence: float | None

    def vector(self) -> NDArray[np.float64]:
        """The regression's inputs, of the order of 1."""
        between = self.agreement is not None
        size = math.log1p(math.sqrt(max(self.area, 1.0)))
        smallness, distance = 3.0 - size, math.log1p(self.distance / 5.0)
        change = abs(math.log((self.area + 10.0) / (self.expected_area + 10.0)))
        return np.array(
            [
                _logit(self.expected_dice),
                _logit(self.agreement) if self.agreement is not None else 0.0,
                float(between),
                _logit(self.follows),
                _logit(self.shape),
                self.sharpness,
                smallness,
                distance,
                min(change, 3.0),
                distance * smallness,
                _logit(self.presence) if self.presence is not None else 0.0,
                float(self.certain),
            ]
        )


def follows_from(walk: Walk) -> float:
    """Dice of what a walk has seen with the mask that it came with."""
    return 0.0 if walk.seen is None else _overlap(walk.seen.patch, walk.before)


def weigh_alone(walk: Walk) -> Evidence:
    """Evidence of one direction, as if it had found its label."""
    assert walk.seen is not None
    follows, presence = follows_from(walk), walk.seen.presence
    return weigh(walk, walk.seen.patch, None, follows=follows, presence=presence, found=True)


def weigh(
    walk: Walk,
    mask: Patch,
    directions: tuple[Patch, Patch] | None,
    *,
    follows: float,
    presence: float | None,
    found: bool,
) -> Evidence:
    """Evidence on the slice that `walk` has come to.

    Args:
        mask: of one direction or both.
        directions: the masks of each, where there are two.
        follows, presence: of one direction, or the mean of both.
        found: whether the label is taken to be there.
    """
    shape, pixel = walk.shape(mask.box, walk.z), walk.grid.pixel
    inside = mask.probability > 0.5
    count = int(inside.sum())
    is_there = found and count > 0
    return Evidence(
        label=walk.stretch.label,
        z=walk.z,
        found=is_there,
        certain=walk.stretch.certain,
        expected_dice=expected_dice(mask.probability) if is_there else float(1.0 - mask.probability.max(initial=0.0)),
        agreement=None if directions is None else _overlap(*directions),
        follows=follows,
        shape=_dice(inside, shape > 0),
        sharpness=float((mask.probability[inside] > 0.9).mean()) if count else 0.0,
        area=count * pixel**2,
        expected_area=float((shape > 0).sum()) * pixel**2,
        distance=walk.to_key(),
        presence=presence,
    )


@dataclass(frozen=True)
class Calibration:
    """Weights of the regression, for slices where the label was found and for those where it was not.

    Args:
        found: one weight for each of `FEATURES`, and the constant.
        lost: the same, for slices on which no pixel is likelier than not; what comes out is how sure it is that
            nothing is there.
    """

    found: tuple[float, ...]
    lost: tuple[float, ...]

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """As `to_json` wrote it; a weight that is not named is 0.

        Raises:
            ValueError: not that.
        """
        content = json.loads(text)
        names = (*FEATURES, "constant")
        if not isinstance(content, dict) or not all(set(content.get(part, {"?": 0})) <= set(names) for part in _PARTS):
            raise ValueError("no calibration, or one for other features")
        return cls(*(tuple(float(content[part].get(name, 0.0)) for name in names) for part in _PARTS))

    def to_json(self) -> str:
        """`{"found": {feature: weight, ..., "constant": weight}, "lost": ...}`."""
        names = (*FEATURES, "constant")
        weights = zip(_PARTS, (self.found, self.lost), strict=True)
        return json.dumps({part: {n: round(w, 4) for n, w in zip(names, own, strict=True)} for part, own in weights})

    def __call__(self, seen: Evidence) -> float:
        """Confidence in [0, 1] in the mask or, where none was found, in that nothing is there."""
        weights = self.found if seen.found else self.lost
        return 1.0 / (1.0 + math.exp(-float(np.dot(weights[:-1], seen.vector()) + weights[-1])))


@dataclass(frozen=True)
class Ending:
    """Whether a structure has ended, where neither key slices nor marks say so: a third regression.

    Args:
        weights: one for each of `FEATURES`, and the constant; together the log-odds of being there.
        threshold: probability of being there below which it has ended.
    """

    weights: tuple[float, ...]
    threshold: float = 0.5

    @classmethod
    def from_json(cls, text: str) -> Ending:
        """As `to_json` wrote it.

        Raises:
            ValueError: not that.
        """
        content = json.loads(text)
        if not isinstance(content, dict) or not set(content) <= {*FEATURES, "constant", "threshold"}:
            raise ValueError("no ending, or one for other features")
        weights = tuple(float(content.get(name, 0.0)) for name in (*FEATURES, "constant"))
        return cls(weights, float(content.get("threshold", 0.5)))

    def to_json(self) -> str:
        """`{feature: weight, ..., "constant": weight, "threshold": probability}`."""
        named = zip((*FEATURES, "constant"), self.weights, strict=True)
        return json.dumps({**{name: round(w, 4) for name, w in named}, "threshold": self.threshold})

    def probability(self, seen: Evidence) -> float:
        """Of the label being there."""
        return 1.0 / (1.0 + math.exp(-float(np.dot(self.weights[:-1], seen.vector()) + self.weights[-1])))

    def __call__(self, seen: Evidence) -> bool:
        """Whether it has ended."""
        return self.probability(seen) < self.threshold


# For a network that was not calibrated: what its probabilities alone say, and its presence, if it says that.
UNCALIBRATED = Calibration(*[(1.0, *[0.0] * len(FEATURES))] * 2)
BY_PRESENCE = Ending(tuple(float(name == "presence") for name in (*FEATURES, "constant")))


def _overlap(one: Patch, other: Patch) -> float:
    box = union([one.box, other.box])
    return _dice(one.cut(box) > 0.5, other.cut(box) > 0.5)


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    total = int(one.sum()) + int(other.sum())
    return 2.0 * int((one & other).sum()) / total if total else 1.0


def _logit(p: float) -> float:
    p = min(max(p, 0.02), 0.98)
    return math.log(p / (1.0 - p))
