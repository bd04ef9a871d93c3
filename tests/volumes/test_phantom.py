"""The phantom: same bytes from a seed, 13 structures where they belong, phases, grids, missing organs."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion, label

from volumes.errors import InputError
from volumes.phantom import Phantom, make_phantom
from volumes.phantom_contrast import PHASES

SHAPE, SPACING = (40, 96, 96), (5.0, 3.4, 3.4)
SEEDS = (0, 1, 4)
LIVER, RIGHT_KIDNEY, SPLEEN, PANCREAS, AORTA, CAVA, RIGHT_ADRENAL, LEFT_ADRENAL = range(1, 9)
GALLBLADDER, OESOPHAGUS, STOMACH, DUODENUM, LEFT_KIDNEY = range(9, 14)

# what an adult's organs measure, ml; aorta, cava and oesophagus only as far as the field of view reaches
PLAUSIBLE_ML = {
    LIVER: (900, 2700),
    RIGHT_KIDNEY: (70, 280),
    SPLEEN: (60, 480),
    PANCREAS: (30, 140),
    AORTA: (25, 160),
    CAVA: (25, 180),
    RIGHT_ADRENAL: (1.2, 10),
    LEFT_ADRENAL: (1.2, 10),
    GALLBLADDER: (5, 90),
    OESOPHAGUS: (2, 40),
    STOMACH: (100, 800),
    DUODENUM: (25, 150),
    LEFT_KIDNEY: (70, 280),
}


@cache
def whole(seed: int, phase: str = "portal-venous", noise_hu: float = 8.0) -> Phantom:
    """A quick phantom with every structure."""
    return make_phantom(seed, shape=SHAPE, spacing=SPACING, phase=phase, missing=(), noise_hu=noise_hu)


def centre(phantom: Phantom, value: int) -> np.ndarray:
    """(3,) mean position of a structure in mm: z, y, x."""
    return np.argwhere(phantom.labels.array == value).mean(0) * phantom.labels.spacing


def core(phantom: Phantom, value: int) -> np.ndarray:
    """HU well inside a structure."""
    mask = phantom.labels.array == value
    inner = binary_erosion(mask, np.ones((1, 3, 3)))
    return phantom.volume.array[inner if inner.sum() > 20 else mask]


def test_same_seed_same_bytes() -> None:
    first, again = (make_phantom(5, shape=(10, 64, 64), spacing=(5, 5, 5)) for _ in range(2))
    other = make_phantom(6, shape=(10, 64, 64), spacing=(5, 5, 5))
    assert first.volume.array.tobytes() == again.volume.array.tobytes()
    assert first.labels.array.tobytes() == again.labels.array.tobytes()
    assert first.description == again.description
    assert first.volume.array.tobytes() != other.volume.array.tobytes()


@pytest.mark.parametrize("seed", SEEDS)
def test_all_structures_with_plausible_volumes(seed: int) -> None:
    phantom = whole(seed)
    counts = np.bincount(phantom.labels.array.ravel(), minlength=256)
    assert phantom.labels.present() == tuple(range(1, 14))
    ml = counts * np.prod(phantom.labels.spacing) / 1000
    wrong = {k: ml[k] for k, (low, high) in PLAUSIBLE_ML.items() if not low <= ml[k] <= high}
    assert not wrong


@pytest.mark.parametrize("seed", SEEDS)
def test_structures_lie_where_they_belong(seed: int) -> None:
    phantom = whole(seed)
    at = {value: centre(phantom, value) for value in range(1, 14)}
    midline = at[AORTA][2]
    right = (LIVER, RIGHT_KIDNEY, CAVA, RIGHT_ADRENAL, GALLBLADDER)
    left = (SPLEEN, LEFT_KIDNEY, STOMACH, LEFT_ADRENAL)
    assert all(at[value][2] < midline for value in right)
    assert all(at[value][2] > midline for value in left)
    for adrenal, kidney in ((RIGHT_ADRENAL, RIGHT_KIDNEY), (LEFT_ADRENAL, LEFT_KIDNEY)):
        assert at[adrenal][0] > at[kidney][0] + 15, "adrenals sit on the kidneys' upper poles"
    assert abs(at[RIGHT_KIDNEY][0] - at[LEFT_KIDNEY][0]) < 50
    assert at[OESOPHAGUS][0] > at[STOMACH][0] > at[DUODENUM][0]
    assert at[GALLBLADDER][1] < at[RIGHT_KIDNEY][1]
    assert at[PANCREAS][1] < at[AORTA][1]


def test_the_aorta_runs_in_front_of_the_spine() -> None:
    phantom = whole(0)
    for z in range(3, SHAPE[0] - 3, 4):
        aorta = phantom.labels.array[z] == AORTA
        y, x = (round(float(v)) for v in np.argwhere(aorta).mean(0))
        behind = phantom.volume.array[z - 3 : z + 4, y + 3 : y + 16, max(0, x - 6) : x + 4]
        assert behind.max() > 300, f"no bone behind the aorta near slice {z}"


@pytest.mark.parametrize("value", range(1, 14))
def test_structures_are_whole(value: int) -> None:
    parts, _ = label(whole(0).labels.array == value, np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())[1:]
    assert sizes.max() > 0.85 * sizes.sum()


def test_phases_change_hu_in_the_right_order() -> None:
    mean = {
        (phase, value): core(whole(1, phase), value).mean()
        for phase in PHASES
        for value in (LIVER, SPLEEN, AORTA, CAVA, RIGHT_KIDNEY, GALLBLADDER)
    }
    plain, arterial, portal, late = PHASES
    assert mean[arterial, AORTA] > mean[portal, AORTA] + 60
    assert mean[portal, AORTA] > mean[late, AORTA] > mean[plain, AORTA] + 30
    assert mean[portal, LIVER] > mean[late, LIVER] > mean[plain, LIVER] + 15
    assert mean[portal, LIVER] > mean[arterial, LIVER] + 15
    assert mean[portal, CAVA] > mean[arterial, CAVA] > mean[plain, CAVA]
    assert mean[portal, SPLEEN] > mean[plain, SPLEEN] + 40
    assert mean[arterial, RIGHT_KIDNEY] > mean[plain, RIGHT_KIDNEY] + 50
    assert abs(mean[portal, GALLBLADDER] - mean[plain, GALLBLADDER]) < 15
    assert np.array_equal(whole(1, plain).labels.array, whole(1, arterial).labels.array)


def test_missing_organs() -> None:
    gone = ("gallbladder", "left kidney", LEFT_ADRENAL)
    phantom = make_phantom(1, shape=SHAPE, spacing=SPACING, phase="portal-venous", missing=gone, noise_hu=8.0)
    assert set(range(1, 14)) - set(phantom.labels.present()) == {GALLBLADDER, LEFT_KIDNEY, LEFT_ADRENAL}
    assert len(phantom.description["missing"]) == 3  # type: ignore[arg-type]
    same = phantom.labels.array == RIGHT_KIDNEY
    assert np.array_equal(same, whole(1).labels.array == RIGHT_KIDNEY), "leaving organs out moves no other"


def test_organs_are_missing_by_chance() -> None:
    drawn = [
        make_phantom(seed, shape=(1, 4, 4), spacing=(5, 5, 5)).description["missing"] for seed in range(8)
    ]
    assert any(drawn) and not all(drawn)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((12, 40, 56), (4.0, 7.0, 6.0)), ((1, 48, 48), (5.0, 8.0, 8.0)), ((9, 32, 32), (3.0, 2.0, 2.0))],
)
def test_shape_and_spacing_are_honoured(
    shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    phantom = make_phantom(2, shape=shape, spacing=spacing)
    assert phantom.volume.array.shape == phantom.labels.array.shape == shape
    assert phantom.volume.spacing == phantom.labels.spacing == spacing
    assert phantom.volume.array.dtype == np.int16 and phantom.labels.array.dtype == np.uint8
    assert phantom.volume.array.min() >= -1024


def test_drawn_spacing_and_slices() -> None:
    drawn = [make_phantom(seed, shape=(60, 4, 4)).volume.spacing for seed in range(3)]
    assert all(1.5 <= dz <= 5 for dz, _, _ in drawn)
    assert len({dz for dz, _, _ in drawn}) == 3
    assert all(4 * dx > 250 for _, _, dx in drawn), "the field of view holds the body"


def test_slabs_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many slices are painted at once is a matter of memory alone."""
    once = make_phantom(3, shape=(13, 48, 48), spacing=(6, 8, 8), missing=())
    monkeypatch.setattr("volumes.phantom.SLAB_VOXELS", 5 * 48 * 48)
    slabs = make_phantom(3, shape=(13, 48, 48), spacing=(6, 8, 8), missing=())
    assert np.array_equal(once.labels.array, slabs.labels.array)
    assert np.abs(once.volume.array.astype(int) - slabs.volume.array).max() <= 1


