"""`keyslice info`: versions, devices, and every configuration with its size and whether weights ship."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from typing import Any

from rich.console import Console
from rich.table import Table

PACKAGES = (
    "keyslice",
    "torch",
    "torchvision",
    "timm",
    "segmentation-models-pytorch",
    "albumentations",
    "opencv-python-headless",
    "SimpleITK",
    "monai",
    "lightning",
    "omegaconf",
    "safetensors",
    "scikit-image",
    "scipy",
    "numpy",
)


def versions() -> dict[str, str | None]:
    """Version of Python, of Keyslice and of what it stands on; None for what is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def gather() -> dict[str, Any]:
    """`{"models": {"propagation/paper": {"parameters": 54416065, "weights": None}}, "versions": ...}`."""
    from baseline3d import models as baseline3d
    from propagation_module import checkpoints
    from reference_module import models
    from tools.devices import list_devices

    described = checkpoints.describe_models() | models.describe_models() | baseline3d.describe_models()
    return {"models": described, "versions": versions(), "devices": list_devices()}


def info_command(*, as_json: bool) -> None:
    """Print what `gather` finds, as JSON or as tables."""
    found = gather()
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    console = Console()
    models = Table("model", "parameters", "weights", title="Models", title_justify="left")
    for name, model in sorted(found["models"].items()):
        models.add_row(name, f"{model['parameters']:,}", model["weights"] or "none shipped: give --weights")
    devices = Table("device", "description", "memory", title="Devices", title_justify="left")
    for device in found["devices"]:
        memory = device["memory_bytes"]
        devices.add_row(
            device["name"], device["description"], f"{memory / 2**30:.1f} GiB" if memory else "unknown"
        )
    packages = Table("package", "version", title="Versions", title_justify="left")
    for name, version in found["versions"].items():
        packages.add_row(name, version or "not installed")
    console.print(models, devices, packages, sep="\n")
