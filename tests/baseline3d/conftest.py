"""What the tests of the 3D side share: the configuration of a tiny network, and a model that says what it is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

TINY: dict[str, Any] = {
    "name": "tiny",
    "network": {
        "kind": "dynunet",
        "head": "softmax",
        "filters": [4, 8, 8],
        "strides": [[1, 2, 2], [2, 2, 2]],
        "deep_supervision": 1,
    },
    "input": {
        "patch": [4, 16, 16],
        "spacing": [3.0, 4.0, 4.0],
        "intensity": {"rule": "percentiles"},
    },
    "inference": {"step": 0.5},
    "training": {
        "seed": 3,
        "steps": 6,
        "batch_size": 2,
        "workers": 0,
        "precision": "32-true",
        "gradient_clip": 1.0,
        "averaging": 0.9,
        "checkpoint_every": 2,
        "log_every": 1,
        "validate_every": 0,
        "optimizer": {"kind": "sgd", "learning_rate": 1.0e-2, "schedule": "poly"},
        "patches": {"foreground": 0.5},
        "augmentation": {
            "rotate_share": 0.5,
            "rotate": 20.0,
            "scale_share": 0.5,
            "scale": [0.8, 1.2],
            "flip": [0.5, 0.5, 0.5],
            "noise_share": 0.5,
            "paint_share": 0.3,
        },
        "losses": {"dice": 1.0, "cross_entropy": 1.0},
    },
}

RECIPE_SECTIONS: dict[str, Any] = {
    "network": {
        "kind": "dynunet",
        "head": "softmax",
        "filters": [8, 16, 16],
        "strides": [[1, 2, 2], [2, 2, 2]],
        "deep_supervision": 0,
    }
}
"""Of the network that recipes are tried with: it learns in seconds."""


@pytest.fixture
def tiny_3d(tmp_path: Path) -> Callable[..., Path]:
    """Writes the configuration of a tiny 3D network, `training` entries replaced or added, and gives its path."""

    def write(sections: dict[str, Any] | None = None, **training: Any) -> Path:
        path = tmp_path / "tiny.yaml"
        content = {**TINY, "training": {**TINY["training"], **training}, **(sections or {})}
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.fixture(scope="session")
def taught_3d(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the tiny network that know a little of the training set: recipes start from them."""
    from baseline3d.training import train

    folder = tmp_path_factory.mktemp("taught")
    training = {
        **TINY["training"],
        "steps": 60,
        "checkpoint_every": 60,
        "averaging": 0.0,
        "optimizer": {"kind": "adamw", "learning_rate": 1.0e-2, "schedule": "one_cycle"},
        "patches": {"foreground": 0.67},
        "augmentation": {},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump({**TINY, **RECIPE_SECTIONS, "training": training}))
    return train(folder / "tiny.yaml", data=training_set, out=folder / "run", device="cpu", progress=False)


@pytest.fixture
def tiny_recipe(tiny_3d: Callable[..., Path]) -> Callable[..., Path]:
    """Writes the configuration of a recipe with the tiny network and few steps, and gives its path."""

    def write(recipe: dict[str, Any], **training: Any) -> Path:
        few = {
            "steps": 3,
            "checkpoint_every": 1,
            "averaging": 0.0,
            "optimizer": {"kind": "adamw", "learning_rate": 1.0e-4, "schedule": "poly"},
            "augmentation": {},
        }
        return tiny_3d({**RECIPE_SECTIONS, "recipe": recipe}, **{**few, **training})

    return write
