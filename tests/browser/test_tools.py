"""The tools: locked labels stay, outlines and ranges of HU become what they say, a preview counts only when applied."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.browser.cases import LIVER, SHAPE, Painted, inside, phantom, pixels
from tests.browser.driving import Tab, row

pytestmark = pytest.mark.browser

Open = Callable[[str], Tab]


def test_locked_labels_are_not_painted_over(open_case: Open) -> None:
    tab = open_case("locked")
    kept, other = tab.add_label("kept"), tab.add_label("other")
    tab.go(12)
    tab.radius(4)
    tab.press("2")
    across = tab.stroke(*row(40, 30, 70))
    tab.page.click(f"[data-key='lock-{kept}']")
    tab.saved()
    tab.press("3")
    down = tab.stroke((25, 50), (60, 50))
    expected = Painted()
    expected.do(across)
    expected.do(down, locked={kept})
    assert (down["label"], across["label"]) == (other, kept)
    both = pixels(across["runs"]) & pixels(down["runs"])
    assert both.sum() > 50 and (expected.mask[both] == kept).all()
    np.testing.assert_array_equal(tab.shown()[12], expected.mask)
    np.testing.assert_array_equal(tab.masks()[0][12], expected.mask)

    tab.press("e")
    assert set(np.unique(expected.mask)) == {0, kept, other}
    expected.do(tab.stroke((20, 50), (60, 50)), locked={kept})
    assert set(np.unique(expected.mask)) == {0, kept}
    np.testing.assert_array_equal(tab.masks()[0][12], expected.mask)
    np.testing.assert_array_equal(tab.shown()[12], expected.mask)

    tab.press("b", "2")
    sent = len(tab.edits)
    tab.drag(*row(70, 40, 60))
    tab.wait("document.querySelector('#notice').textContent.includes('kept is locked')")
    assert len(tab.edits) == sent
    tab.page.click(f"[data-key='lock-{kept}']")
    tab.saved()
    expected.do(tab.stroke(*row(70, 40, 60)))
    np.testing.assert_array_equal(tab.masks()[0][12], expected.mask)


def test_outlines_and_ranges(open_case: Open) -> None:
    tab = open_case("outlines")
    page = tab.page

    tab.go(5)
    tab.press("p")
    for corner in ((20, 30), (20, 70), (50, 70), (50, 30)):
        tab.click(corner)
    assert tab.edits == []
    tab.press("Enter")
    tab.wait("keyslice.state.undo !== null")
    drawn = tab.masks()[0][5] == 1
    assert drawn[21:50, 31:70].all()
    drawn[20:51, 30:71] = False
    assert not drawn.any()

    tab.go(6)
    tab.press("b")
    tab.radius(0)
    outline = tab.stroke((20, 30), (20, 70), (50, 70), (50, 30), (20, 30))
    line = np.zeros(SHAPE[1:], bool)
    line[20:51, 30:71] = True
    line[21:50, 31:70] = False
    np.testing.assert_array_equal(pixels(outline["runs"]), line)
    tab.press("g")
    tab.click((35, 50))
    tab.wait("keyslice.shown(6).filter(Boolean).length > 200")
    tab.saved()
    filled = tab.masks()[0][6]
    assert (filled[20:51, 30:71] == 1).all() and filled.sum() == 31 * 41

    tab.go(12)
    tab.press("t")
    hu = phantom().volume.array[12]
    y, first, last = inside(LIVER, 12)
    low, high = (int(value) for value in np.percentile(hu[y, first : last + 1], (20, 80)))
    page.fill("[data-option=low]", str(low))
    page.fill("[data-option=high]", str(high))
    tab.page.focus("#axial")
    tab.radius(5)
    drawn = pixels(tab.stroke(*row(y, first, last))["runs"])
    within = (hu >= low) & (hu <= high)
    assert not (drawn & ~within).any()
    np.testing.assert_array_equal(drawn[y, first : last + 1], within[y, first : last + 1])
    assert drawn.any(1).nonzero()[0].tolist() == list(range(y - 5, y + 6))


def test_previews_count_only_when_applied(open_case: Open) -> None:
    tab = open_case("previews")
    page = tab.page
    tab.go(12)
    y, first, last = inside(LIVER, 12)
    middle = (first + last) // 2

    def previewed() -> int:
        tab.wait("keyslice.state.preview !== null")
        assert page.is_visible("#preview-apply")
        return int(tab.state["preview"]["pixels"])

    def dropped() -> None:
        tab.press("Escape")
        tab.wait("keyslice.state.preview === null")
        assert page.is_hidden("#preview")
        assert tab.edits == [] and not tab.masks()[0].any()

    tab.press("s")
    tab.drag((y, first + 3), (y, last - 3))
    assert previewed() > last - first - 6
    dropped()

    tab.press("r")
    box = ((y - 12, first), (y + 12, last))
    tab.drag(*box)
    previewed()
    dropped()

    tab.press("w")
    tab.click((y, middle))
    few = previewed()
    page.fill("[data-option=tolerance]", "120")
    tab.wait(f"keyslice.state.preview && keyslice.state.preview.pixels > {few}")
    many = previewed()
    assert tab.edits == [] and not tab.masks()[0].any()
    tab.press("Enter")
    tab.wait("keyslice.state.undo !== null")
    given = tab.masks()[0]
    assert given[12, y, middle] == 1 and given.sum() == many
    assert tab.state["preview"] is None

    tab.go(14)
    tab.press("r")
    tab.drag(*box)
    many = previewed()
    page.click("#preview-apply")
    tab.wait("keyslice.shown(14).some(Boolean)")
    tab.saved()
    given = tab.masks()[0][14]
    assert given.sum() == many
    given[y - 12 : y + 13, first : last + 1] = 0
    assert not given.any()
