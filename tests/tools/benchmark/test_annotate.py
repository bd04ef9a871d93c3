"""The annotation tool's benchmark: run small on a real server, and its parts without one."""

import json

import numpy as np
import pytest

from tools.annotate.opening import open_case
from tools.annotate.worklist import find_worklist
from tools.benchmark.annotate import browser as annotate_browser
from tools.benchmark.annotate import run as annotate
from tools.benchmark.annotate.client import Server
from tools.benchmark.annotate.parts import make_session, spread, stroke
from volumes.volume import Geometry, Volume

SHAPE = (12, 64, 64)


@pytest.fixture
def ct(tmp_path):
    from tools.demo import save_volume

    array = np.random.default_rng(3).integers(-100, 100, SHAPE).astype(np.int16)
    save_volume(Volume(array, Geometry.axial(SHAPE, (3.0, 1.0, 1.0))), tmp_path / "ct.nii.gz")
    return tmp_path / "ct.nii.gz"


def test_every_figure_is_in_the_table_and_in_both_files(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(annotate, "CORRECTIONS", 1)
    found = annotate.run(tmp_path, size=64, depth=12, labels=2, strokes=3, session_strokes=5, browser=False, quiet=True)
    assert json.loads((tmp_path / "annotate.json").read_text(encoding="utf-8")) == found
    lines = (tmp_path / "annotate.md").read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if line.startswith("| ") and "---" not in line][1:]
    assert table == [f"| {what} | {figure} |" for what, figure in found["rows"]]
    about = " ".join(table)
    for part in ("printed address", "page ready", "stroke", "while it propagates", "correction", "cancel", "memory"):
        assert part in about
    assert "asked for without a browser" in about  # or a reader would take it for one
    assert f"{found['about']['load']:.1f}" in lines[2] and "labels: 2" in about
    assert [one["strokes"] for one in found["reopened"]] == [4, 5]
    assert found["strokes"]["count"] == 3 and found["propagation"]["state"]["count"] > 0
    memory = found["memory"]
    assert memory["volume"] == 2 * 12 * 64 * 64 < memory["open"] <= memory["peak"]
    assert found["page"]["megabytes"] > memory["volume"] / 1e6


def test_a_session_is_as_long_as_was_asked_for(ct, tmp_path):
    make_session(ct, tmp_path / "sessions", SHAPE, 30)
    opened = open_case(next(iter(find_worklist(ct, session=tmp_path / "sessions"))), None)
    with opened.store:
        assert opened.document.revision == 30
        assert opened.store.notices == []


def test_strokes_lie_in_the_slice_and_differ():
    drawn = [stroke(SHAPE, number) for number in range(20)]
    assert all(one.shape == SHAPE[1:] and one.sum() > 100 for one in drawn)
    assert len({one.tobytes() for one in drawn}) == 20


def test_the_worst_answer_is_not_lost_among_many():
    found = spread([0.1] * 199 + [3.0])
    assert (found["count"], found["p50"], found["p99"], found["max"]) == (200, 0.1, 0.1, 3.0)


@pytest.mark.browser
def test_a_browser_tells_when_the_page_is_ready_and_how_long_strokes_take(ct, tmp_path):
    if (missing := annotate_browser.missing_browser()) is not None:
        pytest.skip(missing)
    with Server(ct, tmp_path / "sessions") as server, annotate_browser.chromium() as browser:
        page, found = annotate_browser.measure_page(browser, server.link)
        times = annotate_browser.measure_strokes(page, 2)
        assert page.evaluate("keyslice.state.revision") == 2
    assert 0 < found["first_seconds"] <= found["whole_seconds"]
    assert found["megabytes"] > 2 * np.prod(SHAPE) / 1e6
    assert len(times) == 2 and min(times) > 0
