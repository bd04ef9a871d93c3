"""A browser, and one server whose folder has a case for each subject."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.cases import write_cts
from tests.browser.driving import Server, Tab

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",  # WebGL without a graphics card
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
COPIES = ("access", "follow", "hint", "keys", "locked", "outlines", "pages", "previews", "touch", "views")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. For each module anew: playwright's event loop would be in the way of other tests' ones."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def cts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """CTs of the cases by their names."""
    return write_cts(tmp_path_factory.mktemp("browser") / "cts", COPIES)


@pytest.fixture(scope="session")
def server(cts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The command, which serves the folder of all cases."""
    folder = tmp_path_factory.mktemp("served")
    with Server(next(iter(cts.values())).parent, folder / "sessions", folder / "stderr.txt") as server:
        yield server
        assert server.process.poll() is None, f"the server has ended: {server.told}"
    assert "Traceback" not in server.told, server.told


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A person's browser, who has read the hint and says when to propagate."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    context.add_init_script("localStorage.setItem('keyslice.hint', 'seen')")
    context.add_init_script("localStorage['keyslice.tools'] ??= JSON.stringify({ follow: false })")
    yield context
    context.close()


@pytest.fixture
def open_case(context: BrowserContext, server: Server) -> Iterator[Callable[[str], Tab]]:
    """Opens a case in a tab of its own. Nothing may go wrong in any of them while the test runs."""
    tabs: list[Tab] = []

    def opened(case: str) -> Tab:
        tabs.append(Tab(context, f"{server.address}#case={case}"))
        return tabs[-1]

    yield opened
    assert [tab.problems for tab in tabs] == [[] for _ in tabs]
