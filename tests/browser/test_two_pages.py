"""Two pages on one case: one edits, the other watches, and may take over."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.browser.driving import Tab, row

if TYPE_CHECKING:
    from playwright.sync_api import Route

pytestmark = pytest.mark.browser

CONTROLS = (
    "#undo",
    "#redo",
    "#propagate",
    "#accept",
    "#accept-all",
    "#reject",
    "#import",
    "#add-label",
    "#rename",
    "#absent",
)
Z = 12


def test_one_edits_and_the_other_watches(open_case: Callable[[str], Tab]) -> None:
    first = open_case("pages")
    second = open_case("pages")
    assert first.state["youEdit"] and not second.state["youEdit"]
    assert second.page.is_visible("#take-over") and first.page.is_hidden("#banner")
    for control in CONTROLS:
        assert second.page.is_disabled(control), control
    assert second.page.is_enabled("#export")

    # The second sees what the first does, and does nothing itself.
    for tab in (first, second):
        tab.go(Z)
    first.stroke(*row(40, 30, 60))
    second.wait(f"keyslice.shown({Z}).some(Boolean)")
    np.testing.assert_array_equal(second.shown(), first.shown())
    name = first.add_label("of the first")
    second.wait(f"keyslice.state.labels.some((label) => label.value === {name})")
    second.drag(*row(60, 30, 60))
    second.press("Control+z", "f", " ")
    second.wait("document.querySelector('#notice').textContent.includes('take over')")
    assert second.edits == [] and first.state["running"] is None
    assert "of the first" in first.state["undo"]

    # It takes over; the first is told, and watches from then on.
    second.page.click("#take-over")
    second.wait("keyslice.state.youEdit")
    first.wait("!keyslice.state.youEdit && !document.querySelector('#banner').hidden")
    assert "Another page edits" in first.page.text_content("#banner-text")
    assert second.page.is_hidden("#banner")
    second.stroke(*row(60, 30, 60))
    first.wait(f"keyslice.shown({Z}).lastIndexOf(1) > 58 * 112")
    np.testing.assert_array_equal(first.shown(), second.shown())
    np.testing.assert_array_equal(first.shown(), first.masks()[0])
    sent = len(first.edits)
    first.drag(*row(80, 30, 60))
    assert first.page.is_disabled("#undo") and len(first.edits) == sent

    # The history is the case's: the second undoes what the first did.
    for _ in range(3):
        second.page.click("#undo")
        second.saved()
    first.wait("keyslice.state.undo === null")
    assert not first.shown().any() and len(first.state["labels"]) == 1

    # When the second goes away, the first edits again without a word.
    second.page.close()
    first.wait("keyslice.state.youEdit")
    first.stroke(*row(40, 30, 60))
    assert first.masks()[0].any()


def test_a_stroke_that_comes_too_late_is_kept(open_case: Callable[[str], Tab]) -> None:
    """Another page takes over while a stroke is on its way: it is not lost, and an export does not wait for it."""
    first, second = open_case("pages"), open_case("pages")
    if not first.state["youEdit"]:
        first.page.click("#take-over")
        first.wait("keyslice.state.youEdit")
    client = second.page.evaluate("sessionStorage.getItem('keyslice.client')")

    def take_over_first(route: Route) -> None:
        taken = first.page.context.request.post(first._url("/editor"), data={"client": client, "take": True})
        assert taken.ok
        route.continue_()

    first.go(Z + 3)
    before = first.masks()[0]
    first.page.route("**/edit", take_over_first)
    first.drag(*row(40, 30, 60))
    first.wait("document.querySelector('#banner-text').textContent.includes('1 change kept here: take over')")
    first.page.unroute("**/edit")
    np.testing.assert_array_equal(first.masks()[0], before)
    seen = first.shown()
    assert (seen[Z + 3] != before[Z + 3]).any() and first.state["pending"] == 1

    first.page.click("#export")
    first.page.click("#export-dialog button.primary")
    first.page.wait_for_selector("#export-result a")
    assert "Without 1 change of this page" in (first.page.text_content("#export-result") or "")
    first.page.click("#export-dialog [value=close]")

    second.go(Z + 4)
    second.stroke(*row(40, 30, 60))
    first.page.click("#take-over")
    first.saved()
    given = first.masks()[0]
    np.testing.assert_array_equal(given[Z + 3], seen[Z + 3])
    assert given[Z + 4].any(), "what the other page did stays"
    assert len({edit["id"] for edit in first.edits}) == 1 and second.problems == []
    first.problems[:] = [one for one in first.problems if "status of 409" not in one]
