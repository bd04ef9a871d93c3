"""The server is killed while the page is open: nothing that was drawn is lost, whether it was acknowledged or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.browser.cases import SHAPE, Painted
from tests.browser.driving import Server, Tab, row

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

pytestmark = pytest.mark.browser

TOKENS = ("the-first-token-of-this-test", "the-second-token-of-this-test")
Z = 12


def drawn(tab: Tab) -> np.ndarray:
    """(D, H, W), what the edits that the page has sent give."""
    slices: dict[int, Painted] = {}
    sent: list[dict] = []
    for edit in tab.edits:
        if edit not in sent:  # an edit whose answer got lost is sent once more
            sent.append(edit)
            slices.setdefault(edit["z"], Painted()).do(edit)
    return np.stack([slices[z].mask if z in slices else np.zeros(SHAPE[1:], np.uint8) for z in range(SHAPE[0])])


def check_nothing_is_missing(tab: Tab, strokes: int) -> None:
    """The server and the page have all that was drawn, in as many strokes."""
    tab.wait("keyslice.state.pending === 0 && !keyslice.state.offline && keyslice.state.youEdit")
    tab.wait("document.querySelector('#banner').hidden")
    assert len({str(edit) for edit in tab.edits}) == strokes
    expected = drawn(tab)
    np.testing.assert_array_equal(tab.masks()[0], expected)
    np.testing.assert_array_equal(tab.shown(), expected)


def unexpected(tab: Tab) -> list[str]:
    """Problems other than those that a server that is away, or wants another token, brings."""
    return [one for one in tab.problems if "net::ERR_" not in one and "status of 401" not in one]


@pytest.fixture
def start(cts: dict[str, Path], tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts the command with a token, on the port of the one before."""
    servers: list[Server] = []

    def started(token: str) -> Server:
        port = servers[-1].base.rpartition(":")[2] if servers else "0"
        more = ("--port", port, "--token", token)
        servers.append(Server(cts["plain"], tmp_path / "sessions", tmp_path / "stderr.txt", *more))
        return servers[-1]

    yield started
    for server in servers:
        server.close()
    assert "Traceback" not in servers[0].told, servers[0].told


def test_a_killed_server_costs_nothing(context: BrowserContext, start: Callable[..., Server]) -> None:
    server = start(TOKENS[0])
    tab = Tab(context, server.address)
    assert tab.page.url == f"{server.base}/"
    assert tab.problems == []
    tab.go(Z)
    tab.radius(2)
    for y in (10, 20):
        tab.stroke(*row(y, 20, 80))

    # Killed when the last of the strokes are still on their way; more are drawn while nothing answers.
    for y in (30, 35):
        tab.drag(*row(y, 20, 80))
    server.kill()
    for y in (50, 60):
        tab.drag(*row(y, 20, 80))
    tab.go(Z + 2)
    tab.drag(*row(40, 20, 80))
    tab.wait("keyslice.state.offline && keyslice.state.pending >= 3")
    tab.wait("document.querySelector('#banner-text').textContent.includes('kept here')")
    assert len(tab.acknowledged) >= 2
    seen = tab.shown()

    start(TOKENS[0])
    check_nothing_is_missing(tab, 7)
    np.testing.assert_array_equal(tab.shown(), seen)
    # What was done before is in the history as well.
    for _ in range(7):
        tab.press("Control+z")
        tab.saved()
    tab.wait("keyslice.state.undo === null")
    assert not tab.masks()[0].any()
    for _ in range(7):
        tab.press("Control+y")
        tab.saved()
    np.testing.assert_array_equal(tab.masks()[0], seen)
    tab.page.reload()
    tab.ready()
    np.testing.assert_array_equal(tab.shown(), seen)
    assert unexpected(tab) == []


def test_a_new_token_costs_nothing(context: BrowserContext, start: Callable[..., Server]) -> None:
    """As after a restart without --token: the new address is opened in another page, which edits from then on."""
    server = start(TOKENS[0])
    tab = Tab(context, server.address)
    tab.go(Z)
    tab.stroke(*row(20, 20, 80))
    server.kill()
    for y in (40, 60):
        tab.drag(*row(y, 20, 80))
    tab.wait("keyslice.state.offline")
    seen = tab.shown()

    server = start(TOKENS[1])
    tab.wait("document.querySelector('#banner-text').textContent.includes('new token')")
    tab.page.route("**/events?client=*", lambda route: route.abort())  # the other is there first
    other = Tab(context, server.address)
    assert other.state["youEdit"]
    tab.page.unroute("**/events?client=*")
    tab.wait("document.querySelector('#banner-text').textContent.includes('2 changes kept here: take over')")
    np.testing.assert_array_equal(tab.shown(), seen)
    tab.page.click("#take-over")
    tab.wait("keyslice.state.pending === 0 && !keyslice.state.offline")
    np.testing.assert_array_equal(other.masks()[0], seen)
    np.testing.assert_array_equal(tab.shown(), seen)
    other.wait(f"keyslice.shown({Z}).lastIndexOf(1) > 59 * 112")
    np.testing.assert_array_equal(other.shown(), seen)
    assert other.problems == [] and unexpected(tab) == []
