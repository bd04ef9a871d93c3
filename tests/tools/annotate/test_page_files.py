"""The annotation page's files fit together: no build is needed, and nothing is loaded from elsewhere."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import tools.annotate

PAGE = Path(tools.annotate.__file__).parent / "page"
MODULES = sorted((PAGE / "js").glob("*.js"))
SHEETS = sorted(PAGE.glob("*.css"))
IDS = [
    *("axial", "sagittal", "coronal", "three-d", "labels", "ribbon", "slice-number", "status", "notice", "add-label"),
    *("propagate", "cancel", "next", "accept", "accept-all", "reject", "undo", "redo", "export", "import", "help"),
]
TOOLS = ["brush", "eraser", "polygon", "fill", "threshold", "wand", "scribble", "box", "pan"]


class Elements(HTMLParser):
    """All elements of a page with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def elements() -> list[tuple[str, dict[str, str | None]]]:
    parser = Elements()
    parser.feed((PAGE / "index.html").read_text(encoding="utf-8"))
    return parser.found


def test_the_page_has_what_browser_tests_look_for(elements: list[tuple[str, dict[str, str | None]]]) -> None:
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(IDS) <= set(ids)
    tools_ = [attributes["data-tool"] for _, attributes in elements if "data-tool" in attributes]
    assert sorted(filter(None, tools_)) == sorted(TOOLS)


def test_the_page_needs_nothing_that_its_security_policy_forbids(
    elements: list[tuple[str, dict[str, str | None]]],
) -> None:
    for tag, attributes in elements:
        assert "style" not in attributes and tag != "style", f"an inline style on {tag} {attributes}"
        assert not [name for name in attributes if name.startswith("on")], f"an inline listener on {tag}"
        assert tag != "script" or attributes.get("src"), "an inline script"
        for name in ("src", "href"):
            target = attributes.get(name)
            assert target is None or target.startswith(("/page/", "#")), f"{tag} {name}={target}"
            if target is not None and target.startswith("/page/"):
                assert (PAGE / target.removeprefix("/page/")).is_file(), target


def test_every_control_has_a_name(elements: list[tuple[str, dict[str, str | None]]]) -> None:
    """A button that is only a picture says what it is; a canvas too."""
    text = (PAGE / "index.html").read_text(encoding="utf-8")
    for inner, attributes in ((m[2], m[1]) for m in re.finditer(r"<button([^>]*)>(.*?)</button>", text, re.S)):
        seen = re.sub(r"<[^>]*>", "", inner).strip()
        assert seen or "aria-label=" in attributes, f"<button{attributes}>"
    for tag, attributes in elements:
        assert tag != "canvas" or attributes.get("aria-label") or attributes.get("aria-hidden"), attributes


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_modules_load_each_other_from_here(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    for target in re.findall(r"""(?:\bfrom|\bimport\()\s*["']([^"']+)["']""", source):
        assert target.startswith("."), f"{target} is not a file of the page"
        assert (path.parent / target).resolve().is_file(), target
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", source)
    assert not re.search(r"\beval\(|new Function|innerHTML|insertAdjacentHTML|document\.write", source)
    assert len(source.splitlines()) <= 250


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_what_is_imported_is_exported_there(path: Path) -> None:
    for names, target in re.findall(r"""import \{([^}]+)\} from "(\.[^"]+)";""", path.read_text(encoding="utf-8")):
        if target.startswith("../vendor/"):
            continue
        other = (path.parent / target).read_text(encoding="utf-8")
        for name in (part.split(" as ")[0].strip() for part in names.split(",")):
            assert re.search(rf"export (?:async )?(?:class|function|const) {re.escape(name)}(?!\w)", other), (
                f"{name} of {target}"
            )


def test_elements_that_modules_look_up_are_there(elements: list[tuple[str, dict[str, str | None]]]) -> None:
    ids = {attributes["id"] for _, attributes in elements if "id" in attributes}
    for path in MODULES:
        wanted = re.findall(r"""\$\(["'`]#([\w-]+)""", path.read_text(encoding="utf-8"))
        assert set(wanted) <= ids, f"{path.name}: {sorted(set(wanted) - ids)}"


def test_icons_are_drawn(elements: list[tuple[str, dict[str, str | None]]]) -> None:
    drawn = {attributes["id"] for tag, attributes in elements if tag == "symbol"}
    used = {str(attributes["href"]).removeprefix("#") for tag, attributes in elements if tag == "use"}
    assert used <= drawn


@pytest.mark.parametrize("path", SHEETS, ids=lambda path: path.name)
def test_style_sheets_load_nothing(path: Path) -> None:
    assert not re.search(r"url\(|@import|https?:", path.read_text(encoding="utf-8"))


def test_modules_are_all_used() -> None:
    reached, waiting = set(), [PAGE / "js" / "main.js"]
    while waiting:
        path = waiting.pop()
        if path not in reached and path.suffix == ".js" and path.parent.name == "js":
            reached.add(path)
            targets = re.findall(r"""(?:\bfrom|\bimport\()\s*["']([^"']+)["']""", path.read_text(encoding="utf-8"))
            waiting += [(path.parent / target).resolve() for target in targets]
    assert sorted(reached) == MODULES


def test_the_page_is_small_until_3d_is_opened() -> None:
    first = [PAGE / "index.html", *SHEETS, *MODULES]
    assert sum(path.stat().st_size for path in first) < 200_000
    assert (PAGE / "vendor" / "niivue.js").stat().st_size < 1_000_000
    importing = [path.name for path in MODULES if "vendor/niivue.js" in path.read_text(encoding="utf-8")]
    assert importing == ["three_d.js"]
    loading = [path.name for path in MODULES if re.search(r'from "./three_d\.js"', path.read_text(encoding="utf-8"))]
    assert not loading, "the renderer is to be loaded by import() when the pane is opened"


def test_the_vendored_bundle_can_be_built_again_from_anywhere() -> None:
    vendor = PAGE / "vendor"
    lock = json.loads((vendor / "package-lock.json").read_text(encoding="utf-8"))
    package = json.loads((vendor / "package.json").read_text(encoding="utf-8"))
    assert lock["packages"][""]["dependencies"] == package["dependencies"]
    for name, entry in lock["packages"].items():
        assert "resolved" not in entry, name
        assert name == "" or entry["integrity"].startswith("sha512-"), name
    assert "://" not in (vendor / "package-lock.json").read_text(encoding="utf-8")
    for version in package["dependencies"].values():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), "a version, not a range"
    licences = (vendor / "LICENSES.txt").read_text(encoding="utf-8")
    assert f"@niivue/niivue {package['dependencies']['@niivue/niivue']}" in licences
    assert "Redistributions in binary form" in licences
