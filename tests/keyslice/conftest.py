"""A small CT of two structures as arrays and as files, and the network that ships."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import SimpleITK as sitk

import keyslice
from tests.tools.pairs import SPACING, ellipsoids
from volumes.formats import write_label_map
from volumes.label_map import LabelMap
from volumes.labels import Label, LabelTable, distinct_color
from volumes.volume import Geometry

if TYPE_CHECKING:
    from propagation_module.propagator import Propagator

NAMES = {1: "liver", 2: "spleen"}
AXES = keyslice.Axes(toward=("superior", "posterior", "left"), spacing=SPACING)


@dataclass(frozen=True)
class Case:
    """Arrays (D, H, W) in canonical order; labels are given on slices 6 and 12 alone."""

    hu: np.ndarray
    truth: np.ndarray
    keys: np.ndarray


@pytest.fixture(scope="session")
def case() -> Case:
    volume, truth = ellipsoids()
    keys = np.zeros_like(truth)
    for z in (6, 12):
        keys[z] = truth[z]
    return Case(volume.array, truth, keys)


@pytest.fixture(scope="session")
def model() -> Propagator:
    return keyslice.load("small", device="cpu", precision="float32")


@pytest.fixture(scope="session")
def propagated(case: Case, model: Propagator) -> np.ndarray:
    """What `keyslice.propagate` makes of the case: labels (D, H, W), not to be written to."""
    labels = keyslice.propagate(case.hu, case.keys, axes=AXES, model=model).labels
    labels.setflags(write=False)
    return labels


@pytest.fixture
def files(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, entered, with the case as `.nii.gz` and `.npy`; the labels are named."""
    monkeypatch.chdir(tmp_path)
    geometry = Geometry.axial(case.hu.shape, SPACING)
    image = sitk.GetImageFromArray(case.hu)
    image.SetSpacing(geometry.spacing_xyz)
    sitk.WriteImage(image, "ct.nii.gz")
    named = LabelTable(Label(value, name, distinct_color(value)) for value, name in NAMES.items())
    for name in ("keys", "truth"):
        write_label_map(LabelMap(getattr(case, name), geometry, named), f"{name}.nii.gz")
    np.save("ct.npy", case.hu)
    np.save("keys.npy", case.keys)
    return tmp_path
