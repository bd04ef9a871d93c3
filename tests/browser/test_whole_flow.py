"""From an empty case to exported files: paint, propagate, correct, undo, redo, reload, export, on two grids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from tests.browser.cases import GRIDS, LIVER, SHAPE, SPLEEN, Mask, Painted, inside, pixels
from tests.browser.driving import Tab, row
from volumes.formats import read_label_map, read_volume

if TYPE_CHECKING:
    from tests.browser.driving import Server

pytestmark = pytest.mark.browser

KEYS = (10, 19)
RADIUS = 3


def paint_keys(tab: Tab, values: dict[int, int]) -> dict[int, Painted]:
    """Two labels on two slices by mouse; returns what the slices are to hold by the requests that were sent."""
    painted: dict[int, Painted] = {}
    for z in KEYS:
        tab.go(z)
        for organ, value in values.items():
            digit = 1 + [label["value"] for label in tab.state["labels"]].index(value)
            tab.press(str(digit))
            y, first, last = inside(organ, z)
            edit = tab.stroke(*row(y, first + RADIUS, last - RADIUS))
            assert (edit["action"], edit["z"], edit["label"]) == ("paint", z, value)
            drawn = pixels(edit["runs"])
            # The disc of the brush along the row that the mouse took: as long, as high, and round at its ends.
            assert drawn[y, first : last + 1].all() and drawn[y].sum() == last - first + 1
            rows = np.flatnonzero(drawn.any(1))
            assert (rows[0], rows[-1]) == (y - RADIUS, y + RADIUS)
            assert not drawn[y - RADIUS, first] and drawn[y - RADIUS, first + RADIUS]
            painted.setdefault(z, Painted()).do(edit)
    return painted


def volume_of(painted: dict[int, Painted]) -> Mask:
    """(D, H, W), nothing but these slices."""
    volume = np.zeros(SHAPE, np.uint8)
    for z, one in painted.items():
        volume[z] = one.mask
    return volume


def first_proposal(tab: Tab, value: int) -> int:
    """A slice without given labels on which more than a few pixels of the label are proposed."""
    proposals = tab.masks()[1]
    for z in (14, 13, 15, 12, 16, 11, 17, 9, 18, 20):
        if (proposals[z] == value).sum() > 40:
            return z
    raise AssertionError(f"hardly anything is proposed: {[(one == value).sum() for one in proposals]}")


def export(tab: Tab, folder: Path, kind: str, *, given_only: bool = False) -> Path:
    """Export by the dialog, and take the file that its link gives."""
    page = tab.page
    page.click("#export")
    page.check(f"#export-dialog [value={kind}]")
    page.set_checked("#export-dialog [name=given_only]", given_only)
    page.click("#export-dialog button.primary")
    page.wait_for_selector("#export-result a")
    with page.expect_download() as download:
        page.click("#export-result a")
    path = folder / f"{given_only}-{download.value.suggested_filename}"
    download.value.save_as(path)
    page.click("#export-dialog [value=close]")
    return path


def check_grid(path: Path, ct: Path) -> NDArray[np.uint8]:
    """The file is on the CT's very grid; returns its voxels as they are in it."""
    image, like = sitk.ReadImage(str(path)), sitk.ReadImage(str(ct))
    assert image.GetSize() == like.GetSize()
    np.testing.assert_allclose(image.GetDirection(), like.GetDirection(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(image.GetSpacing(), like.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(image.GetOrigin(), like.GetOrigin(), rtol=0, atol=1e-4)
    return sitk.GetArrayFromImage(image)


@pytest.mark.parametrize("grid", GRIDS)
def test_from_the_first_stroke_to_the_file(
    grid: str, server: Server, cts: dict[str, Path], open_case: Callable[[str], Tab], tmp_path: Path
) -> None:
    tab = open_case(grid)
    page = tab.page
    assert page.url == f"{server.base}/#case={grid}"  # no token
    assert page.title().startswith(grid) and tab.state["shape"] == list(SHAPE)

    # Paint.
    values = {LIVER: tab.add_label("liver"), SPLEEN: tab.add_label("spleen")}
    tab.radius(RADIUS)
    painted = paint_keys(tab, values)
    given, proposals = tab.masks()
    np.testing.assert_array_equal(given, volume_of(painted))
    np.testing.assert_array_equal(tab.shown(), given)
    assert not proposals.any()
    assert [one["z"] for one in tab.state["slices"] if one["state"] == "key"] == list(KEYS)

    # Propagate: proposals come one after the other, before the end.
    page.click("#propagate")
    tab.wait("keyslice.state.slices.some((one) => one.state === 'proposed')")
    tab.wait("keyslice.state.running === null")
    told = tab.state["slices"]
    assert sum(one["state"] == "proposed" for one in told) > 5
    assert all(0 <= one["confidence"] <= 1 for one in told if one["state"] == "proposed")
    wrong_at = first_proposal(tab, values[LIVER])
    tab.go(wrong_at)
    tab.wait("document.querySelector('#slice-state').textContent.startsWith('proposed')")
    tab.wait("document.querySelector('#ribbon').getAttribute('aria-valuetext').includes('Proposed: liver')")
    given, proposals = tab.masks()
    seen = tab.shown()
    np.testing.assert_array_equal(seen, np.where(given > 0, given, proposals))
    for z in KEYS:
        np.testing.assert_array_equal(seen[z], painted[z].mask)  # a key slice shows what was painted, no more

    # Correct a proposal.
    before = proposals[wrong_at]
    y, x = np.argwhere(before == values[LIVER]).mean(0).astype(int)
    tab.press("e")
    edit = tab.stroke((y, x - 4), (y, x + 4))
    assert edit["action"] == "erase" and edit["z"] == wrong_at
    corrected = painted[wrong_at] = Painted()
    corrected.do(edit, before)
    assert corrected.mask.any() and not np.array_equal(corrected.mask, before)
    np.testing.assert_array_equal(tab.masks()[0][wrong_at], corrected.mask)
    assert tab.state["slices"][wrong_at]["state"] == "key"
    tab.propagate()
    np.testing.assert_array_equal(tab.masks()[0][wrong_at], corrected.mask)

    # Undo to the start, redo to the end.
    everything = tab.server_state()
    given = tab.masks()[0]
    steps = 2 + 2 * len(KEYS) + 1  # labels, strokes, the correction
    for step in range(steps):
        page.click("#undo") if step % 2 else tab.press("Control+z")
        tab.saved()
    assert page.is_disabled("#undo")
    assert not tab.masks()[0].any() and tab.server_state()["slices"] == {}
    assert [label["name"] for label in tab.state["labels"]] == ["label_1"]
    assert not any(one["labels"] for one in tab.state["slices"])
    for step in range(steps):
        (lambda: page.click("#redo"), lambda: tab.press("Control+y"), lambda: tab.press("Control+Shift+z"))[step % 3]()
        tab.saved()
    assert page.is_disabled("#redo")
    np.testing.assert_array_equal(tab.masks()[0], given)
    after = tab.server_state()
    for kept in ("slices", "extents", "rejected", "undo", "redo"):
        assert after[kept] == everything[kept], kept
    strip = ("value", "name", "color", "visible", "locked", "key_slices")
    assert [[label[name] for name in strip] for label in after["labels"]] == [
        [label[name] for name in strip] for label in everything["labels"]
    ]

    # Reload.
    seen = tab.shown()
    before_reload = tab.state
    page.reload()
    tab.ready()
    tab.wait("keyslice.state.youEdit")
    np.testing.assert_array_equal(tab.shown(), seen)
    for kept in ("z", "labels", "slices", "suggestion", "undo", "redo"):
        assert tab.state[kept] == before_reload[kept], kept

    # Export.
    ct = cts[grid]
    nifti = check_grid(export(tab, tmp_path, "nifti"), ct)
    np.testing.assert_array_equal(nifti, GRIDS[grid].in_file(seen))
    strokes = check_grid(export(tab, tmp_path, "nifti", given_only=True), ct)
    assert strokes.tobytes() == GRIDS[grid].in_file(volume_of(painted)).tobytes()
    slicer = export(tab, tmp_path, "seg_nrrd")
    assert slicer.name.endswith(".seg.nrrd")
    np.testing.assert_array_equal(check_grid(slicer, ct), GRIDS[grid].in_file(seen))
    read = read_label_map(slicer, like=read_volume(ct))
    for z in KEYS:
        assert read.array[z].tobytes() == painted[z].mask.tobytes()
    colours = {label["value"]: (label["name"], tuple(label["color"])) for label in tab.state["labels"]}
    for value in values.values():
        assert (read.table[value].name, read.table[value].color) == colours[value]
