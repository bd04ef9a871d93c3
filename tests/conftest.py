"""What the tests of both trainings share: a small data set and the configuration of a tiny pair."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.tiny import TINY_NETWORK, TINY_TRAINING


def _write_case(folder: Path, part: str, name: str, seed: int, structures: tuple[int, ...], labelled: bool) -> None:
    import SimpleITK as sitk

    rng = np.random.default_rng(seed)
    labels = np.zeros((6, 34, 36), np.uint8)
    for label in structures:
        top, left = rng.integers(2, 18, 2)
        labels[1:5, top : top + 10, left : left + 10] = label
    hu = (labels.astype(np.int16) * 70 - 40 + rng.normal(0, 8, labels.shape)).astype(np.int16)
    for kind, array, suffix in (("images", hu, "_0000"), ("labels", labels, "")):
        if kind == "images" or labelled:
            image = sitk.GetImageFromArray(array)
            image.SetSpacing((2.0, 2.0, 3.0))
            (folder / f"{kind}{part}").mkdir(exist_ok=True)
            sitk.WriteImage(image, str(folder / f"{kind}{part}" / f"{name}{suffix}.nii.gz"))


@pytest.fixture(scope="session")
def training_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three labelled cases (one without the third structure), three without labels, two for validation."""
    folder = tmp_path_factory.mktemp("training_set")
    for seed, (name, structures) in enumerate((("A", (1, 2, 3)), ("B", (1, 2, 3)), ("C", (1, 2)))):
        _write_case(folder, "Tr", name, seed, structures, True)
    for seed, name in enumerate(("U", "V", "W")):
        _write_case(folder, "Un", name, 10 + seed, (1, 2, 3), False)
    for seed, name in enumerate(("X", "Y")):
        _write_case(folder, "Val", name, 20 + seed, (1, 2, 3), True)
    described = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "left_ball": 1, "right_ball": 2, "tube": 3},
        "numTraining": 3,
        "file_ending": ".nii.gz",
        "partially_labelled": True,
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder


@pytest.fixture
def tiny_config(tmp_path: Path) -> Callable[..., Path]:
    """Writes the configuration of a tiny pair, `training` entries replaced or added, and gives its path."""

    def write(**training: Any) -> Path:
        path = tmp_path / "tiny.yaml"
        content = {
            "name": "tiny",
            "network": TINY_NETWORK,
            "input": {"pixel": None, "windows": "three"},
            "training": {**TINY_TRAINING, **training},
        }
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.fixture
def tiny_cps(tiny_config: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """The same for cross pseudo supervision."""

    def write(**training: Any) -> Path:
        section = {**TINY_TRAINING, "batch_size": 3, "unlabelled_batch_size": 3, **training}
        content = {"name": "tiny", "reference": str(tiny_config()), "training": section}
        path = tmp_path / "tiny_cps.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch computes in one thread, in which two equal runs make the same bits."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
