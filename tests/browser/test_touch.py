"""Fingers on a screen: one paints, two move and zoom and never paint, buttons and the ribbon are tapped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.browser.cases import SHAPE, inside, pixels
from tests.browser.driving import Point, Tab

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browser.driving import Server

pytestmark = pytest.mark.browser

Z, LIVER = 12, 1
Places = list[tuple[float, float]]


class Fingers:
    """Fingers on the screen of a tab, as the browser gets them from the system."""

    def __init__(self, tab: Tab) -> None:
        self._session = tab.page.context.new_cdp_session(tab.page)

    def put(self, *places: tuple[float, float]) -> None:
        """Put fingers down, those before staying where they are given again."""
        self._tell("touchStart", places)

    def move(self, begin: Places, end: Places, steps: int = 6) -> None:
        """Move all fingers evenly from some places to others."""
        for step in range(1, steps + 1):
            way = zip(begin, end, strict=True)
            self._tell(
                "touchMove",
                [(a[0] + (b[0] - a[0]) * step / steps, a[1] + (b[1] - a[1]) * step / steps) for a, b in way],
            )

    def lift(self, *remaining: tuple[float, float]) -> None:
        """Lift all fingers but those that remain."""
        self._tell("touchEnd", remaining)

    def _tell(self, kind: str, places: object) -> None:
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]  # type: ignore[arg-type, var-annotated]
        self._session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


@pytest.fixture
def tab(browser: Browser, server: Server) -> Iterator[Tab]:
    """A tablet with the case `touch`."""
    context = browser.new_context(viewport={"width": 1280, "height": 720}, has_touch=True)
    context.add_init_script("localStorage.setItem('keyslice.hint', 'seen')")
    tab = Tab(context, f"{server.address}#case=touch")
    tab.wait("keyslice.state.youEdit")  # the page of the test before may still be missed
    tab.go(Z)
    yield tab
    assert tab.problems == []
    context.close()


def under(tab: Tab, place: tuple[float, float]) -> Point:
    """Row and column of the slice, in tenths of a pixel, at a place of the screen."""
    (x0, y0), (x1, y1) = tab.at((0, 0)), tab.at((10, 10))
    return round(100 * (place[1] - y0) / (y1 - y0)), round(100 * (place[0] - x0) / (x1 - x0))


def zoom(tab: Tab) -> float:
    """Pixels of the screen to one of the slice."""
    return float(tab.page.evaluate("(keyslice.sliceToScreen(0, 10).x - keyslice.sliceToScreen(0, 0).x) / 10"))


def test_one_finger_paints_and_two_move(tab: Tab) -> None:
    fingers = Fingers(tab)
    tab.radius(2)
    y, first, last = inside(LIVER, Z)
    begin, end = tab.at((y, first)), tab.at((y, last))
    fingers.put(begin)
    fingers.move([begin], [end])
    fingers.lift()
    tab.wait("keyslice.state.undo !== null && keyslice.state.pending === 0")
    (edit,) = tab.edits
    drawn = pixels(edit["runs"])
    assert (edit["action"], edit["z"]) == ("paint", Z)
    assert drawn[y, first : last + 1].all() and drawn[y].sum() == last - first + 1 + 2 * 2
    assert np.flatnonzero(drawn.any(1)).tolist() == list(range(y - 2, y + 3))
    given = tab.masks()[0]
    np.testing.assert_array_equal(given[Z] > 0, drawn)

    # Two fingers: the place between them stays between them, the plane grows as their distance does.
    before, middle = zoom(tab), tab.at((50, 56))
    place = under(tab, middle)
    apart = [(middle[0] - 40, middle[1]), (middle[0] + 40, middle[1])]
    wide = [(middle[0] - 100 + 30, middle[1] + 20), (middle[0] + 100 + 30, middle[1] + 20)]
    fingers.put(apart[0])
    fingers.put(*apart)
    fingers.move(apart, wide)
    tab.until(lambda: zoom(tab) / before == pytest.approx(2.5, rel=0.01), "two and a half times as large")
    tab.wait("document.querySelector('#zoom-value').textContent === '2.5×'")
    assert under(tab, (middle[0] + 30, middle[1] + 20)) == pytest.approx(place, abs=5)
    # One of them lifted: the other does not begin to paint.
    fingers.lift(wide[0])
    fingers.move([wide[0]], [(wide[0][0], wide[0][1] - 60)])
    fingers.lift()

    # The first finger of two has drawn already: that was no stroke.
    fingers.put(apart[0])
    fingers.move([apart[0]], [(apart[0][0] + 20, apart[0][1] + 20)])
    tab.until(lambda: not np.array_equal(tab.shown()[Z], given[Z]), "it is seen as it is drawn")
    fingers.put((apart[0][0] + 20, apart[0][1] + 20), apart[1])
    fingers.lift()
    tab.until(lambda: np.array_equal(tab.shown(), given), "it is gone")
    assert len(tab.edits) == 1 and tab.state["pending"] == 0
    np.testing.assert_array_equal(tab.masks()[0], given)


def test_tools_buttons_and_planes_by_finger(tab: Tab) -> None:
    fingers, page = Fingers(tab), tab.page
    page.tap("[data-tool=pan]")
    tab.wait("keyslice.state.tool === 'pan'")
    begin, at = tab.at((30, 40)), tab.at((50, 50))
    fingers.put(at)
    fingers.move([at], [(at[0] + 50, at[1] - 30)])
    fingers.lift()
    there = (begin[0] + 50, begin[1] - 30)
    tab.until(lambda: tab.at((30, 40)) == pytest.approx(there, abs=2), "the image goes with the finger")
    page.touchscreen.tap(*tab.at((33, 44)))
    tab.wait("keyslice.state.cursor.y === 33 && keyslice.state.cursor.x === 44")

    box = page.locator("#ribbon").bounding_box()
    assert box is not None
    page.touchscreen.tap(box["x"] + 8.5 / SHAPE[0] * box["width"], box["y"] + box["height"] / 2)
    tab.wait("keyslice.state.z === 8")
    middle = (box["x"] + 8.5 / SHAPE[0] * box["width"], box["y"] + box["height"] / 2)
    fingers.put(middle)
    fingers.move([middle], [(middle[0] + 6 / SHAPE[0] * box["width"], middle[1])])
    fingers.lift()
    tab.wait("keyslice.state.z === 14")
    box = page.locator("#coronal").bounding_box()
    assert box is not None
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.wait(f"[{SHAPE[0] // 2 - 1}, {SHAPE[0] // 2}].includes(keyslice.state.z)")
    assert tab.edits == []

    tab.go(14)
    page.tap("[data-tool=wand]")
    y, first, last = inside(LIVER, 14)
    page.touchscreen.tap(*tab.at((y, (first + last) // 2)))
    tab.wait("keyslice.state.preview !== null")
    many = tab.state["preview"]["pixels"]
    page.tap("#preview-apply")
    tab.wait("keyslice.state.preview === null && keyslice.state.pending === 0")
    tab.until(lambda: len(tab.acknowledged) == 1, "the answer to what was applied")
    assert (tab.masks()[0][14] > 0).sum() == many
