"""Labels against the truth."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from keyslice.results import Result
from keyslice.sources import Image, Names, read_labels, read_names
from tools.evaluate import evaluate as evaluate_folders
from tools.evaluate import evaluate_maps
from volumes.errors import InputError
from volumes.formats import case_name

if TYPE_CHECKING:
    from keyslice.axes import Axes
    from volumes.label_map import LabelMap
    from volumes.labels import LabelTable


def evaluate(
    reference: Image | npt.NDArray[Any],
    prediction: Image | npt.NDArray[Any] | Result[Any],
    names: Names | None = None,
    *,
    axes: Axes | None = None,
) -> dict[str, Any]:
    """Score labels against the truth, as `keyslice evaluate` does: Dice (dsc) and normalised surface Dice (nsd).

    Args:
        reference: the truth: a file, a SimpleITK image, an array, or a folder of files.
        prediction: likewise, or what `propagate`, `segment` or a session gave; in folders, files are matched by name.
        names: the structures to score, absent ones included; None: those that occur.
        axes: how arrays lie in the patient; for arrays alone, and arrays need them.

    Returns:
        `{"cases": {case: {structure: {"dsc": ..., "nsd": ...}}}, "mean": {structure: {...}, "all": {...}},
        "failed": {case: message}, "tolerances_mm": {structure: mm}, "notes": [...]}`.

    Raises:
        InputError: nothing to compare, or not on one grid. In folders, a case that fails does not raise: it is in
            "failed" and the others go on.
    """
    table = read_names(names)
    if isinstance(reference, (str, os.PathLike)) and Path(reference).is_dir():
        if not isinstance(prediction, (str, os.PathLike)):
            raise InputError(
                "prediction",
                found=f"a {type(prediction).__name__}",
                expected=f"a folder, as {reference} is one",
                fix="give two folders, or two label maps",
            )
        return evaluate_folders(Path(reference), Path(prediction), table)
    truth = _map_of(reference, "reference", axes, table)
    predicted = _map_of(prediction, "prediction", axes, table)
    case = case_name(Path(reference)) if isinstance(reference, (str, os.PathLike)) else "case"
    return evaluate_maps(truth, predicted, table, case)


def _map_of(
    labels: Image | npt.NDArray[Any] | Result[Any], what: str, axes: Axes | None, table: LabelTable | None
) -> LabelMap:
    return labels.label_map() if isinstance(labels, Result) else read_labels(labels, what, axes, table=table)
