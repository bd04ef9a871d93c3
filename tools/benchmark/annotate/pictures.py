"""The pictures in docs/annotate.md: each step of the work on a real CT, in a real browser.

`python -m tools.benchmark annotate-pictures --case DATA/abdomen/torso_3mm`. What a person would paint comes from the
label map in the case's folder.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.benchmark.annotate.browser import chromium, missing_browser, new_page, open_page
from tools.benchmark.annotate.camera import Photographer
from tools.benchmark.annotate.client import Server
from volumes.errors import InputError

LABELS = {
    "liver": (196, 98, 66),
    "spleen": (150, 96, 190),
    "kidney_right": (230, 190, 70),
    "kidney_left": (110, 170, 70),
    "stomach": (90, 160, 220),
    "aorta": (215, 60, 70),
}
"""Structures of the label map, as version 2 of its names has them, and their colours here."""
KEYS = (66, 84, 92, 104)
"""Slices that are painted: the kidneys' lower ends, two in the middle, one near the top."""
FIRST_VIEW = 92


def run(case: Path, out: Path) -> list[Path]:
    """Take all pictures; returns their paths.

    Args:
        case: the folder of `torso_3mm`.
        out: the folder of the pictures.

    Raises:
        InputError: no such case, or no browser.
    """
    missing = missing_browser()
    if missing:
        raise InputError("annotate-pictures", found=missing, expected="playwright, Chromium", fix="install them")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ct = folder / f"{case.name}.nii.gz"
        shutil.copyfile(case / "ct.nii.gz", ct)
        options = ("--labels", str(_write_table(folder)))
        with Server(ct, folder / "sessions", *options) as server, chromium() as browser:
            page = new_page(browser, hint=True)
            open_page(page, server.link)
            author = Photographer(page, _truth(case, ct), out)
            _begin(author)
            _propose(author)
            _correct(author)
            watcher = new_page(browser)
            open_page(watcher, server.link)
            Photographer(watcher, author.truth, out).take("watch")
            _finish(author)
    return sorted(out.glob("*.jpg"))


def _truth(case: Path, ct: Path) -> NDArray[np.uint8]:
    """(D, H, W) the structures of `LABELS`, numbered from 1."""
    from volumes.formats import read_label_map, read_volume

    names = json.loads((case / "class_map.json").read_text(encoding="utf-8"))["total_v2"]
    numbers = {name: int(value) for value, name in names.items()}
    found = read_label_map(case / "seg_total_v2_fast.nii.gz", like=read_volume(ct)).array
    truth = np.zeros_like(found)
    for value, name in enumerate(LABELS, 1):
        truth[found == numbers[name]] = value
    return truth


def _write_table(folder: Path) -> Path:
    import yaml

    labels = {value: {"name": name, "color": list(color)} for value, (name, color) in enumerate(LABELS.items(), 1)}
    path = folder / "labels.yaml"
    path.write_text(yaml.safe_dump({"name": "pictures", "labels": labels}), encoding="utf-8")
    return path


def _begin(author: Photographer) -> None:
    """A case that was just opened; a brush stroke; the wand."""
    author.go_to(FIRST_VIEW)
    author.take("open")
    author.click("#hint-close")
    author.paint(FIRST_VIEW, 1)
    author.key("2", "b", "[", "[", "[")
    author.follow(FIRST_VIEW, 2)
    author.take("paint")
    author.release()
    author.key("Control+z")
    author.paint(FIRST_VIEW, 2)
    author.key("4", "w")
    author.press(*author.middle(FIRST_VIEW, 4))
    author.release()
    author.wait("state.preview !== null")
    author.take("assist")
    author.key("Escape", "b")


def _propose(author: Photographer) -> None:
    """Key slices, propagation under way, and where to look next."""
    for z in KEYS:
        author.paint(z)
    author.go_to(FIRST_VIEW - 1)
    author.leave()
    author.key("f")
    author.wait("state.slices.filter((one) => one.state === 'proposed').length > 15")
    author.take("propagate")
    author.wait("state.running === null && state.suggestion !== null")
    author.key("n")
    author.take("suggestion")


def _correct(author: Photographer) -> None:
    """A stroke on the suggested slice, what follows from it, and slices that are accepted."""
    state = author.state()
    z, label = state["z"], state["label"]
    y, x = author.missed(z, label)
    author.press(y - 1, x - 1)
    author.hover(y + 1, x + 1)
    author.take("correct")
    author.release()
    author.key("Control+z")
    author.paint(z)
    author.key("f")
    author.wait("state.running !== null")
    author.wait("state.running === null")
    author.place(*author.middle(FIRST_VIEW, 4))
    for step in range(4):
        author.go_to(FIRST_VIEW - 6 + step)
        author.wait("!document.querySelector('#accept').disabled")
        author.key("Space")
        author.wait("state.pending === 0")
    author.leave()
    author.take("accept")


def _finish(author: Photographer) -> None:
    """All accepted, in 3D; the export."""
    author.click("#accept-all")
    author.wait("state.pending === 0")
    author.click("#show-3d")
    author.wait("document.querySelector('#three-d-state').textContent === ''")
    author.take("result")
    author.click("#export")
    author.click("#export-dialog input[value=seg_nrrd]")
    author.click("#export-dialog button.primary")
    author.wait("document.querySelector('#export-result').textContent !== ''")
    author.take("export")
