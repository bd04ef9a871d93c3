"""What the confidence benchmark measures in a case: the evidence for every slice and label, and the true Dice there.

Kept is the evidence, not the confidence: another calibration of the same network needs no propagation.

Which slices count, for each structure: those that are no key slice of it; with marks, those between them (beyond,
a person has said that it is not there); and of these, those where truth or prediction is not empty or that are at
most `NEAR` slices from the truth or from the prediction. Further away it is trivial that nothing is there. Dice is 1
where both are empty and 0 where one is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, fields
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from propagation_module.confidence import Evidence
from tools.benchmark import model
from tools.benchmark.datasets import Case, Structure, structures_of
from tools.benchmark.key_slices import key_slices_for

if TYPE_CHECKING:
    from volumes.volume import Volume

NEAR = 3
_EVIDENCE = tuple(one.name for one in fields(Evidence))
Job = tuple[int, bool]
"""A number of key slices, and whether the structures' first and last slices are given."""


class Pair(NamedTuple):
    """A label on a slice that counts.

    Attributes:
        dice: true Dice of the slice.
        seen: the evidence that its confidence came from, on this slice or, where the structure had been given up
            before, on the last one where it was looked for; None where there never was any,
        said: and the confidence that stands there then.
    """

    label: int
    z: int
    dice: float
    seen: Evidence | None
    said: float | None = None


class Extent(NamedTuple):
    """Voxels of a structure in a case.

    Attributes:
        predicted: all labelled ones.
        beyond: of these, those on slices beyond the first and last true one.
        true: all true ones.
        missed: of these, those beyond the first and last labelled slice: it ended early.
    """

    label: int
    name: str
    predicted: int
    beyond: int
    true: int
    missed: int


@dataclass(frozen=True)
class Measured:
    """One case, one number of key slices, with or without marks; the tuples are rows of `pairs` and `extents`."""

    set: str
    case: str
    n: int
    marks: bool
    seconds: float
    model: str
    rows: tuple[Any, ...] = field(repr=False)
    structures: tuple[Any, ...] = field(repr=False)

    @property
    def key(self) -> tuple[str, str, int, bool, str]:
        """What has to be computed only once."""
        return self.set, self.case, self.n, self.marks, self.model

    @classmethod
    def of(
        cls, case: Case, job: Job, seconds: float, digest: str, pairs: Sequence[Pair], extents: Sequence[Extent]
    ) -> Measured:
        rows = [
            [one.label, one.z, round(one.dice, 6), *([one.said] if one.seen is None else _values(one.seen))]
            for one in pairs
        ]
        structures = [list(one) for one in extents]
        return cls(case.set_name, case.name, *job, round(seconds, 3), digest, tuple(rows), tuple(structures))

    def pairs(self) -> list[Pair]:
        return [
            Pair(label, z, dice, None, rest[0]) if len(rest) == 1 else Pair(label, z, dice, Evidence(*rest))
            for label, z, dice, *rest in self.rows
        ]

    def extents(self) -> list[Extent]:
        return [Extent(*row) for row in self.structures]


class Recorder:
    """A calibration that keeps what it was asked, in order, and hands it on to another."""

    def __init__(self, calibration: Callable[[Evidence], float]) -> None:
        self.calibration = calibration
        self.asked: dict[int, dict[int, tuple[Evidence, np.float32]]] = {}

    def __call__(self, seen: Evidence) -> float:
        confidence = self.calibration(seen)
        # Between key slices it is asked twice; the second time both directions are there.
        self.asked.setdefault(seen.label, {})[seen.z] = (seen, np.float32(confidence))
        return confidence

    def behind(self, label: int, z: int, confidence: float) -> Evidence | None:
        """The evidence that a session's confidence came from: the slice's own, else the nearest that says the same."""
        asked = self.asked.get(label, {})
        for at in sorted(asked, key=lambda at: (abs(at - z), at)):
            seen, said = asked[at]
            if said == np.float32(confidence):
                return seen
        return None


