"""A Dask scheduler that runs already: its workers do the work, and keep nothing of it afterwards."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from tests.tools.batch.many_cases import engines_of, write_cases, write_image
from tools.cli import app
from volumes.formats import read_label_map


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stderr


def test_a_scheduler_that_runs_already(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="needs keyslice[cluster]")
    write_cases(tmp_path, 3)
    keys = tmp_path / "keys"
    write_image(tmp_path / "other" / "P00.nii.gz", 2 * read_label_map(keys / "P00.nii.gz").array)
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", resources={"GPU": 1}
    )
    with cluster:
        address = cluster.scheduler_address
        arguments = ("evaluate", "-r", keys, "-p", keys, "-o", tmp_path / "out", "--cluster", address)
        assert run(*arguments, "--json", tmp_path / "scores.json", "-q") == (0, "")
        assert json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))["mean"]["all"] == {
            "dsc": 1.0,
            "nsd": 1.0,
        }
        engines = engines_of(psutil.Process(), recursive=True)
        psutil.wait_procs(engines, timeout=30)
        assert not [one for one in engines if one.is_running()], "no network is left in its workers' memory"
        status, error = run(*arguments[:-3], tmp_path / "more", "--cluster", address, "--labels", "flare99")
        assert status == 2 and "flare99" in error and not (tmp_path / "more").exists()


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="needs keyslice[cluster]")
    monkeypatch.setattr("tools.batch.clusters.PATIENCE", 1)
    write_cases(tmp_path, 1)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"tcp://127.0.0.1:{deaf.getsockname()[1]}"
        keys = tmp_path / "keys"
        status, error = run("evaluate", "-r", keys, "-p", keys, "-o", tmp_path / "out", "--cluster", address)
    assert status == 2 and f"--cluster {address}: found no scheduler that answers" in error
    assert len(error.strip().splitlines()) == 1 and not (tmp_path / "out").exists()