def test_partial_volume_at_the_livers_border_with_fat() -> None:
    phantom = whole(0, noise_hu=0.0)
    liver = phantom.labels.array == LIVER
    inside = np.median(phantom.volume.array[liver])
    ring = binary_dilation(liver, np.ones((3, 3, 3))) & ~binary_erosion(liver, np.ones((3, 3, 3)))
    hu = phantom.volume.array[ring]
    between = (hu > -80) & (hu < inside - 30)
    assert between.mean() > 0.15
    assert len(np.unique(hu[between])) > 60, "a ramp, not a step"


def test_noise_is_as_asked_and_correlated() -> None:
    quiet, noisy = whole(0, noise_hu=0.0), whole(0, noise_hu=8.0)
    noise = (noisy.volume.array.astype(float) - quiet.volume.array)[:, 30:66, 30:66]
    inside = quiet.volume.array[:, 30:66, 30:66] > -200
    assert 5.5 < noise[inside].std() < 9.5
    neighbours = np.corrcoef(noise[:, :, :-1].ravel(), noise[:, :, 1:].ravel())[0, 1]
    assert 0.25 < neighbours < 0.9


def test_it_is_a_ct_in_hounsfield_units() -> None:
    phantom = whole(1)
    image = phantom.volume.array
    assert image[:, 0, 0].max() < -900, "air in the corner"
    assert image.max() > 350, "bone"
    body = image > -300
    assert 0.25 < body.mean() < 0.85
    assert (image[body] < -60).mean() > 0.1, "fat"
    assert ((image < -700) & (image > -980))[-8:].mean() > 0.02, "lung above the diaphragm"


@pytest.mark.parametrize(
    "wrong",
    [
        {"phase": "venous"},
        {"missing": ("appendix",)},
        {"shape": (0, 10, 10)},
        {"shape": (10, 10)},
        {"spacing": (1.0, -1.0, 1.0)},
        {"spacing": (1.0, float("nan"), 1.0)},
        {"noise_hu": -1.0},
    ],
)
def test_bad_arguments_end_in_one_line(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError) as told:
        make_phantom(0, **{"shape": (4, 8, 8), "spacing": (5.0, 5.0, 5.0), **wrong})  # type: ignore[arg-type]
    assert "\n" not in str(told.value)
