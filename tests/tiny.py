"""A pair so small that tests train it."""

from __future__ import annotations

from typing import Any

TINY_NETWORK = {
    "first": {
        "kind": "transunet",
        "layers": [1, 1, 1],
        "stem": 8,
        "hidden": 32,
        "depth": 1,
        "heads": 2,
        "mlp": 32,
        "decoder": [16, 16, 8, 8],
        "head": 16,
        "grid": 2,
    },
    "second": {
        "kind": "deeplabv3plus",
        "encoder": "tu-resnet18",
        "depth": 4,
        "channels": 16,
        "encoder_settings": {"channels": [8, 16, 16, 16]},
    },
}
TINY_TRAINING: dict[str, Any] = {
    "seed": 3,
    "steps": 6,
    "batch_size": 4,
    "workers": 0,
    "learning_rate": 3.0e-3,
    "weight_decay": 1.0e-2,
    "schedule": "one_cycle",
    "precision": "32-true",
    "gradient_clip": 1.0,
    "averaging": 0.9,
    "checkpoint_every": 2,
    "log_every": 1,
    "validate_every": 0,
    "slices": {"size": 32, "rare": 0.5, "augmentation": 0.5, "flips": "swap"},
    "losses": {"dice": 1.0, "cross_entropy": 1.0, "smoothing": 0.05},
}
