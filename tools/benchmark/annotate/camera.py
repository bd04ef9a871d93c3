"""A page of the annotation tool in a real browser, what a person does in it, and pictures of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tools.annotate.protocol import runs_of
from tools.benchmark.annotate.browser import until

if TYPE_CHECKING:
    from playwright.sync_api import Page

QUALITY = 88  # of JPEG: text stays sharp, and a picture is some 150 kB


class Photographer:
    """A page of the tool, and what a person does in it.

    Args:
        truth: (D, H, W) the structures that are painted, numbered as in `LABELS`.
        out: the folder of the pictures.
    """

    def __init__(self, page: Page, truth: NDArray[np.uint8], out: Path) -> None:
        self.truth = truth
        self._page, self._out = page, out

    def take(self, name: str) -> None:
        """A picture of the page as it is."""
        self._page.wait_for_timeout(600)  # drawn, and the last animation over
        self._page.screenshot(path=self._out / f"{name}.jpg", type="jpeg", quality=QUALITY)

    def key(self, *names: str) -> None:
        """Press keys."""
        for name in names:
            self._page.keyboard.press(name)

    def click(self, selector: str) -> None:
        """Press a button."""
        self._page.click(selector)

    def go_to(self, z: int) -> None:
        """Look at a slice."""
        self._page.evaluate(f"keyslice.goTo({z})")

    def hover(self, y: float, x: float) -> None:
        """Move the pointer to a pixel of the slice."""
        at: dict[str, float] = self._page.evaluate(f"keyslice.sliceToScreen({y}, {x})")
        self._page.mouse.move(at["x"], at["y"], steps=6)

    def leave(self) -> None:
        """Move the pointer away, so that no brush is in the picture."""
        self._page.mouse.move(640, 20)

    def press(self, y: float, x: float) -> None:
        """Press the mouse's button there."""
        self.hover(y, x)
        self._page.mouse.down()

    def release(self) -> None:
        """Let go of the button; everything is on the disk then."""
        self._page.mouse.up()
        until(self._page, "keyslice.state.pending === 0")

    def wait(self, expression: str) -> None:
        """Until something is true of the page's state."""
        until(self._page, f"(({{state}}) => {expression})(keyslice)")

    def paint(self, z: int, *labels: int) -> None:
        """Paint the labels' contours on a slice; all there are if none is named."""
        for label in labels or np.unique(self.truth[z])[1:].tolist():
            pixels = self.truth[z] == label
            if pixels.any():
                self._send({"action": "paint", "z": z, "label": label, "runs": runs_of(pixels)})

    def follow(self, z: int, label: int) -> None:
        """Draw down a structure with the button held, most of the way."""
        rows, columns = np.nonzero(self.truth[z] == label)
        way = np.unique(rows)[2:-5]
        for number, y in enumerate(way.tolist()):
            x = float(np.median(columns[rows == y]))
            (self.hover if number else self.press)(y, x)

    def middle(self, z: int, label: int) -> tuple[float, float]:
        """Where on a slice a structure is."""
        rows, columns = np.nonzero(self.truth[z] == label)
        return float(np.median(rows)), float(np.median(columns))

    def missed(self, z: int, label: int) -> tuple[float, float]:
        """Where on a slice most of a structure is missing; its middle if nothing is."""
        from scipy.ndimage import label as parts_of

        plane = self.truth[z] == label
        shown = np.reshape(self._page.evaluate(f"keyslice.shown({z})"), plane.shape)
        parts, count = parts_of(plane & (shown != label))
        if not count:
            return self.middle(z, label)
        rows, columns = np.nonzero(parts == np.bincount(parts[parts > 0]).argmax())
        return float(np.median(rows)), float(np.median(columns))

    def place(self, y: float, x: float) -> None:
        """Put the cross there."""
        self.key("h")
        self.press(y, x)
        self.release()
        self.key("b")

    def state(self) -> dict[str, Any]:
        """What the page shows."""
        found: dict[str, Any] = self._page.evaluate("keyslice.state")
        return found

    def _send(self, edit: dict[str, Any]) -> None:
        status = self._page.evaluate(
            """async (edit) => {
              const client = sessionStorage.getItem("keyslice.client");
              const path = `/api/cases/${encodeURIComponent(keyslice.state.case)}/edit`;
              const headers = { "Content-Type": "application/json" };
              const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify({ client, ...edit }) });
              return answer.status;
            }""",
            edit,
        )
        if status != 200:
            raise RuntimeError(f"the server answered {status} to {edit['action']}")
