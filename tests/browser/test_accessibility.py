"""With a keyboard and a screen reader: names, focus, the order of tabs, what is announced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.driving import Tab, row

pytestmark = pytest.mark.browser

CONTROLS = {
    "button",
    "checkbox",
    "ColorWell",
    "combobox",
    "dialog",
    "img",
    "image",
    "link",
    "listbox",
    "option",
    "radio",
    "slider",
    "spinbutton",
    "textbox",
    "toolbar",
}


def nameless(tab: Tab) -> list[Any]:
    """Controls that a screen reader could not name, as the browser sees them."""
    session = tab.page.context.new_cdp_session(tab.page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    controls = [node for node in nodes if not node["ignored"] and node["role"]["value"] in CONTROLS]
    assert len(controls) > 20
    return [node for node in controls if not node.get("name", {}).get("value", "").strip()]


def test_names_focus_and_announcements(open_case: Callable[[str], Tab]) -> None:
    tab = open_case("access")
    page = tab.page
    assert nameless(tab) == []
    for tool in ("threshold", "wand", "scribble", "eraser", "brush"):
        page.click(f"[data-tool={tool}]")
        assert nameless(tab) == [], tool
    for dialog in ("help", "export", "import"):
        page.click(f"#{dialog}")
        assert page.evaluate("document.querySelector('dialog[open]').contains(document.activeElement)")
        assert page.evaluate(
            "document.getElementById(document.querySelector('dialog[open]').getAttribute('aria-labelledby')).textContent"
        )
        unnamed = page.eval_on_selector_all(
            "dialog[open] :is(button, input, select)",
            "(all) => all.filter((one) => !one.ariaLabel && !one.labels?.[0]?.textContent.trim() "
            "&& !one.textContent.trim()).map((one) => one.outerHTML)",
        )
        assert unnamed == []
        tab.press("Escape")

    # Tab goes through everything, and one sees where it is.
    page.focus("#propagate")
    passed: list[str] = []
    for _ in range(70):
        tab.press("Tab")
        told = page.evaluate(
            """() => {
              const on = document.activeElement;
              const style = getComputedStyle(on);
              const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
              const wide = on.closest("label.button");
              return [on.dataset.tool ?? on.id ?? on.tagName, seen || Boolean(wide), on === document.body];
            }"""
        )
        if told[2]:
            break
        assert told[1], f"one does not see that {told[0]} has the focus"
        passed.append(told[0])
    tools = page.eval_on_selector_all("button[data-tool]", "(all) => all.map((one) => one.dataset.tool)")
    assert [one for one in passed if one in tools] == tools
    assert {"axial", "add-label", "opacity", "ribbon"} <= set(passed)

    # A tool by keyboard alone, and what is done is announced.
    page.focus("[data-tool=wand]")
    tab.press("Enter")
    assert tab.state["tool"] == "wand" and page.get_attribute("[data-tool=wand]", "aria-pressed") == "true"
    assert page.get_attribute("#status", "aria-live") == page.get_attribute("#notice", "aria-live") == "polite"
    tab.press("b")
    tab.go(7)
    tab.stroke(*row(40, 30, 50))
    tab.press("Control+z")
    tab.saved()
    tab.wait("document.querySelector('#status').textContent.includes('label_1')")
    page.focus("#ribbon")
    tab.press("ArrowRight")
    tab.wait("document.querySelector('#ribbon').getAttribute('aria-valuenow') === '8'")
    assert "Slice 8" in page.get_attribute("#ribbon", "aria-valuetext")
