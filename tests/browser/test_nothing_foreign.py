"""A whole session: nothing comes from another host, nothing offends the page's policy, nothing is complained of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from tests.browser.cases import LIVER, SHAPE, SPLEEN, inside
from tests.browser.driving import Tab, row

pytestmark = pytest.mark.browser


def colours(tab: Tab, selector: str, path: Path) -> int:
    """How many colours an element shows."""
    tab.page.locator(selector).screenshot(path=path)
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[..., :3]
    return len(np.unique(image.reshape(-1, 3), axis=0))


def test_a_session_with_all_planes(open_case: Callable[[str], Tab], tmp_path: Path) -> None:
    tab = open_case("views")
    page = tab.page
    y, first, last = inside(LIVER, 12)
    for z in (9, 10, 11, 12):
        tab.go(z)
        tab.stroke(*row(y, first, last))
    spleen = tab.add_label("spleen")
    tab.stroke(*row(*inside(SPLEEN, 12)))

    # The planes: the cursor follows in all of them, windows and zoom change what is seen and no label.
    box = page.locator("#coronal").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert tab.state["z"] in (SHAPE[0] // 2 - 1, SHAPE[0] // 2)
    box = page.locator("#ribbon").bounding_box()
    page.mouse.click(box["x"] + 20.5 / SHAPE[0] * box["width"], box["y"] + box["height"] / 2)
    assert tab.state["z"] == 20
    page.mouse.move(*tab.at((50, 50)))
    page.mouse.wheel(0, 120)
    tab.wait("keyslice.state.z === 19")
    before = colours(tab, "#axial", tmp_path / "axial.png")
    assert before > 50
    for window in ("lung", "bone", "abdomen"):
        page.click(f"[data-window={window}]")
    page.mouse.move(*tab.at((50, 50)))
    page.keyboard.down("Control")
    page.mouse.wheel(0, -240)
    page.keyboard.up("Control")
    tab.wait("document.querySelector('#zoom-value').textContent.endsWith('×')")
    tab.press("v", "c", "i")
    for dialog in ("help", "export", "import"):
        page.click(f"#{dialog}")
        page.wait_for_selector(f"#{dialog}-dialog[open]")
        tab.press("Escape")

    # 3D: the renderer is loaded when it is asked for, from here.
    assert not any("niivue" in address for address in tab.addresses)
    page.click("#show-3d")
    tab.wait("document.querySelector('#three-d-state').textContent === ''")
    assert any("niivue" in address for address in tab.addresses)
    assert colours(tab, "#three-d-canvas", tmp_path / "three.png") > 20
    page.click("#show-3d")
    assert page.is_hidden("#three-d")

    sent = len(tab.edits)
    tab.page.click(f"[data-key='visible-{spleen}']")
    tab.saved()
    assert len(tab.edits) == sent + 1
    assert all(address.startswith((f"{tab.base}/", f"blob:{tab.base}/", "data:")) for address in tab.addresses)


def test_what_is_foreign_would_be_seen(open_case: Callable[[str], Tab]) -> None:
    """The tests above can fail: the policy forbids a foreign script, and that is noticed."""
    tab = open_case("views")
    assert tab.problems == []
    with tab.page.expect_console_message():
        tab.page.evaluate(
            "document.head.append(Object.assign(document.createElement('script'), {src: 'http://127.0.0.1:9/x.js'}))"
        )
    assert any("Content Security Policy" in problem for problem in tab.problems)
    tab.problems.clear()
