"""The command: its line, its end, the demo, and bad input in one line."""

from __future__ import annotations

import re
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from tests.tools.annotate.serving import ROOT, SHAPE, TOKEN, command, runs, write_ct
from tools.annotate.demo_case import LABELS
from tools.cli import app


def refused(*arguments: object) -> str:
    """The one line with which the command ends."""
    result = CliRunner().invoke(app, ["annotate", *map(str, arguments), "--no-browser"])
    assert result.exit_code == 2, (result.exit_code, result.stderr, result.exception)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    assert "expected" in lines[0]
    assert not result.stdout
    return lines[0]


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    return write_ct(tmp_path / "ct.nii.gz")


def test_it_prints_one_line_serves_and_ends_with_ctrl_c(ct: Path) -> None:
    words = [sys.executable, "-m", "tools.cli", "annotate", str(ct), "--no-browser", "--port", "0"]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[A-Za-z0-9_-]{43}", line)
    assert httpx.get(line).status_code == 200
    assert httpx.get(line.partition("?")[0]).status_code == 401
    token = line.partition("token=")[2]
    with httpx.stream(
        "GET",
        line.partition("?")[0] + "api/cases/ct/events?client=a",
        headers={"Authorization": f"Bearer {token}"},
    ) as stream:
        next(stream.iter_lines())
        process.send_signal(signal.SIGINT)  # with a page open
        out, err = process.communicate(timeout=20)
    assert process.returncode in (0, 130)
    assert (out, err) == ("", "")


def test_torch_is_not_loaded_before_it_is_needed(ct: Path) -> None:
    code = (
        "import sys, tools.annotate.app, tools.annotate.server, tools.annotate.command as c\n"
        "from pathlib import Path\n"
        "table, cases = c._cases(c.Job(path=Path(sys.argv[1])))\n"
        "c._networks(c.Job(path=None)); c._open_only(cases, table).store.close()\n"
        "print([name for name in ('torch', 'monai', 'matplotlib', 'skimage', 'cv2') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code, str(ct)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_demo_is_there_in_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = []
    for _ in range(2):  # made, then found
        with command("--demo") as (_, page):
            state = page.watch()
            assert state["shape"][0] >= 60 and state["hu"][1] > 300
            assert [row["name"] for row in state["labels"]] == list(LABELS)
            page.edit("paint", z=30, label=1, runs=[1000, 50])
        (file,) = (tmp_path / "keyslice" / "demo").glob("*.nii.gz")
        made.append(file.stat().st_mtime_ns)
    assert made[0] == made[1]


def test_a_labels_table_and_key_slices_to_begin_with(ct: Path, tmp_path: Path) -> None:
    keys = np.zeros(SHAPE, np.uint8)
    keys[4, 8:12, 9:14] = 1
    image = sitk.GetImageFromArray(keys)
    image.CopyInformation(sitk.ReadImage(str(ct)))
    sitk.WriteImage(image, str(tmp_path / "keys.nii.gz"))
    with command(ct, "--labels", "flare22", "--keys", tmp_path / "keys.nii.gz") as (_, page):
        state = page.watch()
        assert len(state["labels"]) == 13
        assert list(state["slices"]) == [str(SHAPE[0] - 1 - 4)], "the file runs from superior to inferior"
        assert state["slices"]["7"]["labels"] == [1]


def test_what_cannot_be_opened(tmp_path: Path, ct: Path) -> None:
    text = tmp_path / "text.nii.gz"
    text.write_text("hello")
    assert "text.nii.gz" in refused(text)
    assert "none.nii.gz" in refused(tmp_path / "none.nii.gz")
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(ct.read_bytes()[:200])
    assert "cut.nii.gz" in refused(cut)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "empty" in refused(empty)
    assert "--demo" in refused()
    assert "--demo" in refused(ct, "--demo")


def test_options_that_do_not_fit(ct: Path, tmp_path: Path) -> None:
    assert "flare99" in refused(ct, "--labels", "flare99")
    assert "huge" in refused(ct, "--model", "huge")
    assert "small" in refused(ct, "--model", "paper")
    assert "tpu" in refused(ct, "--device", "tpu")
    assert "cuda:97" in refused(ct, "--device", "cuda:97")
    assert "none.nrrd" in refused(ct, "--keys", tmp_path / "none.nrrd")
    assert "other.nii.gz" in refused(ct, "--keys", write_ct(tmp_path / "other.nii.gz", (12, 32, 41)))
    assert "--port" in refused(ct, "--port", "70000")
    assert "--token" in refused(ct, "--token", "short")
    assert "--token" in refused(ct, "--host", "0.0.0.0")
    assert "--host" in refused(ct, "--host", "203.0.113.7", "--token", TOKEN)
    file = tmp_path / "file"
    file.touch()
    assert "folder" in refused(ct, "--session", file)


def test_a_port_that_is_taken(ct: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "taken" in refused(ct, "--port", taken.getsockname()[1])


def test_the_session_of_another_ct_or_of_another_process(ct: Path, tmp_path: Path) -> None:
    session = tmp_path / "sessions"
    with command(ct, "--session", session) as (_, page):
        page.watch()
        page.edit("paint", z=1, label=1, runs=runs(1, 1, 2, 2))
        assert "another keyslice annotate" in refused(ct, "--session", session)
    other = write_ct(tmp_path / "elsewhere" / "ct.nii.gz", seed=4)
    assert "another CT" in refused(other, "--session", session)
    with command(ct, "--session", session) as (_, page):
        assert page.watch()["revision"] == 1


def test_an_open_server_warns(ct: Path) -> None:
    words = [sys.executable, "-m", "tools.cli", "annotate", str(ct), "--no-browser", "--host", "0.0.0.0"]
    words += ["--token", TOKEN]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        assert line.startswith("http://127.0.0.1:") and httpx.get(line).status_code == 200
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert err.startswith("warning: ") and len(err.strip().splitlines()) == 1


def test_the_page_is_there_within_seconds(ct: Path) -> None:
    def used() -> float:
        """Seconds of processor time: what a start takes on a machine that has nothing else to do."""
        of = resource.getrusage(resource.RUSAGE_CHILDREN)
        return of.ru_utime + of.ru_stime

    before = used()
    with command(ct) as (_, page):
        assert page.http.get("/").status_code == 200
    assert used() - before < 3.0
