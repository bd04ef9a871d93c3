"""Dice (DSC) and normalised surface Dice (NSD) of a predicted label map, by the official FLARE22 rules.

The rules, for each case and structure:
1. both masks empty: DSC = NSD = 1; exactly one empty: both 0;
2. structures whose role is `tubular` (aorta, inferior vena cava, oesophagus) are scored on the ground
   truth's slices `[lowest:highest]` only, the highest one *excluded* as in the official script. A ground
   truth of a single slice, on which that script fails, is scored on that slice, and the score says so;
3. DSC < 0.2 makes NSD 0;
4. both are rounded to 4 decimals, and only then averaged over cases.

The surface Dice is MONAI's with sub-voxel surface elements: marching-cubes elements weighted by their
area, a distance of exactly the tolerance counts as within.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from volumes.errors import InputError
from volumes.label_map import LabelMap, labels_in
from volumes.labels import Label, LabelTable

DEFAULT_TOLERANCE_MM = 2.0
Z_RESTRICTED_ROLES = frozenset({"tubular"})
MINIMUM_DSC_FOR_NSD = 0.2

Mask = npt.NDArray[np.bool_]
Spacing = tuple[float, float, float]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Score:
    """DSC and NSD of one structure in one case, rounded to 4 decimals; `note` names a special rule."""

    dsc: float
    nsd: float
    note: str | None = None


def dice(truth: npt.NDArray[Any], prediction: npt.NDArray[Any]) -> float:
    """Dice coefficient of two masks of the same shape; 1.0 if both are empty."""
    if truth.shape != prediction.shape:
        raise ValueError(f"masks of different shapes: {truth.shape} and {prediction.shape}")
    truth, prediction = truth.astype(bool, copy=False), prediction.astype(bool, copy=False)
    total = np.count_nonzero(truth) + np.count_nonzero(prediction)
    return 2.0 * np.count_nonzero(truth & prediction) / total if total else 1.0


def surface_dice(truth: Mask, prediction: Mask, spacing: Spacing, tolerance_mm: float) -> float:
    """Share of both surfaces' area that lies within the tolerance of the other surface.

    Args:
        truth, prediction: `(D, H, W)` masks, any size: they are cropped to what they contain first.
        spacing: `(dz, dy, dx)` in mm, in the order of the masks' axes.
        tolerance_mm: a distance up to and including this one is forgiven.

    Returns:
        0..1; 1.0 if both masks are empty, 0.0 if exactly one is.
    """
    box = _box_of(truth | prediction)
    if box is None:
        return 1.0
    if not truth[box].any() or not prediction[box].any():
        return 0.0
    import torch
    from monai.metrics import compute_surface_dice

    # A border of background, so that a structure at the edge of the volume has a surface there too.
    pair = [torch.from_numpy(np.pad(mask[box], 1))[None, None] for mask in (prediction, truth)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI 1.5+ warns about its own argument
        value = compute_surface_dice(
            pair[0],
            pair[1],
            class_thresholds=[tolerance_mm],
            include_background=True,
            spacing=[float(step) for step in spacing],
            use_subvoxels=True,
        )
    return float(value[0, 0])


def structure_score(
    truth: Mask, prediction: Mask, spacing: Spacing, tolerance_mm: float, *, restrict_z: bool = False
) -> Score:
    """Score of one structure by the official rules.

    Args:
        truth, prediction: `(D, H, W)` masks.
        spacing: `(dz, dy, dx)` in mm.
        tolerance_mm: tolerance of the NSD.
        restrict_z: rule 2 of this module's docstring.
    """
    has_truth, has_prediction = bool(truth.any()), bool(prediction.any())
    if not has_truth or not has_prediction:
        both_empty = float(has_truth == has_prediction)
        return Score(both_empty, both_empty)
    note = None
    if restrict_z:
        filled = np.flatnonzero(truth.any(axis=(1, 2)))
        lowest, highest = int(filled[0]), int(filled[-1])
        if lowest == highest:
            highest += 1
            note = "single-slice ground truth: scored on that slice"
        truth, prediction = truth[lowest:highest], prediction[lowest:highest]
    dsc = dice(truth, prediction)
    nsd = surface_dice(truth, prediction, spacing, tolerance_mm) if dsc >= MINIMUM_DSC_FOR_NSD else 0.0
    return Score(round(dsc, 4), round(nsd, 4), note)


def tolerance_of(label: Label, tolerances: Mapping[int, float] | None = None) -> float:
    """NSD tolerance in mm: from `tolerances` (by label number), else the table, else the default."""
    if tolerances is not None and label.value in tolerances:
        return float(tolerances[label.value])
    return DEFAULT_TOLERANCE_MM if label.tolerance_mm is None else label.tolerance_mm


def case_scores(
    truth: LabelMap,
    prediction: LabelMap,
    table: LabelTable | None = None,
    tolerances: Mapping[int, float] | None = None,
) -> dict[str, Score]:
    """Scores of one case, by structure name, in the order of the label numbers.

    Args:
        truth, prediction: label maps on the same grid.
        table: the structures to score, all of them, absent ones included (the challenge's way). Without
            it: those that occur in either map, named by the truth's table.
        tolerances: NSD tolerance in mm by label number, instead of the table's.

    Raises:
        InputError: the two grids differ.
    """
    if truth.shape != prediction.shape or not truth.geometry.is_close(prediction.geometry):
        raise InputError(
            prediction.name,
            found=f"a grid of {_grid(prediction)}",
            expected=f"the grid of {truth.name}: {_grid(truth)}",
            fix="bring the prediction onto the grid of the truth, by nearest neighbour",
        )
    if table is None:
        occurring = sorted({*labels_in(truth.array), *labels_in(prediction.array)})
        known = truth.table.covering(occurring)
        structures = [known[value] for value in occurring]
    else:
        structures = list(table.values())
    truth_boxes, prediction_boxes = _boxes(truth.array), _boxes(prediction.array)
    scores = {}
    for label in structures:
        box = _union(truth_boxes.get(label.value), prediction_boxes.get(label.value))
        scores[label.name] = structure_score(
            truth.array[box] == label.value,
            prediction.array[box] == label.value,
            truth.spacing,
            tolerance_of(label, tolerances),
            restrict_z=label.role in Z_RESTRICTED_ROLES,
        )
    return scores


def _boxes(array: npt.NDArray[np.uint8]) -> dict[int, Box]:
    """Bounding box of each label that occurs in `(D, H, W)`, found in one pass."""
    from scipy.ndimage import find_objects

    return {value: box for value, box in enumerate(find_objects(array), start=1) if box is not None}


def _box_of(mask: Mask) -> Box | None:
    return _boxes(mask.view(np.uint8)).get(1)


def _union(first: Box | None, second: Box | None) -> Box:
    """Smallest box around both; an empty one if there is neither."""
    boxes = [box for box in (first, second) if box is not None]
    if not boxes:
        return slice(0, 0), slice(0, 0), slice(0, 0)
    z, y, x = (
        slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes))
        for axis in range(3)
    )
    return z, y, x


def _grid(label_map: LabelMap) -> str:
    size = " x ".join(str(n) for n in label_map.geometry.size_xyz)
    spacing = " x ".join(f"{s:g}" for s in label_map.geometry.spacing_xyz)
    origin = ", ".join(f"{o:g}" for o in label_map.geometry.origin_xyz)
    return f"{size} voxels of {spacing} mm at ({origin})"
