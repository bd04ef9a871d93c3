"""What lies over the image is seen on dark and on bright tissue, and every sign of the ribbon is explained."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.browser.driving import Tab

pytestmark = pytest.mark.browser

SIDE = 80
EDGE, INSIDE = (slice(16, 25), slice(30, 50)), (slice(30, 50), slice(30, 50))  # of the square that is painted
GROUNDS = {"air": 0, "soft tissue": 130, "bone": 255}
COLOURS = {"bright": (120, 255, 230), "dark": (70, 20, 150), "grey": (130, 130, 130)}

PAINT = """async ([ground, color, style, side]) => {
  const { paintMasks } = await import("/page/js/mask_painter.js");
  const ctx = new OffscreenCanvas(side, side).getContext("2d");
  ctx.fillStyle = `rgb(${ground}, ${ground}, ${ground})`;
  ctx.fillRect(0, 0, side, side);
  const square = new Path2D();
  square.rect(20, 20, side - 40, side - 40);
  paintMasks(ctx, new Map([[1, square]]), new DOMMatrix(), style, new Map([[1, { color, visible: true }]]), 1, 0.35);
  return [...ctx.getImageData(0, 0, side, side).data];
}"""


def contrast(colours: np.ndarray) -> float:
    """Between the lightest and the darkest of an area (..., 3), as WCAG 2 counts it (section 1.4.3): 1 to 21."""
    part = colours / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    low, high = np.percentile(linear @ (0.2126, 0.7152, 0.0722), (2, 98))
    return float((high + 0.05) / (low + 0.05))


def test_masks_are_seen_on_any_ground(open_case: Callable[[str], Tab]) -> None:
    page = open_case("hint").page
    for ground, grey in GROUNDS.items():
        for name, colour in COLOURS.items():
            for style in ("proposal", "given"):
                painted = page.evaluate(PAINT, [grey, colour, style, SIDE])
                image = np.reshape(painted, (SIDE, SIDE, 4))[..., :3]
                assert contrast(image[EDGE]) > 2.5, (ground, name, style, "its outline")
                even = contrast(image[INSIDE])
                assert (even < 1.01) if style == "given" else (even > 1.5), (ground, name, style, "its inside", even)


def test_every_sign_of_the_ribbon_is_in_the_legend(open_case: Callable[[str], Tab]) -> None:
    tab = open_case("hint")
    page = tab.page
    tab.press("?")
    told = page.eval_on_selector_all(".legend span", "(all) => all.map((one) => one.textContent)")
    signs = page.evaluate(
        """import("/page/js/ribbon_marks.js").then(({ KINDS, LANE_SIGNS, SUGGESTED }) =>
          [...Object.values(KINDS), SUGGESTED].map((kind) => kind.text).concat(Object.values(LANE_SIGNS)))"""
    )
    for sign in signs:
        assert sign == "nothing yet" or any(text.startswith(sign) for text in told), sign
    assert {"first and last slice, as you said", "the slice that you see"} <= set(told)
    assert sum("absent" in text for text in told) == 2
    pictures = page.eval_on_selector_all(".legend canvas", "(all) => all.map((one) => one.toDataURL())")
    assert len(set(pictures)) == len(told) == len(pictures), "a picture each, all of them different"
    fits = page.evaluate(
        "(() => { const box = document.querySelector('#help-dialog'); return box.scrollHeight <= box.clientHeight; })()"
    )
    assert fits, "all of the help at 1280 x 720"
