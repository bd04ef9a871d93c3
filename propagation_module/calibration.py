"""The regression behind the confidence, fitted to slices whose true Dice is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from propagation_module.confidence import FEATURES, UNCALIBRATED, Calibration, Evidence

L2 = 1e-3


@dataclass(frozen=True, eq=False)
class Examples:
    """Evidence with what came of it, row by row.

    Args:
        inputs: (N, features), as `Evidence.vector` gives them.
        found: (N,) whether there was a mask, which says which of the two regressions a row belongs to.
        dice: (N,) true Dice of the slice. With no mask it is 1 where the truth is empty as well, else 0, so that
            it is what both regressions have to say.
        cases: (N,) the case of each row; all cases count the same.
    """

    inputs: NDArray[np.float64]
    found: NDArray[np.bool_]
    dice: NDArray[np.float64]
    cases: NDArray[np.str_]

    @classmethod
    def of(cls, rows: Iterable[tuple[str, Evidence, float]]) -> Examples:
        """From case, evidence and true Dice."""
        listed = list(rows)
        return cls(
            np.array([seen.vector() for _, seen, _ in listed]).reshape(len(listed), len(FEATURES)),
            np.array([seen.found for _, seen, _ in listed], bool),
            np.array([dice for _, _, dice in listed], np.float64),
            np.array([case for case, _, _ in listed], np.str_),
        )

    def __len__(self) -> int:
        return len(self.dice)

    def select(self, rows: NDArray) -> Examples:
        """Those of `rows`."""
        return Examples(self.inputs[rows], self.found[rows], self.dice[rows], self.cases[rows])

    def without(self, feature: str) -> Examples:
        """The same, with one feature that says nothing."""
        inputs = self.inputs.copy()
        inputs[:, FEATURES.index(feature)] = 0.0
        return Examples(inputs, self.found, self.dice, self.cases)


def fit(examples: Examples, *, l2: float = L2) -> Calibration:
    """Both regressions: cross entropy with the Dice as a soft target, every case of the same weight.

    Args:
        l2: times half the squared weights is added to the mean cross entropy; the constant is free.

    Returns:
        The same for the same examples. A regression without examples is as in `UNCALIBRATED`.
    """
    parts = []
    for rows, default in ((examples.found, UNCALIBRATED.found), (~examples.found, UNCALIBRATED.lost)):
        parts.append(regression(examples.select(rows), l2) if rows.any() else default)
    return Calibration(*parts)


def predict(calibration: Calibration, examples: Examples) -> NDArray[np.float64]:
    """Confidence in each, as `calibration` called with the evidence gives it."""
    out = np.empty(len(examples))
    for rows, weights in ((examples.found, calibration.found), (~examples.found, calibration.lost)):
        out[rows] = _sigmoid(examples.inputs[rows] @ np.array(weights[:-1]) + weights[-1])
    return out


def folds(cases: Sequence[str] | NDArray[np.str_], count: int = 10) -> Iterator[NDArray[np.bool_]]:
    """Rows to leave out together, so that a case is never on both sides; at most `count` groups of cases."""
    names, place = np.unique(np.asarray(cases), return_inverse=True)
    for part in range(min(count, len(names))):
        yield place % count == part


def cross_validated(examples: Examples, *, l2: float = L2) -> NDArray[np.float64]:
    """Confidence in each from a fit to other cases; two cases at the least."""
    out = np.empty(len(examples))
    for left_out in folds(examples.cases):
        out[left_out] = predict(fit(examples.select(~left_out), l2=l2), examples.select(left_out))
    return out


def influence(calibration: Calibration, examples: Examples) -> dict[str, dict[str, float]]:
    """`{"found": {feature: weight times its spread}, "lost": ...}`: what a feature moves the log-odds by."""
    moved = {}
    parts = (("found", examples.found, calibration.found), ("lost", ~examples.found, calibration.lost))
    for name, rows, weights in parts:
        spread = examples.inputs[rows].std(axis=0) if rows.any() else np.zeros(len(FEATURES))
        moved[name] = {one: float(w * s) for one, w, s in zip(FEATURES, weights[:-1], spread, strict=True)}
    return moved


def regression(examples: Examples, l2: float = L2) -> tuple[float, ...]:
    """One weight for each feature and the constant, every row taken for one of the same kind."""
    from scipy.optimize import minimize

    inputs = np.column_stack([examples.inputs, np.ones(len(examples))])
    penalty = np.append(np.full(len(FEATURES), l2), 0.0)
    _, place, number = np.unique(examples.cases, return_inverse=True, return_counts=True)
    share = 1.0 / number[place]
    share /= share.sum()

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = inputs @ weights
        entropy = float(share @ (np.logaddexp(0.0, logits) - examples.dice * logits))
        gradient = inputs.T @ (share * (_sigmoid(logits) - examples.dice)) + penalty * weights
        return entropy + 0.5 * float(penalty @ weights**2), gradient

    settings = {"maxiter": 2000, "maxfun": 4000, "gtol": 1e-9, "ftol": 1e-15}
    found = minimize(loss, np.zeros(inputs.shape[1]), jac=True, method="L-BFGS-B", options=settings)
    return tuple(float(weight) for weight in found.x)


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-np.logaddexp(0.0, -logits))
