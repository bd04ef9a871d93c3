"""A headless Chromium for the annotation page: how soon it is ready, how soon its strokes are on the disk."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OPTIONS = (
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # 3D without a graphics card.
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
_PATIENCE_SECONDS = 600.0
_READY = """async () => {
  await keyslice.ready;
  const first = performance.now();
  while (keyslice.state.loaded < keyslice.state.shape[0]) await new Promise((next) => setTimeout(next, 30));
  return [first / 1000, performance.now() / 1000];
}"""
_EDITS = """() => performance.getEntriesByType("resource")
  .filter((entry) => entry.name.endsWith("/edit")).map((entry) => entry.duration / 1000)"""


def missing_browser() -> str | None:
    """What is missing for a browser; None if nothing is."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "no playwright"
    return None if _executable() else "no Chromium"


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser."""
    from playwright.sync_api import sync_playwright

    # Chromium's sandbox does not work for the superuser, who runs tests in containers.
    options = [*_OPTIONS, "--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else [*_OPTIONS]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_executable(), args=options)
        try:
            yield browser
        finally:
            browser.close()


def new_page(browser: Browser, *, width: int = 1280, height: int = 720, scale: float = 1, hint: bool = False) -> Page:
    """An empty page.

    Args:
        width, height: of the window, in CSS pixels.
        scale: device pixels of one of them.
        hint: show what a person sees on the very first visit.
    """
    context = browser.new_context(viewport={"width": width, "height": height}, device_scale_factor=scale)
    context.set_default_timeout(_PATIENCE_SECONDS * 1000)
    if not hint:
        context.add_init_script("localStorage.setItem('keyslice.hint', 'seen')")
    return context.new_page()


def until(page: Page, expression: str) -> None:
    """Wait until an expression is true in the page; its content policy forbids what the browser's driver does."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while not page.evaluate(expression):
        if time.monotonic() > end:
            raise RuntimeError(f"not so within {_PATIENCE_SECONDS:.0f} s: {expression}")
        page.wait_for_timeout(30)


def open_page(page: Page, link: str) -> tuple[float, float]:
    """Open the annotation page; seconds until the first slices can be used, and until all are there."""
    page.goto(link)
    until(page, "Boolean(window.keyslice)")
    first, whole = page.evaluate(_READY)
    return first, whole


def measure_page(browser: Browser, link: str) -> tuple[Page, dict[str, float]]:
    """Open the page: `first_seconds`, `whole_seconds`, `megabytes` that came for it."""
    page = new_page(browser)
    sizes: list[float] = []
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    first, whole = open_page(page, link)
    return page, {"first_seconds": first, "whole_seconds": whole, "megabytes": sum(sizes) / 1e6}


def measure_strokes(page: Page, count: int) -> list[float]:
    """Seconds from when the page sends a stroke of the brush until it is acknowledged, for `count` strokes."""
    page.evaluate("performance.setResourceTimingBufferSize(10000)")
    page.keyboard.press("b")
    depth, height, width = page.evaluate("keyslice.state.shape")
    for number in range(count):
        z = number * depth // count
        start: dict[str, Any] = page.evaluate(f"keyslice.sliceToScreen({z}, {height // 2}, {width // 2})")
        page.mouse.move(start["x"], start["y"])
        page.mouse.down()
        page.mouse.move(start["x"] + 30, start["y"] + 12, steps=4)
        page.mouse.up()
        until(page, "keyslice.state.pending === 0")
    found: list[float] = page.evaluate(_EDITS)
    return found


def _executable() -> str | None:
    return next((path for name in _NAMES if (path := shutil.which(name))), None)
