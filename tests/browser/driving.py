"""The command as a process, and a page of it in a browser with what a person does there."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tools.annotate.protocol import decode_mask

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, Response

ROOT = Path(__file__).parents[2]
LONG = 90.0
"""Seconds after which a test gives up waiting; a busy machine is slow, and waiting ends as soon as it can."""

Point = tuple[int, int]  # row and column of a slice


class Server:
    """`keyslice annotate` in a process of its own.

    Args:
        path: what to open.
        session: where the session folders go.
        errors: where its stderr goes.
        more: further arguments.

    Attributes:
        address: that it printed, with the token.
        base: the same without path and token.
    """

    def __init__(self, path: Path, session: Path, errors: Path, *more: str) -> None:
        words = [sys.executable, "-m", "tools.cli", "annotate", str(path), "--session", str(session), "--no-browser"]
        self.errors = errors
        with errors.open("ab") as stderr:
            self.process = subprocess.Popen(
                [*words, *(more if "--port" in more else (*more, "--port", "0"))],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        assert self.process.stdout is not None
        late = threading.Timer(LONG, self.process.kill)
        late.start()
        self.address = self.process.stdout.readline().strip()
        late.cancel()
        self.base = self.address.partition("/?")[0]
        assert self.base.startswith("http://127.0.0.1:"), (self.address, self.told)

    @property
    def told(self) -> str:
        """What it wrote to stderr."""
        return self.errors.read_text(encoding="utf-8")

    def kill(self) -> None:
        """End it without a chance to write anything."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """End it if it runs."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Tab:
    """A page of the tool in the browser.

    Args:
        context: of the browser.
        address: to open, with the token if the context has no cookie yet.

    Attributes:
        problems: errors and warnings of the console, what was thrown, and requests to other hosts.
        edits: bodies of the edits that were sent, in order.
        acknowledged: those that were answered with 200.
        addresses: of all requests.
    """

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.base = address.partition("/?")[0].partition("/#")[0]
        self.page: Page = context.new_page()
        self.problems: list[str] = []
        self.edits: list[dict[str, Any]] = []
        self.acknowledged: list[dict[str, Any]] = []
        self.addresses: list[str] = []
        self.page.set_default_timeout(1000 * LONG)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.problems.append(f"thrown: {error}"))
        self.page.on("request", self._sent)
        self.page.on("response", self._answered)
        self.page.goto(address)
        self.ready()

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert") and "GL Driver Message" not in message.text:
            self.problems.append(f"{message.type}: {message.text}")

    def _sent(self, request: Request) -> None:
        self.addresses.append(request.url)
        if not request.url.startswith((f"{self.base}/", f"blob:{self.base}/", "data:")):
            self.problems.append(f"asked another host: {request.url[:200]}")
        if request.url.endswith("/edit"):
            self.edits.append(request.post_data_json)

    def _answered(self, response: Response) -> None:
        if response.url.endswith("/edit") and response.status == 200:
            self.acknowledged.append(response.request.post_data_json)

    # Looking.

    def ready(self) -> None:
        """Wait until the case is there."""
        self.wait("Boolean(window.keyslice)")
        self.page.evaluate("window.keyslice.ready")
        depth = self.state["shape"][0]
        self.wait(f"keyslice.state.loaded === {depth}")

    def wait(self, condition: str, seconds: float = LONG) -> None:
        """Wait until an expression of the page is true.

        Asked again and again from here: the page's policy forbids the `eval` of playwright's own way.
        """
        self.until(lambda: bool(self.page.evaluate(condition)), condition, seconds)

    def until(self, told: Callable[[], bool], what: str, seconds: float = LONG) -> None:
        """Wait until something is so."""
        end = time.monotonic() + seconds
        while not told():
            assert time.monotonic() < end, f"never: {what}; {self.seen()}"
            self.page.wait_for_timeout(60)

    def seen(self) -> str:
        """What the page shows of itself, for a test that fails."""
        told = self.page.evaluate(
            "['status', 'notice', 'banner-text'].map((id) => document.getElementById(id)?.textContent)"
        )
        state = {name: self.state.get(name) for name in ("case", "youEdit", "loaded", "running")}
        return f"status, notice, banner: {told}; {state}; problems: {self.problems}"

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.page.evaluate("keyslice.state")
        return state

    def shown(self) -> NDArray[np.uint8]:
        """(D, H, W), labels as the page shows them."""
        slices = self.page.evaluate(
            """keyslice.state.slices.map(({ z }) => btoa(String.fromCharCode(...keyslice.shown(z))))"""
        )
        masks = b"".join(base64.b64decode(one) for one in slices)
        return np.frombuffer(masks, np.uint8).reshape(self.state["shape"])

    def server_state(self) -> dict[str, Any]:
        """The case as the server tells it."""
        told: dict[str, Any] = self.page.context.request.get(self._url()).json()
        return told

    def masks(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(D, H, W) what is given, and what is proposed beside it, of the server."""
        depth, height, width = self.state["shape"]
        content = self.page.context.request.get(self._url(f"/pixels?first=0&count={depth}")).body()
        planes = []
        while content:
            size = int.from_bytes(content[:4], "little")
            planes.append(decode_mask(content[4 : 4 + size], (height, width)))
            content = content[4 + size :]
        assert len(planes) == 2 * depth
        return np.stack(planes[0::2]), np.stack(planes[1::2])

    def _url(self, path: str = "") -> str:
        return f"{self.base}/api/cases/{self.state['case']}{path}"

    # Doing.

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def go(self, z: int) -> None:
        self.page.evaluate("(z) => keyslice.goTo(z)", z)

    def at(self, point: Point) -> tuple[float, float]:
        """Where a pixel of the current slice is on the screen."""
        place = self.page.evaluate(
            "([y, x]) => { const at = keyslice.sliceToScreen(y, x); return [at.x, at.y]; }",
            [int(point[0]), int(point[1])],
        )
        return place[0], place[1]

    def drag(self, *points: Point) -> None:
        """Press the mouse on the first pixel of the slice, move over the others, let go on the last."""
        mouse = self.page.mouse
        mouse.move(*self.at(points[0]))
        mouse.down()
        for point in points[1:]:
            mouse.move(*self.at(point), steps=4)
        mouse.up()

    def click(self, point: Point) -> None:
        self.page.mouse.click(*self.at(point))

    def stroke(self, *points: Point) -> dict[str, Any]:
        """Draw, and wait until it is acknowledged; returns the body of the edit."""
        before = len(self.edits)
        self.drag(*points)
        self.saved()
        assert len(self.edits) == before + 1, self.seen()
        return self.edits[-1]

    def saved(self) -> None:
        """Wait until the server has answered all edits."""
        self.wait("keyslice.state.pending === 0")

    def add_label(self, name: str) -> int:
        """Add a label, and choose it; returns its number."""
        self.page.click("#add-label")
        self.page.fill("#new-label-name", name)
        self.press("Enter")
        self.wait(f"keyslice.state.labels.some((l) => l.name === '{name}' && l.value === keyslice.state.label)")
        return int(self.state["label"])

    def radius(self, radius: int) -> None:
        """Set the brush's size by its slider's option."""
        while (size := self.page.evaluate("Number(document.querySelector('[data-option=radius]').value)")) != radius:
            self.press("]" if size < radius else "[")

    def propagate(self) -> None:
        """Press F, and wait until the server is through and the page has heard of it."""
        with self.page.expect_response("**/propagate"):
            self.press("f")
        self.until(lambda: self.server_state()["running"] is None, "the end of propagation")
        given, proposals = self.masks()
        seen = np.where(given > 0, given, proposals)
        self.until(lambda: np.array_equal(self.shown(), seen), "the page as the server")
        self.wait("keyslice.state.running === null")


def row(y: int, first: int, last: int) -> Sequence[Point]:
    """A stroke along a row."""
    return (y, first), (y, last)
