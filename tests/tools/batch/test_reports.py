"""The report of a run: order, escaping, and a page that loads nothing."""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.batch.results import write_reports
from tools.batch.run import Finished, Plan
from tools.batch.tasks import details_path
from tools.batch.thumbnails import slice_to_look_at
from tools.cases import Case

NASTY = "<img src=x onerror=alert(1)>'\"&"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Reports of five cases: one failed, one without a score, three with; names and warnings are nasty."""
    names = {"good": 0.9, "bad": 0.1, f"x{NASTY}": 0.5, "unknown": None, "lost": None}
    cases = [Case(name, tmp_path / f"{name}.nii.gz", None, tmp_path / f"{name}.seg.nrrd") for name in names]
    finished = Finished(facts={"device": "cpu", "versions": {"keyslice": "1"}}, failed={"lost": f"broken {NASTY}"})
    (tmp_path / ".keyslice-run" / "cases").mkdir(parents=True)
    for name, score in names.items():
        if name == "lost":
            continue
        brief = {"score": score, "structure": f"liver {NASTY}", "slice": 3, "facts": {"structures": "1"}}
        finished.done[name] = {
            "brief": brief,
            "warnings": ["=1+1", NASTY],
            "seconds": 1.5,
            "attempt": 1,
            "memory": 10**9,
        }
        confidence = {"mean": 0.5, "lowest": score, "per_slice": [0.5, 0.5]}
        labels: dict[str, Any] = {"liver": {"voxels": 3, "confidence": confidence}, "none": {"confidence": None}}
        details_path(tmp_path / ".keyslice-run", name).write_text(json.dumps({"labels": labels}))
    plan = Plan(command="segment", settings={}, folder=tmp_path, cases=cases, unusable={}, check_places=lambda *_: None)
    return write_reports(tmp_path, plan, finished, also=tmp_path / "also.json")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_the_worst_come_first(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    order = [html.unescape(name) for name in re.findall(r"<tr data-case='([^']*)'", text)]
    assert order == ["unknown", "bad", f"x{NASTY}", "good"]
    assert text.index("broken") < text.index("<tr data-case")
    with (page.parent / "report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == ["lost", *order]
    assert rows[0]["state"] == "failed" and rows[2]["memory_mb"] == "1000"
    assert rows[1]["warnings"].startswith("'="), "no formula for a spreadsheet"


def test_the_page_loads_and_runs_nothing_of_others(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert not [attrs for tag, attrs in tags.seen if tag == "img" and "onerror" in attrs]
    assert all("src" not in attrs and "href" not in attrs for tag, attrs in tags.seen if tag in ("script", "link"))
    policy = next(attrs["content"] for tag, attrs in tags.seen if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("script", "style"):
        content = text.split(f"<{tag}>")[1].split(f"</{tag}>")[0]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not [attrs for _, attrs in tags.seen if "style" in attrs or any(name.startswith("on") for name in attrs)]


def test_a_case_has_the_command_that_opens_it(page: Path) -> None:
    tags = Tags()
    tags.feed(page.read_text(encoding="utf-8"))
    commands = [attrs["data-copy"] for tag, attrs in tags.seen if tag == "button" and "data-copy" in attrs]
    assert len(commands) == 4 and commands[2] is not None
    folder, name = page.parent.resolve(), f"x{NASTY}"
    expected = ["keyslice", "annotate", f"{folder}/{name}.nii.gz", "--proposals", f"{folder}/{name}.seg.nrrd"]
    assert shlex.split(commands[2]) == expected


def test_the_json_has_all_but_single_slices(page: Path) -> None:
    report = json.loads((page.parent / "report.json").read_text(encoding="utf-8"))
    assert sorted(report["cases"]) == sorted(["good", "bad", f"x{NASTY}", "unknown"])
    assert report["cases"]["bad"]["labels"]["liver"]["confidence"] == {"mean": 0.5, "lowest": 0.1}
    assert list(report["failed"]) == ["lost"] and report["device"] == "cpu"
    assert json.loads((page.parent / "also.json").read_text(encoding="utf-8")) == report


def test_the_picture_shows_the_slice_with_most_doubt() -> None:
    labels = np.zeros((6, 4, 4), np.uint8)
    labels[1:5, 1, 1] = 7
    confidence = np.array([0.0, 0.9, 0.2, 0.6, 0.5, 0.0], np.float32)
    assert slice_to_look_at(labels, [1], {7: confidence}) == 2
    assert slice_to_look_at(labels, [2], {7: confidence}) == 4
    labels[3, 2] = 7
    assert slice_to_look_at(labels, [], {}) == 3
    assert slice_to_look_at(np.zeros_like(labels), [], {7: confidence}) == 0
