"""Keys do what the help says, and the hint for beginners shows itself once."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.browser.cases import LIVER, SHAPE, inside
from tests.browser.driving import Tab, row

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browser.driving import Server

pytestmark = pytest.mark.browser

TOOLS = {
    "b": "brush",
    "e": "eraser",
    "t": "threshold",
    "p": "polygon",
    "g": "fill",
    "w": "wand",
    "s": "scribble",
    "r": "box",
    "h": "pan",
}


def test_keys(open_case: Callable[[str], Tab]) -> None:
    tab = open_case("keys")
    page = tab.page
    last = SHAPE[0] - 1

    second, third = tab.add_label("second"), tab.add_label("third")
    for digit, value in (("1", 1), ("3", third), ("2", second), ("9", second)):  # there is no ninth
        tab.press(digit)
        assert tab.state["label"] == value

    tab.go(5)
    moves = [("ArrowUp", 6), ("ArrowRight", 7), ("ArrowDown", 6), ("ArrowLeft", 5), ("Shift+ArrowUp", 15)]
    moves += [("Shift+ArrowRight", last), ("Shift+ArrowDown", last - 10), ("Home", 0), ("ArrowLeft", 0), ("End", last)]
    for keys, z in moves:
        tab.press(keys)
        assert tab.state["z"] == z, keys

    size = page.text_content("#radius-value")
    tab.press("]")
    larger = page.text_content("#radius-value")
    assert int(larger.split()[0]) > int(size.split()[0])
    tab.press("[")
    assert page.text_content("#radius-value") == size

    for key, tool in TOOLS.items():
        tab.press(key)
        assert tab.state["tool"] == tool
        assert page.get_attribute(f"[data-tool={tool}]", "aria-pressed") == "true"
    tab.press("b")
    for tool in ("eraser", "brush"):
        tab.press("x")
        assert tab.state["tool"] == tool

    tab.press("?")
    assert page.is_visible("#help-dialog")
    listed = page.eval_on_selector_all("#shortcut-list .keys", "(found) => found.map((one) => one.textContent)")
    shown = {part for keys in listed for part in keys.replace(" (hold)", "").split(", ")}
    wanted = {"1 … 9", "Shift + arrow", "[ ]", "F", "N", "Space", "X", "?", "Esc", "Ctrl + Z", "Ctrl + Y", "Enter"}
    assert {key.split(" (")[0] for key in shown} >= wanted | {key.upper() for key in TOOLS}
    tab.press("3")
    assert tab.state["label"] == second  # the dialog has the keys
    tab.press("Escape")
    assert page.is_hidden("#help-dialog")

    page.click("#export")  # by mouse: Space must not open it again afterwards
    tab.press("Escape")
    tab.wait("document.activeElement.id === 'axial'")

    # Propagation: stopped, run to its end; the slice that it names; what is proposed accepted, rejected.
    tab.press("1")
    for z in (8, 16):
        tab.go(z)
        tab.stroke(*row(*inside(LIVER, z)))
    proposed = "keyslice.state.slices.filter((one) => one.state === 'proposed').length"
    tab.press("f")
    tab.wait(f"{proposed} > 0 && keyslice.state.running === 'propagation'")
    tab.press("Escape")
    tab.wait("keyslice.state.running === null")
    some = page.evaluate(proposed)
    told = page.text_content("#status")
    assert re.fullmatch(rf"Propagation was stopped at \d+ %\. {some} slices? ha(s|ve) proposals\. F goes on\.", told), (
        told
    )
    tab.propagate()
    assert page.text_content("#status").startswith("Propagation is done. ")
    assert page.evaluate(proposed) > some
    tab.wait("keyslice.state.suggestion !== null")
    tab.press("n")
    assert tab.state["z"] == tab.state["suggestion"]["z"]
    given = [z for z, one in enumerate(tab.state["slices"]) if one["state"] == "proposed" and 8 < z < 16][:3]
    for key, z, state in zip((" ", "Backspace", "a"), given, ("accepted", "rejected", "key"), strict=True):
        tab.go(z)
        tab.wait("!document.querySelector('#reject').disabled")
        tab.press(key)
        tab.saved()
        assert tab.state["slices"][z]["state"] == state
    assert tab.state["slices"][given[2]]["absent"] == [1]
    for _ in given:
        tab.press("Control+z")
        tab.saved()
    assert {tab.state["slices"][z]["state"] for z in given} == {"proposed"}


def test_the_hint_is_shown_until_it_is_closed(browser: Browser, server: Server) -> None:
    context = browser.new_context()  # of a person who is here for the first time
    tab = Tab(context, f"{server.address}#case=hint")
    page = tab.page
    assert page.is_visible("#hint") and page.locator("#hint p").count() == 3
    page.set_viewport_size({"width": 1280, "height": 720})
    heights = page.eval_on_selector_all("#hint p", "(all) => all.map((one) => one.getBoundingClientRect().height)")
    assert max(heights) < 1.7 * float(page.evaluate("parseFloat(getComputedStyle(hint).fontSize)")), "a line each"
    page.click("#hint-close")
    assert page.is_hidden("#hint")
    page.reload()
    tab.ready()
    assert page.is_hidden("#hint")
    assert tab.problems == []
    context.close()
