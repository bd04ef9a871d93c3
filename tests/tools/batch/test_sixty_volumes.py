"""Sixty volumes on a cluster of two workers, with all that can go wrong: what is left is what a plain run makes.

Three volumes are corrupt, one takes more memory than a worker may have. A worker is killed, then the run itself, which
is started again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.tools.batch.many_cases import engines_of, manifest_lines, write_cases, write_huge, write_image

ROOT = Path(__file__).resolve().parents[3]
GOOD = 56
MEMORY = 1_600_000_000  # an engine with the network and one of these volumes holds 0.7 GB
PATIENCE = 300.0  # seconds; on an idle machine none of the waits takes ten


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """56 good cases, three corrupt ones and one that is too large."""
    folder = tmp_path_factory.mktemp("sixty")
    write_cases(folder, GOOD)
    for name in ("P10x", "P20x", "P30x"):
        whole = folder / "keys" / "P00.nii.gz"
        (folder / "keys" / f"{name}.nii.gz").write_bytes(whole.read_bytes())
    (folder / "cts" / "P10x.nii.gz").write_text("not an image")
    (folder / "cts" / "P20x.nii.gz").write_bytes((folder / "cts" / "P00.nii.gz").read_bytes()[:300])
    write_image(folder / "cts" / "P30x.nii.gz", np.full((5, 32, 32), np.nan, np.float32))
    write_huge(folder / "cts" / "P05x.mha", 4000, labels=False)
    write_huge(folder / "keys" / "P05x.mha", 4000, labels=True)
    return folder


def command(data: Path, out: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "tools.cli", "propagate", "--device", "cpu", "--precision", "float32"),
        *("-i", str(data / "cts"), "-k", str(data / "keys"), "-o", str(out), *more),
    ]


def wait_until(true: Callable[[], Any], run: subprocess.Popen[str]) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def done(out: Path) -> list[str]:
    return [line["case"] for line in manifest_lines(out) if line["event"] == "done"]


def test_sixty_volumes(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs keyslice[cluster]")
    out = tmp_path / "out"
    arguments = command(data, out, "--cluster", "local", "--jobs", "2", "--memory-limit", str(MEMORY))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    kept = {"cwd": ROOT, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    run = subprocess.Popen(arguments, **kept)  # type: ignore[call-overload]
    wait_until(lambda: len(done(out)) >= 12, run)
    workers = [child for child in psutil.Process(run.pid).children(recursive=True) if engines_of(child)]
    assert len(workers) == 2
    for process in (psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)):
        listening = [one.laddr.ip for one in process.net_connections() if one.status == psutil.CONN_LISTEN]
        assert set(listening) <= {"127.0.0.1"}, "nothing listens for other machines"
    workers[0].kill()
    wait_until(lambda: len(done(out)) >= 30, run)
    family = psutil.Process(run.pid).children(recursive=True)
    run.kill()
    assert run.wait() == -signal.SIGKILL
    run.communicate()
    gone, alive = psutil.wait_procs(family, timeout=PATIENCE)
    assert not alive, "no worker outlives its run"

    before = manifest_lines(out)
    finished = {line["case"] for line in before if line["event"] in ("done", "failed")}
    assert 30 <= len(finished) < 60
    last = {line["case"]: line["event"] for line in before if "case" in line}
    in_flight = [case for case, event in last.items() if event == "started"]  # one whose worker died waits for its turn
    assert len(in_flight) <= 2
    again = subprocess.run(arguments, **kept, timeout=2 * PATIENCE)  # type: ignore[call-overload]
    assert again.returncode == 1, again.stderr

    after = manifest_lines(out)
    assert after[: len(before)] == before, "what was written is not touched again"
    started = [line["case"] for line in after[len(before) :] if line["event"] == "started"]
    assert not finished & set(started), "what had come to an end is not worked on again"
    twice = [name for name in set(started) if started.count(name) > 1]
    assert set(twice) <= {"P05x"}, "nothing but what cost a worker is begun twice by one run"

    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert sorted(report["failed"]) == ["P05x", "P10x", "P20x", "P30x"]
    assert "1.6 GB of memory" in report["failed"]["P05x"] and "2 times" in report["failed"]["P05x"]
    for name in ("P10x", "P20x", "P30x"):
        assert f"{name}.nii.gz: found" in report["failed"][name]
        assert f"{name}.nii.gz: found" in again.stderr
    assert len(report["cases"]) == GOOD
    attempts = {line["case"]: line["attempt"] for line in after if line["event"] == "done"}
    assert sum(attempts.values()) <= GOOD + 1, "the killed worker's volume was begun once more, and no other"

    for name in ("P05x.mha", "P10x.nii.gz", "P20x.nii.gz", "P30x.nii.gz"):
        assert not (out / name).exists()
    assert not [path for path in out.glob(".keyslice-*") if path.is_file()], "nothing half-written is left"
    plain = tmp_path / "plain"
    alone = tmp_path / "alone"
    for part in ("cts", "keys"):
        (alone / part).mkdir(parents=True)
        for path in sorted((data / part).glob("P??.nii.gz")):
            (alone / part / path.name).hardlink_to(path)
    serial = subprocess.run(command(alone, plain), **kept, timeout=2 * PATIENCE)  # type: ignore[call-overload]
    assert serial.returncode == 0, serial.stderr
    names = sorted(path.name for path in plain.glob("*.nii.gz"))
    assert len(names) == GOOD
    for name in names:
        assert (out / name).read_bytes() == (plain / name).read_bytes(), name
