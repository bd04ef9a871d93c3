"""`kill -9` at random moments: whatever was acknowledged is there."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from tests.tools.annotate.killed_session import SHAPE, act, open_store
from tools.annotate.document import Document

KILLS = 6


def test_acknowledged_actions_survive_kill_9(tmp_path: Path) -> None:
    chance = random.Random(5)
    expected = Document(SHAPE, {1: ("liver", (1, 2, 3)), 2: ("spleen", (4, 5, 6))})
    states = [expected.to_state()]  # by the number of actions
    for _ in range(KILLS):
        command = [sys.executable, "-m", "tests.tools.annotate.killed_session", str(tmp_path / "case")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(chance.randint(1, 25))]
        time.sleep(chance.uniform(0, 0.02))
        process.kill()
        lines += process.stdout.read().splitlines(keepends=True)
        process.wait()
        acknowledged = int([line for line in lines if line.endswith("\n")][-1])

        store, document = open_store(tmp_path / "case")
        with store:
            while len(states) <= document.revision:
                act(expected, len(states))
                states.append(expected.to_state())
            assert document.revision in (acknowledged, acknowledged + 1), "the one under way may be there"
            assert document.to_state() == states[document.revision]
            assert all("dropped" in notice for notice in store.notices)
    assert len(states) > KILLS
