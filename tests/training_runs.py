"""What a training leaves behind: its logs, and the same weights whether it was killed on the way or not."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from networks.runs import newest_checkpoint

_ROOT = Path(__file__).resolve().parents[1]
_SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from {module} import train
train(sys.argv[1], data=sys.argv[2], out=sys.argv[3], device="cpu", progress=False)
"""


def logged(run: Path, column: str) -> dict[int, float]:
    """A metric by step, from the logs of all parts of a run."""
    found = {}
    for log in sorted((run / "csv").glob("version_*/metrics.csv")):
        with log.open(newline="") as lines:
            found |= {int(row["step"]): float(row[column]) for row in csv.DictReader(lines) if row.get(column)}
    return found


def assert_same_bits_when_killed(module: str, config: Path, data: Path, folder: Path) -> None:
    """Train to the end, and again killed by signal 9 at the first checkpoint and gone on with: the same bits.

    Args:
        module: whose `train` it is.
        config: of a training named `tiny`.
        data: the data set's folder.
        folder: an empty one, for both runs.
    """

    def start(out: Path) -> subprocess.Popen:
        command = [sys.executable, "-c", _SCRIPT.format(module=module), str(config), str(data), str(out)]
        environment = {**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    whole, cut = start(folder / "whole"), start(folder / "cut")
    deadline = time.monotonic() + 240
    while newest_checkpoint(folder / "cut" / "checkpoints") is None:
        assert cut.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
        time.sleep(0.01)
    cut.send_signal(signal.SIGKILL)
    cut.wait()
    assert not (folder / "cut" / "tiny.safetensors").exists()
    assert start(folder / "cut").wait(240) == whole.wait(240) == 0
    assert (folder / "cut" / "csv" / "version_1").is_dir(), "the second part was logged beside the first"
    expected, found = load_file(folder / "whole" / "tiny.safetensors"), load_file(folder / "cut" / "tiny.safetensors")
    assert set(expected) == set(found)
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name
