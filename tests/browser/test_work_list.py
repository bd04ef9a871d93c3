"""A folder of cases: which are done, the next one by a key, and no stroke that goes to the wrong case or gets lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.browser.cases import pixels
from tests.browser.driving import Server, Tab
from tests.tools.annotate.serving import SHAPE, write_ct
from tools.annotate.protocol import decode_mask

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Route

pytestmark = pytest.mark.browser

CASES = ("first", "second", "third")
Z = 5


class Gate:
    """Requests of a page to some address, held until the test lets them go.

    Attributes:
        held: those that wait.
    """

    def __init__(self, tab: Tab, address: str) -> None:
        self.held: list[Route] = []
        self._closed = True
        tab.page.route(address, self._take)

    def open(self) -> None:
        """Let all go, and those that come."""
        self._closed = False
        for route in self.held:
            route.continue_()

    def _take(self, route: Route) -> None:
        if self._closed:
            self.held.append(route)
        else:
            route.continue_()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Server]:
    """The command on a folder of three small CTs."""
    for seed, name in enumerate(CASES):
        write_ct(tmp_path / "cts" / f"{name}.nii.gz", seed=seed)
    with Server(tmp_path / "cts", tmp_path / "sessions", tmp_path / "stderr.txt") as server:
        yield server
    assert "Traceback" not in server.told, server.told


def pixels_of(edit: dict[str, Any]) -> np.ndarray:
    """(H, W) the pixels that an edit names."""
    return pixels(edit["runs"], SHAPE[1:])


def given(tab: Tab, case: str) -> np.ndarray:
    """(H, W) what the server has on slice `Z` of a case."""
    content = tab.page.context.request.get(f"{tab.base}/api/cases/{case}/pixels?first={Z}&count=1").body()
    size = int.from_bytes(content[:4], "little")
    return decode_mask(content[4 : 4 + size], SHAPE[1:])


def opened(tab: Tab, case: str) -> None:
    """Wait until the page has a case and may edit it."""
    tab.wait(f"keyslice.state.case === '{case}' && keyslice.state.youEdit && keyslice.state.loaded === {SHAPE[0]}")
    assert tab.page.text_content("#case-name") == case and tab.page.title().startswith(case)
    assert tab.page.url.endswith(f"#case={case}")


def states(tab: Tab) -> dict[str, str]:
    """Cases of the dialog and what it says of them."""
    rows = tab.page.locator("#case-list .row")
    texts = [rows.nth(at).locator(":is(.open, .state)").all_text_contents() for at in range(rows.count())]
    return {name: state.split()[-1] for name, state in texts}


def test_through_the_list(context: BrowserContext, folder: Server) -> None:
    tab = Tab(context, folder.address)
    page = tab.page
    opened(tab, "first")
    assert page.text_content("#cases") == "Cases 0/3"
    tab.go(Z)
    tab.radius(1)
    first = pixels_of(tab.stroke((10, 12), (10, 20)))

    # By the keyboard alone: the list, a case of it, back.
    tab.press("l")
    tab.wait("document.querySelector('#cases-dialog').open")
    assert states(tab) == {"first": "begun", "second": "new", "third": "new"}
    assert page.evaluate("document.activeElement.textContent") == "first"
    assert page.text_content("#case-count") == "0 of 3 done, 1 begun, 2 new"
    tab.press("ArrowDown", "ArrowDown", "Enter")
    opened(tab, "third")
    assert not tab.shown().any()
    tab.press("l")
    tab.wait("document.activeElement.textContent === 'third'")
    tab.press("ArrowUp", "d")
    tab.wait("document.querySelector('#case-count').textContent.startsWith('1 of 3 done')")
    assert states(tab)["second"] == "done"
    page.check("#hide-done")
    assert list(states(tab)) == ["first", "third"]
    page.uncheck("#hide-done")
    tab.press("Escape")
    tab.wait("!document.querySelector('#cases-dialog').open")

    # The next that is not done, from the last to the first; what was painted is there. A key that comes right after
    # Escape may still find the focus in the dialog: it goes on by one case, not by two.
    page.eval_on_selector(
        "#hide-done",
        "(at) => at.dispatchEvent(new KeyboardEvent('keydown', {key: 'N', shiftKey: true, bubbles: true}))",
    )
    opened(tab, "first")
    tab.wait("keyslice.shown(5).some(Boolean)")
    np.testing.assert_array_equal(tab.shown()[Z] > 0, first)
    page.click("#done-next")
    opened(tab, "third")
    assert page.text_content("#cases") == "Cases 2/3"
    tab.press("Shift+N")
    tab.wait("document.querySelector('#notice').textContent === 'All other cases are done.'")
    tab.press("Shift+D")
    tab.wait("document.querySelector('#notice').textContent === 'All cases are done.'")
    assert page.text_content("#case-state") == "done" and tab.state["case"] == "third"

    # It stays so, and one can be taken back.
    page.reload()
    tab.ready()
    assert page.text_content("#case-state") == "done"
    page.click("#cases")
    tab.wait("document.querySelector('#cases-dialog').open")
    assert set(states(tab).values()) == {"done"}
    page.click("#case-list .current button:text('Reopen')")
    tab.wait("document.querySelector('#case-count').textContent.startsWith('2 of 3 done')")
    assert states(tab)["third"] == "new"
    assert tab.problems == []


def test_strokes_in_flight_while_the_case_is_switched(context: BrowserContext, folder: Server) -> None:
    tab = Tab(context, folder.address)
    page = tab.page
    opened(tab, "first")
    tab.go(Z)
    tab.radius(1)
    edits, streams = Gate(tab, "**/edit"), Gate(tab, "**/cases/second/events?*")

    # One stroke is on its way, one is being drawn, when the next case is asked for.
    tab.drag((10, 12), (10, 20))
    tab.until(lambda: len(edits.held) == 1, "the first stroke on its way")
    page.mouse.move(*tab.at((14, 12)))
    page.mouse.down()
    page.mouse.move(*tab.at((14, 20)), steps=4)
    tab.press("Shift+N")
    tab.wait("document.querySelector('#status').textContent.startsWith('Waiting until all changes are saved')")
    page.mouse.up()
    tab.drag((18, 12), (18, 20))
    assert tab.state["case"] == "first" and tab.state["pending"] == 3
    edits.open()

    # All three are the first case's. What is done before the second is there belongs to none.
    tab.until(lambda: len(streams.held) == 1, "the second case is asked for")
    assert len(tab.edits) == 3
    expected = np.zeros(SHAPE[1:], bool)
    for edit in tab.edits:
        expected |= pixels_of(edit)
    assert all(expected[y, 12:21].all() for y in (10, 14, 18))
    np.testing.assert_array_equal(given(tab, "first") > 0, expected)
    tab.drag((24, 12), (24, 20))
    tab.press("Control+z")
    tab.wait("document.querySelector('#notice').textContent === 'The case is still being opened.'")
    assert page.is_hidden("#axial") and page.text_content("#case-name") == "second"
    streams.open()
    opened(tab, "second")
    assert len(tab.edits) == 3 and not given(tab, "second").any() and not tab.shown().any()

    # From now on strokes are the second's, and an undo is.
    tab.go(Z)
    second = pixels_of(tab.stroke((6, 12), (6, 20)))
    np.testing.assert_array_equal(given(tab, "second") > 0, second)
    np.testing.assert_array_equal(given(tab, "first") > 0, expected)
    tab.press("Control+z")
    tab.saved()
    assert not given(tab, "second").any()
    np.testing.assert_array_equal(given(tab, "first") > 0, expected)
    assert tab.problems == []
