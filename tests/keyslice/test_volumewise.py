"""`keyslice.propagate` and `keyslice.segment`: what goes in comes back in its kind, on its grid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import SimpleITK as sitk

import keyslice
from reference_module.referencer import Referencer
from tests.keyslice.conftest import AXES, NAMES, Case
from tests.keyslice.test_axes import laid
from tests.tools.pairs import HounsfieldPair, referencer
from tools.automatic import AutomaticSettings
from tools.propagate import Job, propagate_command
from volumes.metrics import dice

if TYPE_CHECKING:
    from propagation_module.propagator import Propagator


def test_from_file_to_file_as_the_command_does(files: Path, model: Propagator) -> None:
    result = keyslice.propagate("ct.nii.gz", Path("keys.nii.gz"), model=model)
    assert result.save("labels.nii.gz") == 0.0
    job = Job(
        ct=Path("ct.nii.gz"),
        keys=Path("keys.nii.gz"),
        output=Path("commanded.nii.gz"),
        device="cpu",
        precision="float32",
        quiet=True,
    )
    assert propagate_command(job) == 0
    assert Path("labels.nii.gz").read_bytes() == Path("commanded.nii.gz").read_bytes()
    assert result.names.names() == ("liver", "spleen")
    assert result.key_slices == (6, 12)
    with pytest.raises(keyslice.InputError, match="existing file"):
        result.save("labels.nii.gz")


def test_an_array_comes_back_as_an_array_in_its_order(case: Case, model: Propagator) -> None:
    plain = keyslice.propagate(case.hu, case.keys, axes=AXES, model=model)
    assert isinstance(plain.labels, np.ndarray) and plain.labels.dtype == np.uint8
    assert dice(case.truth == 1, plain.labels == 1) > 0.8
    for z in (6, 12):
        painted = case.keys[z] > 0
        assert np.array_equal(plain.labels[z][painted], case.keys[z][painted])
    toward: Any = ("left", "inferior", "anterior")
    axes = keyslice.Axes(toward=toward, spacing=(2.0, 3.0, 2.0))
    turned = keyslice.propagate(
        laid(case.hu, toward).astype(np.float64), laid(case.keys, toward), axes=axes, model=model, key_slices=[11, 17]
    )
    assert np.array_equal(turned.labels, laid(plain.labels, toward))
    assert turned.key_slices == (11, 17)  # of 24 slices, counted from above
    for label in (1, 2):
        np.testing.assert_allclose(turned.confidence[label], plain.confidence[label][::-1], atol=1e-5)


def test_an_oblique_image_comes_back_on_its_grid_bit_for_bit(
    case: Case, model: Propagator, propagated: np.ndarray
) -> None:
    direction = (0.98, -0.1987, 0.0119, 0.199, 0.9784, -0.0596, 0.0002, 0.0608, 0.9982)
    images = []
    for array in (case.hu, case.keys):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((2.0, 2.0, 3.0))
        image.SetOrigin((-20.123456789, 10.1, 0.3))
        image.SetDirection(direction)
        images.append(image)
    result = keyslice.propagate(images[0], images[1], model=model)
    assert isinstance(result.labels, sitk.Image)
    for of in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(result.labels, of)() == getattr(images[0], of)()
    assert np.array_equal(sitk.GetArrayFromImage(result.labels), propagated)


def test_what_is_changed_in_the_result_is_what_is_saved(case: Case, model: Propagator, tmp_path: Path) -> None:
    toward: Any = ("posterior", "right", "inferior")
    axes = keyslice.Axes(toward=toward, spacing=(2.0, 2.0, 3.0))
    result = keyslice.propagate(laid(case.hu, toward), laid(case.keys, toward), axes=axes, model=model, names=NAMES)
    result.labels[result.labels == 2] = 0
    result.save(tmp_path / "out.seg.nrrd")
    again = keyslice.evaluate(tmp_path / "out.seg.nrrd", result)
    assert again["mean"]["liver"]["dsc"] == 1.0 and "spleen" not in again["mean"]


def test_what_is_said_reaches_the_propagation(case: Case, model: Propagator) -> None:
    steps: list[tuple[int, int]] = []
    result = keyslice.propagate(
        case.hu,
        case.keys,
        axes=AXES,
        model=model,
        names=NAMES,
        extents={"liver": (5, 13), "spleen": (6, 12)},
        progress=lambda done, total: steps.append((done, total)),
    )
    on = np.flatnonzero((result.labels == 1).any((1, 2)))
    assert on.min() >= 5 and on.max() <= 13
    assert steps[-1][0] == steps[-1][1] > 0
    upside = keyslice.Axes(toward=("inferior", "posterior", "left"), spacing=AXES.spacing)
    turned = keyslice.propagate(
        case.hu[::-1], case.keys[::-1], axes=upside, model=model, names=NAMES, extents={1: (10, 18), 2: (11, 17)}
    )
    assert np.array_equal(turned.labels[::-1], result.labels)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"axes": None}, "an array without axes"),
        ({"keys": "keys.nii.gz"}, "found a file or image, where the CT is an array"),
        ({"ct": "ct.nii.gz", "axes": None}, "found an array, where the CT is a file or image"),
        ({"ct": "ct.nii.gz", "keys": "keys.nii.gz"}, "axes for arrays alone"),
        ({"ct": [1, 2]}, "found a list"),
        ({"ct": "nowhere.nii.gz", "axes": None}, "nowhere.nii.gz: found no such file"),
        ({"ct": np.zeros((4, 4), np.int16)}, "volume with 3 axes"),
        ({"ct": np.full((24, 40, 52), np.nan)}, "NaN"),
        ({"ct": np.zeros((24, 40, 52), complex)}, "array of complex128"),
        ({"keys": np.zeros((24, 40, 52), np.uint8)}, "no labelled slice"),
        ({"keys": np.zeros((24, 52, 40), np.uint8)}, r"shape \(24, 52, 40\)"),
        ({"keys": np.full((24, 40, 52), 0.5)}, "the value 0.5"),
        ({"keys": np.full((24, 40, 52), 300)}, "the value 300"),
        ({"key_slices": [24]}, "found slice 24"),
        ({"key_slices": [3]}, "no label on slice 3"),
        ({"extents": {"kidney": (1, 2)}}, "no label 'kidney'"),
        ({"extents": {1: 5}}, "extents: found 5 for 1"),
        ({"extents": {1: (8, 20)}}, "painted on slice 6"),
        ({"extents": {1: (0, 24)}}, "found slice 24"),
        ({"model": "unheard-of"}, "unheard-of"),
        ({"device": "gpu"}, "--device gpu"),
        ({"names": "unheard-of.yaml"}, "unheard-of.yaml"),
        ({"names": {"liver": 1}}, "names: found 'liver'"),
        ({"keys": [[1]]}, "keys: found a list"),
    ],
)
def test_bad_input_is_told_in_one_line(case: Case, files: Path, arguments: dict[str, Any], said: str) -> None:
    given = {"ct": case.hu, "keys": case.keys, "axes": AXES} | arguments
    with pytest.raises(keyslice.InputError, match=said) as error:
        keyslice.propagate(**given)
    assert "\n" not in str(error.value)


def test_messages_about_slices_that_count_from_above_say_so(case: Case) -> None:
    upside = keyslice.Axes(toward=("inferior", "posterior", "left"), spacing=AXES.spacing)
    with pytest.raises(keyslice.InputError, match="no label on slice 20.*count from the other, inferior end"):
        keyslice.propagate(case.hu[::-1], case.keys[::-1], axes=upside, key_slices=[3])


def test_a_loaded_model_stays_where_it_is(case: Case, model: Propagator) -> None:
    with pytest.raises(keyslice.InputError, match="keyslice.load"):
        keyslice.propagate(case.hu, case.keys, axes=AXES, model=model, device="cpu")


def test_memory_that_runs_out_is_told_in_one_line(
    case: Case, model: Propagator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(type(model), "propagate", full)
    with pytest.raises(keyslice.InputError, match="not enough memory"):
        keyslice.propagate(case.hu, case.keys, axes=AXES, model=model)


def test_segment_takes_a_pair_by_name_or_loaded(case: Case, model: Propagator, monkeypatch: pytest.MonkeyPatch) -> None:
    eyes = referencer(HounsfieldPair(24))
    monkeypatch.setattr(Referencer, "load", lambda *_, **__: eyes)
    named = keyslice.segment(case.hu, "eyes", axes=AXES, propagation=model)
    toward: Any = ("inferior", "posterior", "left")
    upside = keyslice.Axes(toward=toward, spacing=AXES.spacing)
    turned = keyslice.segment(laid(case.hu, toward), eyes, axes=upside, propagation=model)
    assert np.array_equal(turned.labels[::-1], named.labels)
    for label in (1, 2):
        assert dice(case.truth == label, named.labels == label) > 0.9
    assert named.report["key_slices"] and named.key_slices == tuple(sorted(23 - z for z in turned.key_slices))
    alone = keyslice.segment(case.hu, eyes, axes=AXES, alone=True)
    assert alone.confidence == {} and alone.key_slices == ()
    with pytest.raises(keyslice.InputError, match="no such|unheard"):
        keyslice.segment(case.hu, eyes, axes=AXES, propagation=model, settings=AutomaticSettings(strategy="unheard"))
