"""Many small cases on disk, from phantoms; and what is wrong with some of them."""

from __future__ import annotations

import functools
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import SimpleITK as sitk

from volumes.phantom import make_phantom

SPACING = (2.0, 2.0, 3.0)  # xyz, of the files: dolls, whose slices the network sees as they are
LABEL = 1  # liver
KEY_SLICE = 2


@functools.cache
def _phantom(seed: int) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    phantom = make_phantom(seed, shape=(5, 32, 32), spacing=(40.0, 14.0, 14.0), missing=(), noise_hu=0)
    return phantom.volume.array, (phantom.labels.array == LABEL).astype(np.uint8)


def write_image(path: Path, array: npt.NDArray[Any]) -> Path:
    """An image of slices from inferior to superior."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    sitk.WriteImage(image, str(path))
    return path


def write_case(folder: Path, name: str, seed: int) -> None:
    """`cts/NAME.nii.gz` and `keys/NAME.nii.gz` with the liver on one slice; another volume for every seed."""
    hu, labels = _phantom(seed % 3)
    noise = np.random.default_rng(seed).integers(-15, 16, hu.shape)
    write_image(folder / "cts" / f"{name}.nii.gz", (hu + noise).astype(np.int16))
    keys = np.zeros_like(labels)
    keys[KEY_SLICE] = labels[KEY_SLICE]
    assert keys.any()
    write_image(folder / "keys" / f"{name}.nii.gz", keys)


def write_cases(folder: Path, count: int) -> list[str]:
    """So many cases; their names."""
    names = [f"P{number:02d}" for number in range(count)]
    for seed, name in enumerate(names):
        write_case(folder, name, seed)
    return names


def write_huge(path: Path, slices: int, *, labels: bool) -> None:
    """An image of so many slices of 512 x 512, all zero, that takes no room on the disk; its name ends in .mha."""
    kind, size = ("MET_UCHAR", 1) if labels else ("MET_SHORT", 2)
    head = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        "CompressedData = False\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 2 2 3\n"
        f"DimSize = 512 512 {slices}\nElementType = {kind}\nElementDataFile = LOCAL\n"
    ).encode()
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + 512 * 512 * slices * size)


def manifest_lines(out: Path) -> list[dict[str, Any]]:
    """What the manifest of a run says so far."""
    path = out / "manifest.jsonl"
    if not path.exists():
        return []
    whole = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in whole[: whole.rfind("\n") + 1].splitlines()]


def engines_of(process: psutil.Process, *, recursive: bool = False) -> list[psutil.Process]:
    """The engines among a process's children; one that ends as it is looked at is none."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in process.children(recursive=recursive):
            with suppress(psutil.NoSuchProcess):  # or a zombie, which has no command line any more
                if "tools.batch.engine" in child.cmdline():
                    found.append(child)
    return found
