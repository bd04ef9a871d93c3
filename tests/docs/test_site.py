"""The docs site: it builds strictly without a network, its links lead somewhere, nothing comes from another host."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("mkdocs", reason="the docs site needs keyslice[docs]")
pytest.importorskip("material", reason="the docs site needs keyslice[docs]")
pytest.importorskip("mkdocstrings", reason="the docs site needs keyslice[docs]")

ROOT = Path(__file__).resolve().parents[2]
BUILD = """
import socket, sys

def refuse(*_):
    raise OSError("the docs site asked for the network")

socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = socket.create_connection = refuse
from mkdocs.__main__ import cli
cli(["build", "--strict", "--quiet", "-f", sys.argv[1], "-d", sys.argv[2]])
"""
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


class _Links(HTMLParser):
    """What a page links to, what it loads, and the places in it."""

    def __init__(self) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.places.update(value for key in ("id", "name") if (value := values.get(key)))
        if tag == "a" and (href := values.get("href")):
            self.links.add(href)
        if tag in LOADED and (source := values.get(LOADED[tag])):
            self.loaded.add(source)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-c", BUILD, str(ROOT / "mkdocs.yml"), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, _Links]:
    found = {}
    for path in site.rglob("*.html"):
        found[path] = _Links()
        found[path].feed(path.read_text(encoding="utf-8"))
    return found


def test_every_link_leads_somewhere(site: Path, pages: dict[Path, _Links]) -> None:
    broken = []
    for page, seen in pages.items():
        for link in seen.links | seen.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or page.name == "404.html":  # that page is written for a server's root
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            place = unquote(parts.fragment)
            if not target.is_file() or (place and target in pages and place not in pages[target].places):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert len(pages) > 20
    assert not broken


def test_nothing_is_loaded_from_another_host(site: Path, pages: dict[Path, _Links]) -> None:
    loaded = {source for page in pages.values() for source in page.loaded}
    assert loaded
    assert not [source for source in loaded if source.startswith(("http:", "https:", "//"))]
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", text), style.name


def test_pages_are_made_from_the_code(site: Path, pages: dict[Path, _Links]) -> None:
    assert {"keyslice.propagate", "keyslice.Session.suggest"} <= pages[site / "reference/keyslice.html"].places
    assert "propagation_module.suggestion.Suggestion" in pages[site / "reference/propagation_module.html"].places
    assert "--key-slices" in (site / "reference/commands.html").read_text(encoding="utf-8")
    assert "Model card" in (site / "reference/models/reference_module.html").read_text(encoding="utf-8")


def test_search_is_there_without_a_server(site: Path) -> None:
    script = (site / "search/search_index.js").read_text(encoding="utf-8")
    entries = json.loads(script.removeprefix("var __index = "))["docs"]
    assert {"tutorial.html", "reference/commands.html"} <= {entry["location"] for entry in entries}


@pytest.mark.browser
def test_search_finds_from_the_disk(site: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.locator("input.md-search__input").click()
        page.keyboard.type("suggested", delay=30)
        page.locator(".md-search-result__item a").first.wait_for(timeout=30_000)
        browser.close()
    assert asked
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:", "about:"))]


def test_a_broken_link_fails(tmp_path: Path) -> None:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort

    (tmp_path / "docs").mkdir()
    changes: dict[str, Any] = {"plugins": [], "hooks": [], "theme": "mkdocs", "extra_css": [], "extra": {}}
    changes |= {"docs_dir": str(tmp_path / "docs"), "site_dir": str(tmp_path / "site"), "nav": [{"Home": "index.md"}]}
    for text, broken in (("# Home\n\n[here](#home)\n", False), ("[gone](gone.md)\n", True), ("[x](#gone)\n", True)):
        (tmp_path / "docs" / "index.md").write_text(text)
        config = load_config(str(ROOT / "mkdocs.yml"), **changes)
        if broken:
            with pytest.raises(Abort):
                build(config)
        else:
            build(config)
