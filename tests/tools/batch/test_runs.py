"""A run over many cases: what it keeps, what it does again, what it sets aside, and that nothing is lost."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from typer.testing import CliRunner, Result

from tests.tools.batch.many_cases import engines_of, manifest_lines, write_huge, write_image
from tools.batch.attempts import attempts, begin_attempt, forget, forget_all
from tools.batch.manifest import Manifest
from tools.batch.progress import Progress, in_words
from tools.cli import app
from volumes.errors import InputError


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Truth and prediction of A, B and C, and where a run goes."""
    array = np.zeros((6, 20, 18), np.uint8)
    array[1:5, 4:14, 3:12] = 1
    for name in "ABC":
        for part in ("truth", "prediction"):
            write_image(tmp_path / part / f"{name}.nii.gz", array)
    return tmp_path / "truth", tmp_path / "prediction", tmp_path / "out"


def evaluate(folders: tuple[Path, Path, Path], *more: object) -> Result:
    truth, prediction, out = folders
    arguments = ("evaluate", "-r", truth, "-p", prediction, "-o", out, *more)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def events(out: Path, *kinds: str) -> list[str]:
    return [line["case"] for line in manifest_lines(out) if line["event"] in kinds]


def test_a_changed_file_is_worked_on_again_and_no_other(folders: tuple[Path, Path, Path]) -> None:
    truth, _, out = folders
    assert evaluate(folders, "-q").exit_code == 0
    write_image(truth / "B.nii.gz", np.ones((6, 20, 18), np.uint8))
    assert evaluate(folders, "-q").exit_code == 0
    assert events(out, "started") == ["A", "B", "C", "B"]
    (truth / "A.nii.gz").write_text("broken")
    assert evaluate(folders, "-q").exit_code == 1
    assert evaluate(folders, "-q").exit_code == 1, "it is told again, though not tried again"
    assert events(out, "started") == ["A", "B", "C", "B", "A"]
    assert evaluate(folders, "-q", "--retry").exit_code == 1
    assert events(out, "failed") == ["A", "A"]


def test_other_settings_are_refused(folders: tuple[Path, Path, Path]) -> None:
    assert evaluate(folders, "-q").exit_code == 0
    again = evaluate(folders, "-q", "--labels", "flare22")
    assert again.exit_code == 2 and "labels None, now flare22" in again.stderr


def test_two_runs_do_not_share_a_folder(folders: tuple[Path, Path, Path]) -> None:
    from networks.locks import locked

    with locked(folders[2] / ".keyslice-run"):
        refused = evaluate(folders, "-q")
    assert refused.exit_code == 2 and "another process at it" in refused.stderr
    assert evaluate(folders, "-q").exit_code == 0


def test_a_refused_run_leaves_nothing(folders: tuple[Path, Path, Path]) -> None:
    refused = evaluate(folders, "--labels", "flare99", "--jobs", 2)
    assert refused.exit_code == 2 and "flare99" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert not folders[2].exists()


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


def test_a_volume_that_ends_its_worker_twice_is_set_aside(folders: tuple[Path, Path, Path]) -> None:
    """Once it takes too long, once its worker is killed."""
    truth, prediction, out = folders
    for part in (truth, prediction):  # one that a worker is at for more than a moment
        (part / "A.nii.gz").unlink()
        write_huge(part / "A.mha", 1000, labels=True)

    def stop_then_kill() -> None:
        for attempt, number in ((1, signal.SIGSTOP), (2, signal.SIGKILL)):
            mark, until = out / ".keyslice-run" / "attempts" / f"A.{attempt}", time.monotonic() + 200
            while not mark.exists() and time.monotonic() < until:
                time.sleep(0.005)
            for engine in engines_of(psutil.Process()):
                engine.send_signal(number)

    with meanwhile(stop_then_kill):
        result = evaluate(folders, "--time-limit", "4s")
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert "A.mha: found a volume that ended its worker 2 times" in line
    assert "(more than 4 s, then its process was ended by SIGKILL)" in line
    assert sorted(events(out, "done")) == ["B", "C"] and events(out, "died") == ["A", "A"]
    assert events(out, "started") == ["A", "B", "C", "A"], "the others need not wait for the second attempt"
    assert not list((out / ".keyslice-run" / "attempts").iterdir())
    for part in (truth, prediction):
        (part / "A.mha").unlink()
        shutil.copy(part / "B.nii.gz", part / "A.nii.gz")
    assert evaluate(folders, "-q").exit_code == 0, "another file is another chance"


def test_attempts_are_counted_wherever_they_are_made(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        begin_attempt(tmp_path, "A")  # a worker that does not see the folder
    forget_all(tmp_path)
    assert [begin_attempt(tmp_path, "A") for _ in range(3)] == [1, 2, None]
    assert begin_attempt(tmp_path, "B") == 1
    assert (attempts(tmp_path, "A"), attempts(tmp_path, "B")) == (2, 1)
    forget(tmp_path, "A")
    assert begin_attempt(tmp_path, "A") == 1


def test_a_line_that_was_cut_off_is_forgotten(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.begin("segment", {"model": "x"})
    manifest.started("A", {})
    with (tmp_path / "manifest.jsonl").open("a") as file:
        file.write('{"event": "done", "case": "A"')
    again = Manifest(tmp_path)
    assert again.records["A"].done is None
    again.failed("A", "no")
    assert Manifest(tmp_path).records["A"].failed == "no"
    (tmp_path / "manifest.jsonl").write_text("[1]\n")
    with pytest.raises(InputError):
        Manifest(tmp_path)


def test_results_of_others_are_never_replaced(tmp_path: Path, fake_propagator: type) -> None:
    from tests.tools.conftest import make_case

    files = make_case(tmp_path, "cts/A.nii.gz", "keys/A.nii.gz")
    out = tmp_path / "out"
    out.mkdir()
    (out / "A.nii.gz").write_bytes(b"mine")
    arguments = ["propagate", "-i", files.ct.parent, "-k", files.keys.parent, "-o", out]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 1 and "--overwrite" in result.stderr
    assert (out / "A.nii.gz").read_bytes() == b"mine"
    # Begun, but killed before it was done: what lies there then is the run's own.
    (out / "A.nii.gz").unlink()
    assert CliRunner().invoke(app, [str(argument) for argument in arguments]).exit_code == 0
    lines = (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    started = max(index for index, line in enumerate(lines) if json.loads(line)["event"] == "started")
    (out / "manifest.jsonl").write_text("".join(lines[: started + 1]))
    (out / "A.nii.gz").write_bytes(b"half")
    assert CliRunner().invoke(app, [str(argument) for argument in arguments]).exit_code == 0
    assert (out / "A.nii.gz").read_bytes() != b"half"


def test_progress_says_how_fast_and_how_long(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = Progress(quiet=False, bar=True)
    with progress:
        progress.begin(total=20, kept=3)
        now[0] += 90
        progress.failed()
        progress.done("one")
    assert "[2/20] one; 80 volumes/h, 14 min left" in capsys.readouterr().out
    assert [in_words(seconds) for seconds in (40, 740, 11_100, 187_200)] == ["40 s", "12 min", "3 h 05 min", "2 d 4 h"]
