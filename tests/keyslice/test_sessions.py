"""`keyslice.open`: paint, propagate, correct, stop and go on, in the order of the array that came in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import SimpleITK as sitk

import keyslice
from tests.keyslice.conftest import AXES, NAMES, Case
from tests.keyslice.test_axes import laid

if TYPE_CHECKING:
    from propagation_module.propagator import Propagator

TOWARD: Any = ("left", "inferior", "anterior")
TURNED = keyslice.Axes(toward=TOWARD, spacing=(2.0, 3.0, 2.0))


def carried_out(session: keyslice.Session[Any]) -> list[int]:
    return [update.z for update in session.propagate()]


def test_a_session_says_what_propagate_says(case: Case, files: Path, model: Propagator) -> None:
    session = keyslice.open("ct.nii.gz", model=model, names=NAMES)
    assert np.array_equal(session.ct, case.hu) and session.spacing == (3.0, 2.0, 2.0)
    for z in (12, 6):
        session.annotate(z, case.keys[z])
    carried_out(session)
    plain = keyslice.propagate("ct.nii.gz", "keys.nii.gz", model=model)
    assert np.array_equal(session.labels, sitk.GetArrayFromImage(plain.labels))
    session.save("mine.nii.gz")
    plain.save("plain.nii.gz")
    assert Path("mine.nii.gz").read_bytes() == Path("plain.nii.gz").read_bytes()
    with pytest.raises(keyslice.InputError, match="existing file"):
        session.save("mine.nii.gz")


def test_slices_and_masks_are_those_of_the_array(case: Case, model: Propagator) -> None:
    plain, turned = keyslice.open(case.hu, axes=AXES, model=model), None
    turned = keyslice.open(laid(case.hu, TOWARD), axes=TURNED, model=model, names=NAMES)
    own = laid(case.keys, TOWARD)
    assert np.array_equal(turned.ct, laid(case.hu, TOWARD)) and turned.spacing == (2.0, 3.0, 2.0)
    plain.annotate(6, case.keys[6])
    plain.annotate(12, case.keys[12])
    plain.set_extent(2, (5, 18))
    plain.mark_absent(2, [2])
    turned.annotate(23 - 6, own[:, 23 - 6, :])
    turned.annotate(23 - 12, own[:, 23 - 12, :].tolist())
    turned.set_extent("spleen", (23 - 18, 23 - 5))
    turned.mark_absent(23 - 2, "spleen")
    assert turned.key_slices == (11, 17, 21)
    assert carried_out(turned) == [23 - z for z in carried_out(plain)]
    assert np.array_equal(turned.labels, laid(plain.labels, TOWARD))
    np.testing.assert_allclose(turned.confidence[1], plain.confidence[1][::-1], atol=1e-5)
    first, second = plain.suggest(), turned.suggest()
    assert first is not None and second is not None
    assert (second.z, second.labels) == (23 - first.z, first.labels)
    assert "liver" in second.reason or "spleen" in second.reason
    assert np.array_equal(turned.result().labels, laid(plain.result().labels, TOWARD))


def test_it_stops_where_the_person_stops_and_goes_on(case: Case, model: Propagator) -> None:
    session = keyslice.open(case.hu, axes=AXES, model=model)
    session.annotate_all(case.keys, key_slices=[12])
    for update in session.propagate():
        if update.done >= 5:
            break
    half = session.result()
    carried_out(session)
    whole = keyslice.propagate(case.hu, case.keys, axes=AXES, key_slices=[12], model=model)
    assert np.array_equal(session.labels, whole.labels)
    assert not np.array_equal(half.labels, whole.labels), "what was given out stays as it was"


def test_a_correction_counts_and_can_be_taken_back(case: Case, model: Propagator) -> None:
    session = keyslice.open(case.hu, axes=AXES, model=model)
    session.annotate_all(case.keys)
    carried_out(session)
    before = session.labels.copy()
    session.annotate(9, np.zeros((40, 52), np.uint8), labels=[2])
    assert not (session.labels[9] == 2).any(), "seen at once"
    carried_out(session)
    assert not np.array_equal(session.labels, before)
    session.forget(9)
    carried_out(session)
    assert np.array_equal(session.labels, before)


def test_what_a_session_shows_cannot_be_written_to(case: Case, model: Propagator) -> None:
    session = keyslice.open(case.hu, axes=AXES, model=model)
    for shown in (session.ct, session.labels):
        with pytest.raises(ValueError, match="read-only"):
            shown[0] = 1
    mine = case.hu.copy()
    other = keyslice.open(mine, axes=AXES, model=model)
    mine[:] = 0
    assert np.array_equal(other.ct, case.hu), "a session has a copy"


def test_bad_input_is_told_in_one_line_and_changes_nothing(case: Case, model: Propagator) -> None:
    session = keyslice.open(laid(case.hu, TOWARD), axes=TURNED, model=model, names=NAMES)
    plane = laid(case.keys, TOWARD)[:, 17, :]
    with pytest.raises(keyslice.InputError, match="no label on any key slice"):
        carried_out(session)
    for say, said in (
        (lambda: session.annotate(24, plane), "slice 24"),
        (lambda: session.annotate(-1, plane), "slice -1"),
        (lambda: session.annotate(17, plane.T), r"shape \(40, 52\) on slice 17; expected \(52, 40\)"),
        (lambda: session.annotate(17, plane * 0.5), "mask of float"),
        (lambda: session.annotate(17, plane, labels=["kidney"]), "no label 'kidney'"),
        (lambda: session.set_extent("liver", (3, 24)), "slice 24"),
        (lambda: session.mark_absent(3, [256]), "label 256"),
        (lambda: session.annotate_all("keys.nii.gz"), "found a file or image"),
    ):
        with pytest.raises(keyslice.InputError, match=said) as error:
            say()
        assert "\n" not in str(error.value)
    assert session.key_slices == () and not session.labels.any()


def test_names_come_with_the_key_slices(files: Path, model: Propagator) -> None:
    session = keyslice.open("ct.nii.gz", model=model)
    session.annotate_all("keys.nii.gz")
    session.set_extent("liver", (0, 23))
    assert session.result().names.names() == ("liver", "spleen")
