"""A small case on disk, and a propagator that is done in no time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch

SHAPE = (9, 20, 24)  # D, H, W

OF_THE_RUN = {".keyslice-run", "manifest.jsonl", "report.csv", "report.html", "report.json"}
"""What a run over many cases leaves besides its label maps."""


@dataclass(frozen=True)
class Files:
    """Paths of a case: a CT with a bright bar, and a label file with two labels on slices 2 and 6."""

    ct: Path
    keys: Path
    folder: Path


def make_case(folder: Path, ct_name: str = "ct.nii.gz", keys_name: str = "keys.nii.gz") -> Files:
    """A case whose file runs from superior to inferior and from left to right."""
    rng = np.random.default_rng(3)
    hu = rng.integers(-120, -80, SHAPE).astype(np.int16)
    hu[:, 5:12, 6:15] = 60
    labels = np.zeros(SHAPE, np.uint8)
    labels[2, 5:12, 6:15] = 1
    labels[6, 5:12, 6:15] = 1
    labels[6, 14:17, 3:6] = 7
    for array, name in ((hu, ct_name), (labels, keys_name)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((1.5, 1.25, 3.0))
        image.SetOrigin((-20.5, 10.25, 100.0))
        folder.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(folder / name))
    return Files(folder / ct_name, folder / keys_name, folder)


@pytest.fixture
def case(tmp_path: Path) -> Files:
    return make_case(tmp_path)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Folders of CTs, of key slices and (not there yet) of results, for cases A, B and C in three formats."""
    cts, keys = tmp_path / "cts", tmp_path / "keys"
    cts.mkdir()
    keys.mkdir()
    for ct_name, keys_name in (("A_0000.nii.gz", "A.nii.gz"), ("B.nrrd", "B.seg.nrrd"), ("C.mha", "C.mhd")):
        files = make_case(tmp_path / "made" / ct_name, ct_name, keys_name)
        files.ct.rename(cts / ct_name)
        for path in files.folder.iterdir():  # a .mhd has its voxels in a second file
            path.rename(keys / path.name)
    return cts, keys, tmp_path / "out"


@pytest.fixture
def results() -> Callable[[Path], list[str]]:
    """Names of the label maps in the folder of a run, whose own files have to be there too."""

    def look(folder: Path) -> list[str]:
        names = {path.name for path in folder.iterdir()}
        assert names >= OF_THE_RUN
        return sorted(names - OF_THE_RUN)

    return look


@dataclass
class FakePropagation:
    labels: np.ndarray
    confidence: dict[int, np.ndarray]


class FakePropagator:
    """Copies the nearest key slice; remembers how it was called."""

    calls: list[dict[str, Any]] = []
    fail_with: BaseException | None = None

    @classmethod
    def load(cls, name: str, weights: Path | None = None, *, device: str, precision: str) -> FakePropagator:
        return cls()

    def propagate(
        self,
        volume: Any,
        key_slices: Any,
        *,
        extents: Any = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> FakePropagation:
        if FakePropagator.fail_with is not None:
            raise FakePropagator.fail_with
        FakePropagator.calls.append({"volume": volume, "key_slices": key_slices, "extents": extents})
        given = key_slices.slices()
        depth = volume.shape[0]
        labels = np.stack([key_slices.mask(min(given, key=lambda k: abs(k - z))) for z in range(depth)])
        if progress is not None:
            progress(depth, depth)
        near = np.array([1 / (1 + min(abs(k - z) for k in given)) for z in range(depth)], np.float32)
        return FakePropagation(labels, {label: near for label in key_slices.labels})


@pytest.fixture
def fake_propagator(monkeypatch: pytest.MonkeyPatch) -> type[FakePropagator]:
    """Stands in for the network and the propagator."""
    module = ModuleType("propagation_module.propagator")
    module.Propagator = FakePropagator  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "propagation_module.propagator", module)
    monkeypatch.setattr(
        "propagation_module.checkpoints.load_network", lambda *args, **kwargs: torch.nn.Identity()
    )
    FakePropagator.calls, FakePropagator.fail_with = [], None
    return FakePropagator
