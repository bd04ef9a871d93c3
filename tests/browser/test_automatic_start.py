"""The automatic start: where a reference model fits, a button fills key slices, which the person corrects.

The model is one that sees the bright box of the CT; the server, the page and the way between them are the real ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.browser.driving import Tab
from tests.tools.annotate.serving import SHAPE, TOKEN, serving, write_ct
from volumes.labels import Label, LabelTable

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

pytestmark = pytest.mark.browser

STRUCTURE, OTHER = "mandible", "liver"  # the model that ships knows the first
Z, BOX = 5, (slice(8, 20), slice(16, 30))  # of a stroke; of the box, seen from the feet


# The answer to the request comes when all is over, as it may on a machine that has much to do.
LATE = """() => {
    const plain = window.fetch;
    window.fetch = async (...request) => {
        const answer = await plain(...request);
        if (!request[0].endsWith("/automatic")) return answer;
        const done = () => document.querySelector("#status").textContent.startsWith("Automatic start is done");
        while (!done()) await new Promise((go) => setTimeout(go, 20));
        setTimeout(() => { window.answered = true; }, 200);
        return answer;
    };
}"""


def model(name: str) -> Any:
    """Stands for the model that ships: a pair that sees the box as one structure, and the other one nowhere."""
    from reference_module.models import InputSettings
    from reference_module.referencer import Referencer
    from tests.tools.pairs import HounsfieldPair

    assert name == "head-neck"
    table = LabelTable([Label(1, STRUCTURE, (90, 160, 220)), Label(2, "larynx", (90, 200, 90))])
    return Referencer(HounsfieldPair(SHAPE[0]), table, InputSettings(None, "three"), precision="float32")


def test_a_button_fills_key_slices(context: BrowserContext, tmp_path: Path) -> None:
    table = LabelTable([Label(1, OTHER, (200, 80, 60)), Label(4, STRUCTURE, (10, 160, 220))])
    with serving(write_ct(tmp_path / "ct.nii.gz"), table=table, referencer=model) as served:
        tab = Tab(context, f"{served.address}/?token={TOKEN}")
        page = tab.page

        # A key slice of the person's own, which stays as it is.
        tab.press("1")
        tab.radius(1)
        tab.go(Z)
        tab.stroke((3, 4), (3, 9))
        painted = tab.masks()[0][Z]
        assert painted.any()

        page.click("#automatic")
        assert page.is_visible("#automatic-dialog")
        assert page.eval_on_selector_all("#automatic-dialog option", "(all) => all.map((one) => one.value)") == [
            "head-neck"
        ]
        page.evaluate(LATE)
        page.click("#automatic-dialog button.primary")
        tab.wait("keyslice.state.slices.some((one) => one.state === 'automatic')")
        tab.wait("window.answered")
        assert page.text_content("#status").startswith("Automatic start is done")
        tab.saved()
        filled = [z for z, one in enumerate(tab.state["slices"]) if one["state"] == "automatic" and one["labels"]]
        assert len(filled) > 1
        given = tab.masks()[0]
        for z in filled:
            expected = np.zeros(SHAPE[1:], np.uint8)
            expected[BOX] = 4
            np.testing.assert_array_equal(given[z], expected)
        np.testing.assert_array_equal(given[Z][painted > 0], painted[painted > 0])
        np.testing.assert_array_equal(tab.shown(), given)
        page.focus("#ribbon")
        tab.go(filled[0])
        tab.wait("document.querySelector('#ribbon').getAttribute('aria-valuetext').includes('automatic key slice')")
        assert page.text_content("#slice-state") == "automatic key slice"

        # Corrected like any other; one undo takes all of it back.
        tab.press("2", "e")
        tab.stroke((10, 18), (10, 28))
        assert (tab.masks()[0][filled[0]] != given[filled[0]]).any()
        tab.press("Control+z")
        tab.saved()
        np.testing.assert_array_equal(tab.masks()[0], given)
        tab.press("Control+z")
        tab.saved()
        given = tab.masks()[0]
        np.testing.assert_array_equal(given[Z], painted)
        assert given.astype(bool).sum() == painted.astype(bool).sum()

        # Where no model fits, there is no button.
        page.click("[data-label='4']")
        tab.press("F2")
        page.keyboard.type("gallbladder")
        tab.press("Enter")
        tab.wait("keyslice.state.labels.some((label) => label.name === 'gallbladder')")
        tab.wait("document.querySelector('#automatic').hidden")
        assert tab.problems == []
