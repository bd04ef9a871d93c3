"""Regions grown from an image alone: repeatable, plausible, inside the patient, on the image's borders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from propagation_module.regions import grow_regions, patient_mask

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SPACING = (3.0, 2.0, 2.0)
# Centre (z, y, x) and radius in mm, HU.
BALLS = (
    ((36, 50, 45), 18, 160),
    ((40, 75, 90), 16, 120),
    ((54, 42, 85), 12, 400),
    ((24, 82, 52), 10, -700),
)


def ball(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> NDArray[np.bool_]:
    grid = np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, SPACING, strict=True)), indexing="ij")
    return sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= radius**2


@pytest.fixture(scope="module")
def body() -> NDArray[np.int16]:
    """An upright cylinder of soft tissue (40 HU) with four balls, in air; the 2 upper slices are padding."""
    rng = np.random.default_rng(0)
    shape = (26, 62, 68)
    hu = np.full(shape, -1000.0)
    y, x = np.meshgrid(np.arange(62) * 2.0, np.arange(68) * 2.0, indexing="ij")
    hu[:, ((y - 60) / 48) ** 2 + ((x - 68) / 56) ** 2 <= 1] = 40.0
    for centre, radius, value in BALLS:
        hu[ball(shape, centre, radius)] = value
    hu = ndimage.gaussian_filter(hu, (0.4, 0.7, 0.7)) + rng.normal(0, 12, shape)
    hu[24:] = -1024
    return hu.astype(np.int16)


@pytest.fixture(scope="module")
def grown(body: NDArray[np.int16]) -> list[NDArray[np.uint8]]:
    """The regions of six seeds."""
    return [grow_regions(body, SPACING, seed=seed) for seed in range(6)]


def test_same_seed_same_regions_other_seed_others(body: NDArray[np.int16], grown: list[NDArray]) -> None:
    assert grown[3].dtype == np.uint8 and grown[3].shape == body.shape
    assert np.array_equal(grown[3], grow_regions(body, SPACING, seed=3))
    assert not np.array_equal(grown[3], grown[4])


def test_regions_have_plausible_sizes(body: NDArray[np.int16]) -> None:
    regions = grow_regions(body, SPACING, seed=1, max_regions=12)
    values = np.unique(regions)[1:]
    assert 1 <= len(values) <= 12
    assert values.tolist() == list(range(1, len(values) + 1))
    for value in values:
        mask = regions == value
        # Pasting may take a tenth of a region away.
        assert 0.9 * 150 <= mask.sum() * np.prod(SPACING) <= 1.5e6
        assert mask.any(axis=(1, 2)).sum() >= 4


def test_nothing_outside_the_patient(grown: list[NDArray]) -> None:
    for regions in grown:
        assert not regions[24:].any()
        assert not regions[:, 0].any() and not regions[:, :, 0].any()


def test_every_ball_is_found_by_some_seed(body: NDArray[np.int16], grown: list[NDArray]) -> None:
    best = np.zeros(len(BALLS))
    for regions in grown:
        sizes = np.bincount(regions.ravel(), minlength=256)
        for index, (centre, radius, _) in enumerate(BALLS):
            truth = ball(body.shape, centre, radius)
            both = np.bincount(regions[truth], minlength=256)
            best[index] = max(best[index], (2 * both[1:] / (sizes[1:] + truth.sum())).max())
    assert (best > 0.8).all(), best


def test_patient_mask_keeps_lungs_and_drops_air_and_couch(body: NDArray[np.int16]) -> None:
    scan = body.copy()
    scan[:24, 57:59, 4:64] = 200  # a couch under the patient
    inside = patient_mask(scan, SPACING)
    assert not inside[:24, 57:59].any()
    assert inside[ball(body.shape, BALLS[3][0], 8)].all()  # the airy ball
    assert not inside[24:].any()


def test_fine_grids_are_worked_on_coarsely_and_come_back_in_size() -> None:
    hu = np.full((30, 260, 260), -1000, np.int16)
    hu[:, 30:230, 30:230] = 40
    hu[6:24, 100:160, 90:170] = 300
    regions = grow_regions(hu, (2.5, 0.8, 0.8), seed=0, max_regions=255)
    assert regions.shape == hu.shape
    truth = hu == 300
    both, sizes = np.bincount(regions[truth], minlength=256), np.bincount(regions.ravel(), minlength=256)
    assert (2 * both[1:] / (sizes[1:] + truth.sum())).max() > 0.85


@pytest.mark.parametrize("value", [-1024, 40])
def test_no_structure_is_no_error(value: int) -> None:
    regions = grow_regions(np.full((12, 20, 20), value, np.int16), (3, 3, 3), seed=0)
    assert regions.shape == (12, 20, 20)
    assert (regions == 0).mean() > 0.99


def test_wrong_arguments_are_named() -> None:
    hu = np.zeros((5, 5, 5), np.int16)
    with pytest.raises(ValueError, match="spacing"):
        grow_regions(hu, (1, 0, 1), seed=0)
    with pytest.raises(ValueError, match="max_regions"):
        grow_regions(hu, (1, 1, 1), seed=0, max_regions=300)


def test_real_head_and_neck() -> None:
    path = DATA / "head-neck" / "imagesTr" / "HN_001_0000.nii.gz"
    if not path.exists():
        pytest.skip(f"no {path.name} in ../shared/data")
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
    hu = sitk.GetArrayFromImage(image).astype(np.int16)
    regions = grow_regions(hu, image.GetSpacing()[::-1], seed=0)
    assert regions.max() >= 15
    assert np.median(hu[regions > 0]) > -900