def digest_of(spec: model.ModelSpec) -> str:
    """12 digits for the network, its settings, where structures end and what evidence is; not for the calibration."""
    from propagation_module.checkpoints import load_calibration

    _, ending = load_calibration(spec.config, spec.weights)
    return sha256(f"{model.digest(spec)} {ending.to_json()} {' '.join(_EVIDENCE)}".encode()).hexdigest()[:12]


def measure_case(case: Case, jobs: Sequence[Job], spec: model.ModelSpec, digest: str) -> Iterator[Measured]:
    """One result for each of `jobs`, as soon as it is there; also one in a case without a structure that counts."""
    from volumes.formats import read_label_map, read_volume

    structures = structures_of(case, read_label_map(case.labels))
    volume = read_volume(case.image) if structures and jobs else None
    for job in jobs:
        if volume is None:
            yield Measured.of(case, job, 0.0, digest, [], [])
        else:
            yield _measure(case, volume, structures, job, spec, digest)


def _measure(
    case: Case, volume: Volume, structures: Sequence[Structure], job: Job, spec: model.ModelSpec, digest: str
) -> Measured:
    n, marks = job
    propagator = copy(model.load(spec))
    recorder = Recorder(propagator.calibration)
    propagator.calibration = recorder
    keys = key_slices_for(volume.shape, structures, n)
    started = time.perf_counter()
    done = propagator.propagate(volume, keys, extents={one.label: one.extent for one in structures} if marks else None)
    seconds = time.perf_counter() - started
    pairs, extents = [], []
    for one in structures:
        predicted, true, both = _counts(done.labels, one)
        counts = counting(true > 0, predicted > 0, keys.slices_of(one.label), one.extent if marks else None)
        for z in np.flatnonzero(counts).tolist():
            dice = 2.0 * both[z] / (predicted[z] + true[z]) if predicted[z] + true[z] else 1.0
            said = float(done.confidence[one.label][z])
            seen = recorder.behind(one.label, z, said)
            pairs.append(Pair(one.label, z, float(dice), seen, said if seen is None else None))
        extents.append(_extent(one, predicted, true))
    return Measured.of(case, job, seconds, digest, pairs, extents)


def counting(
    true: npt.NDArray[np.bool_],
    predicted: npt.NDArray[np.bool_],
    keys: Sequence[int],
    extent: tuple[int, int] | None,
) -> npt.NDArray[np.bool_]:
    """Which slices count (see above).

    Args:
        true, predicted: (D,) on which slices the structure is.
        keys: its key slices.
        extent: its marks, where they were given.
    """
    from scipy.ndimage import binary_dilation

    counts = binary_dilation(true | predicted, np.ones(2 * NEAR + 1, bool))
    counts[list(keys)] = False
    if extent is not None:
        counts[: extent[0]] = counts[extent[1] + 1 :] = False
    return counts


def _counts(labels: npt.NDArray[np.uint8], one: Structure) -> tuple[npt.NDArray[np.int64], ...]:
    """Voxels of each slice: predicted, true, both."""
    predicted = np.array([np.count_nonzero(plane == one.label) for plane in labels])
    true, both = np.zeros_like(predicted), np.zeros_like(predicted)
    true[one.box[0]] = one.mask.sum(axis=(1, 2))
    both[one.box[0]] = ((labels[one.box] == one.label) & one.mask).sum(axis=(1, 2))
    return predicted, true, both


def _extent(one: Structure, predicted: npt.NDArray[np.int64], true: npt.NDArray[np.int64]) -> Extent:
    there = np.flatnonzero(predicted)
    reached = int(true[there[0] : there[-1] + 1].sum()) if there.size else 0
    every, all_true = int(predicted.sum()), int(true.sum())
    return Extent(
        one.label, one.name, every, every - int(predicted[one.box[0]].sum()), all_true, all_true - reached
    )  # fmt: skip


def _values(seen: Evidence) -> list[Any]:
    values = [getattr(seen, name) for name in _EVIDENCE]
    return [round(value, 6) if isinstance(value, float) else value for value in values]
