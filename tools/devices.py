"""From `--device` to a torch device that exists."""

from __future__ import annotations

import re
from typing import Any

from volumes.errors import InputError

DEVICE_PATTERN = re.compile(r"auto|cpu|cuda|cuda:\d+|mps")


def choose_device(name: str) -> str:
    """The torch device for `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    `auto` takes the first CUDA device, else the CPU. Apple's `mps` is taken only when asked for.

    Raises:
        InputError: an unknown name, or a device that this machine does not have.
    """
    where = f"--device {name}"
    if not DEVICE_PATTERN.fullmatch(name):
        raise InputError(
            where, found=f"'{name}'", expected="auto, cpu, cuda, cuda:N or mps", fix="choose one of these"
        )
    if name == "cpu":
        return name

    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda:0" if count else "cpu"
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise InputError(
                where,
                found="no such device here",
                expected="a Mac with Metal",
                fix="use --device auto or cpu",
            )
        return name
    index = int(name.partition(":")[2] or 0)
    if index >= count:
        raise InputError(
            where,
            found=f"{count} CUDA device{'' if count == 1 else 's'} on this machine",
            expected=f"cuda:0 to cuda:{count - 1}" if count else "a CUDA device that torch can see",
            fix="use --device auto or cpu" if count == 0 else "choose one of these",
        )
    return f"cuda:{index}"


def list_devices() -> list[dict[str, Any]]:
    """Every device that `--device` takes here: name, description and memory in bytes where it is known."""
    import platform

    import psutil
    import torch

    devices: list[dict[str, Any]] = [
        {
            "name": "cpu",
            "description": platform.processor() or platform.machine(),
            "memory_bytes": psutil.virtual_memory().total,
            "cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
            "threads": torch.get_num_threads(),
        }
    ]
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        devices.append(
            {"name": f"cuda:{index}", "description": properties.name, "memory_bytes": properties.total_memory}
        )
    if torch.backends.mps.is_available():
        devices.append({"name": "mps", "description": "Apple Metal", "memory_bytes": None})
    return devices
