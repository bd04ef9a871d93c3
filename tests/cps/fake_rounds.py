"""Rounds with members that train and predict in no time; run as a program, they can be killed anywhere.

    python fake_rounds.py FOLDER CALLS slowly       with pauses, so that a kill hits a piece in flight
    python fake_rounds.py FOLDER CALLS everywhere   FOLDER/1, FOLDER/2, ...: killed before the first, the second, ...
                                                    change on the disk, then started again; CALLS/1, CALLS/2, ...

The calls file gets a line for each piece of work that is begun.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
import traceback
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from cps.labelling import Labelling, Predict
from cps.round_state import RoundsState
from cps.rounds import Cases, RoundSettings, Task, run_rounds
from cps.selection import AgreementRule
from volumes.errors import InputError
from volumes.label_map import LabelMap
from volumes.labels import LabelTable
from volumes.volume import Geometry

TABLE = LabelTable.default([1, 2])
GEOMETRY = Geometry.axial((3, 8, 10), (3.0, 1.5, 1.5))
NAMES = ("easy_1", "easy_2", "hard_1", "hard_2", "never", "broken")
SETTINGS = RoundSettings(members=3, rounds=5, last_members=1)
RULE = AgreementRule(0.9)
PROGRAM = Path(__file__)


def label_map(member: str, case: str, pseudo_labels: int) -> LabelMap:
    """Easy cases are agreed on at once, hard ones once there are pseudo-labels, the last one never."""
    array = np.zeros(GEOMETRY.shape_dhw, np.uint8)
    array[:, 2:6, 2:6] = 1
    array[1, 6:, 6:] = 2
    if case.startswith("never") or (case.startswith("hard") and not pseudo_labels):
        rng = np.random.default_rng(zlib.crc32(f"{member} {case}".encode()))
        array[rng.random(array.shape) < 0.4] = 0
    return LabelMap(array, GEOMETRY, TABLE, case)


class Fakes:
    """What the engine is given; `log` is called with every piece of work, `pause` in the midst of it."""

    def __init__(self, calls: Path, pause: float = 0.0) -> None:
        self.calls, self.pause = calls, pause

    def begin(self, *what: object) -> None:
        with self.calls.open("a", encoding="utf-8") as file:
            file.write(" ".join(str(one) for one in what) + "\n")
        time.sleep(self.pause)

    def train_member(self, task: Task) -> Path:
        assert all(one.path.is_file() for one in task.pseudo.values())
        assert (task.before is None) == (task.round == 1)
        self.begin("train", task.round, task.member, len(task.pseudo))
        task.folder.mkdir(parents=True, exist_ok=True)
        weights = task.folder / "fake.safetensors"
        weights.write_text(f"{task.round} {task.member} {len(task.pseudo)}")
        return weights

    def trained(self, folder: Path, count: int = 3) -> list[Path]:
        """Weights of members that were trained elsewhere."""
        return [self.train_member(Task(1, m, {}, folder / f"member_{m}", None)) for m in range(1, count + 1)]

    def open_member(self, weights: Path) -> Predict:
        number, member, pseudo = weights.read_text(encoding="utf-8").split()

        def predict(case: str) -> LabelMap:
            self.begin("predict", number, member, case)
            if case == "broken":
                raise InputError(case, found="half a file", expected="a CT", fix="copy it again")
            return label_map(member, case, int(pseudo))

        return predict

    def validate(self, weights: Path) -> float:
        number, member, pseudo = weights.read_text(encoding="utf-8").split()
        self.begin("validate", number, member)
        return 0.5 + 0.1 * int(pseudo) + 0.001 * int(member)


def run(folder: Path, fakes: Fakes, settings: RoundSettings = SETTINGS, **changes: Any) -> RoundsState:
    """The rounds of this file; `changes` replace what the engine is given."""
    names = changes.pop("names", NAMES)
    cases = Cases(("L1", "L2"), {name: Path("/images") / f"{name}.nii.gz" for name in names}, {1: "one", 2: "two"})
    labelling = Labelling(changes.pop("open_member", fakes.open_member), changes.pop("rule", RULE), lambda line: None)
    given = {"train_member": fakes.train_member, "validate": fakes.validate, **changes}
    return run_rounds(folder, cases, settings, labelling, **given)


def few(folder: Path, calls: Path) -> RoundsState:
    """Rounds of few pieces."""
    settings = RoundSettings(members=2, rounds=3, last_members=1)
    return run(folder, Fakes(calls), settings, names=("broken", "easy_1", "hard_1", "never"))


def _die_before(count: int) -> None:
    """Kill this process before the `count`-th time that it makes a change last: fsync or replace.

    fsync itself is left out: it takes most of the time, and what it does matters where the power fails alone. That of
    a folder changes nothing else.
    """
    calls = 0

    def counted(real: Any) -> Any:
        def change(*arguments: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **more)

        return change

    nothing = counted(lambda file: None)
    os.fsync = lambda file: None if stat.S_ISDIR(os.fstat(file).st_mode) else nothing(file)
    os.replace = counted(os.replace)


def _in_a_process_of_its_own(work: Any) -> int:
    """How the process ended: 0, or the signal. Forked, since importing everything anew would take most of the time."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def everywhere(folder: Path, calls: Path) -> None:
    """Kill the rounds before every change that they make, and let them come to their end."""
    count = 0
    while True:
        count += 1
        place, log = folder / str(count), calls / str(count)

        def killed(place: Path = place, log: Path = log, count: int = count) -> None:
            _die_before(count)
            few(place, log)

        if _in_a_process_of_its_own(killed) == 0:
            return  # fewer changes than `count`: it came to its end unharmed
        def unharmed(place: Path = place, log: Path = log) -> None:
            _die_before(0)  # never
            few(place, log)

        assert _in_a_process_of_its_own(unharmed) == 0


def calls_of(path: Path) -> list[str]:
    """Lines of a calls file."""
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def start(folder: Path, calls: Path, how: str) -> subprocess.Popen[bytes]:
    """This file as a program."""
    arguments = [sys.executable, str(PROGRAM), str(folder), str(calls), how]
    return subprocess.Popen(arguments, cwd=PROGRAM.parents[2], env={"PYTHONPATH": str(PROGRAM.parents[2])})


if __name__ == "__main__":
    target, record = Path(sys.argv[1]), Path(sys.argv[2])
    if sys.argv[3] == "everywhere":
        everywhere(target, record)
    else:
        run(target, Fakes(record, pause=0.05))
