"""Small image files and DICOM series for the tests of reading and writing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

Grid = tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]


@pytest.fixture
def make_image() -> Callable[..., sitk.Image]:
    """SimpleITK image of an array in file order (z, y, x) with a grid."""

    def make(
        array: np.ndarray,
        *,
        spacing: tuple[float, float, float] = (0.8, 0.7, 2.5),
        origin: tuple[float, float, float] = (-120.5, 33.25, -410.0),
        direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1),
    ) -> sitk.Image:
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(spacing)
        image.SetOrigin(origin)
        image.SetDirection(direction)
        return image

    return make


@pytest.fixture
def ct_file(tmp_path: Path, make_image: Callable[..., sitk.Image]) -> Callable[..., Path]:
    """Write a CT of random HU, (5, 6, 7) in file order unless an array is given."""

    def write(name: str = "ct.nii.gz", array: np.ndarray | None = None, **grid: tuple[float, ...]) -> Path:
        if array is None:
            array = np.random.default_rng(0).integers(-1000, 1500, (5, 6, 7)).astype(np.int16)
        path = tmp_path / name
        sitk.WriteImage(make_image(array, **grid), str(path))
        return path

    return write


@pytest.fixture
def nnunet_set(tmp_path: Path, make_image: Callable[..., sitk.Image]) -> Callable[..., Path]:
    """Write a data set in nnU-Net raw layout.

    `cases` maps `Tr/NAME`, `Val/NAME` or `Un/NAME` to the labels to draw (one voxel row each), None: no label file.
    Every image is noise of its own.
    """

    def write(
        cases: dict[str, tuple[int, ...] | None],
        labels: dict[str, object] | None = None,
        folder: str = "data",
        **described: object,
    ) -> Path:
        root = tmp_path / folder
        for number, (place, drawn) in enumerate(cases.items()):
            part, name = place.split("/")
            for kind in ("images", "labels"):
                (root / f"{kind}{part}").mkdir(parents=True, exist_ok=True)
            hu = np.random.default_rng(number).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)
            sitk.WriteImage(make_image(hu), str(root / f"images{part}" / f"{name}_0000.nii.gz"))
            if drawn is not None:
                array = np.zeros((5, 6, 7), np.uint8)
                for row, label in enumerate(drawn):
                    array[1:4, row, 2:5] = label
                sitk.WriteImage(make_image(array), str(root / f"labels{part}" / f"{name}.nii.gz"))
        labels = labels or {"background": 0, "left_lung": 1, "right_lung": 2, "heart": 3}
        content = {"labels": labels, "file_ending": ".nii.gz", **described}
        (root / "dataset.json").write_text(json.dumps(content))
        return root

    return write


@pytest.fixture
def grid_in_file() -> Callable[[Path], Grid]:
    """Spacing, origin and direction of a file as SimpleITK reads them."""

    def read(path: Path) -> Grid:
        image = sitk.ReadImage(str(path))
        return image.GetSpacing(), image.GetOrigin(), image.GetDirection()

    return read


@pytest.fixture
def dicom_series(tmp_path: Path) -> Callable[..., Path]:
    """Write a classic CT series, one file a slice, stored intercept -1024.

    `heights` are the slice positions in mm; `shear` moves each slice that far sideways a mm of height.
    """

    def write(
        folder: str = "series",
        *,
        heights: tuple[float, ...] = (10.0, 12.5, 15.0, 17.5, 20.0, 22.5),
        uid: str = "1.2.826.0.1.3680043.8.498.1",
        shear: float = 0.0,
        components: int = 1,
        pixel: str = "0.75\\0.8",
        shape: tuple[int, int] = (6, 7),
    ) -> Path:
        target = tmp_path / folder
        target.mkdir(parents=True, exist_ok=True)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        for number, height in enumerate(heights):
            # Named against the order of heights: the order must come from the positions.
            path = target / f"{uid[-1]}_{len(heights) - number:03d}.dcm"
            # GDCM stores HU + 1024 for an image of floats with these tags.
            image = sitk.GetImageFromArray(hounsfield(number, shape).astype(np.float32))
            rescaled = {"0028|1052": "-1024", "0028|1053": "1", "0028|0100": "16", "0028|0101": "16"}
            rescaled |= {"0028|0102": "15", "0028|0103": "1"}
            if components > 1:
                image = sitk.Compose([sitk.Image(shape[1], shape[0], sitk.sitkUInt8)] * components)
                rescaled = {}
            tags = {
                "0008|0060": "CT",
                "0020|000d": "1.2.826.0.1.3680043.8.498.9",
                "0020|000e": uid,
                "0008|0018": f"{uid}.{number + 1}",
                "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
                "0020|0032": f"-50\\{20 + shear * height}\\{height}",
                "0020|0037": "1\\0\\0\\0\\1\\0",
                "0028|0030": pixel,
                **rescaled,
            }
            image.SetSpacing((float(pixel.split("\\")[1]), float(pixel.split("\\")[0])))
            for tag, value in tags.items():
                image.SetMetaData(tag, value)
            writer.SetFileName(str(path))
            writer.Execute(image)
        return target

    def hounsfield(number: int, shape: tuple[int, int]) -> np.ndarray:
        grey = np.arange(shape[0] * shape[1], dtype=np.int16).reshape(shape)
        return grey + np.int16(100 * number - 1000)

    return write
