"""The command itself: quick help, one-line errors, exit status."""

from __future__ import annotations

import errno
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tools.cli import app
from tools.errors import as_input_error
from volumes.errors import InputError

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "monai", "SimpleITK", "skimage", "albumentations", "matplotlib", "lightning", "cv2")


def test_help_answers_within_a_second_and_imports_nothing_heavy() -> None:
    code = f"import sys, tools.cli; print([m for m in {HEAVY} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    # Processor seconds: the machine may be busy with something else.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = subprocess.run(
        [sys.executable, "-m", "tools.cli", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0
    for command in ("propagate", "segment", "annotate", "pseudo-label", "evaluate", "info", "labels", "train"):
        assert command in shown.stdout


COMMANDS = ["propagate", "segment", "annotate", "pseudo-label", "evaluate", "info", "labels"]
TRAIN = ["propagation", "reference", "cps", "rounds", "baseline3d"]


@pytest.mark.parametrize("command", [*([name] for name in COMMANDS), *(["train", name] for name in TRAIN)])
def test_every_command_has_help(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "--help" in result.stdout


def test_labels_lists_the_built_in_tables() -> None:
    result = CliRunner().invoke(app, ["labels"])
    assert result.exit_code == 0
    assert "flare22" in result.stdout.splitlines()


def test_labels_of_a_table_as_json() -> None:
    result = CliRunner().invoke(app, ["labels", "flare22", "--json"])
    rows = json.loads(result.stdout)
    assert [row["value"] for row in rows] == list(range(1, 14))
    assert rows[0]["name"] == "liver"


def test_labels_of_a_table_for_people() -> None:
    result = CliRunner().invoke(app, ["labels", "flare22"])
    assert result.exit_code == 0
    assert "liver" in result.stdout


def test_unknown_table_is_one_line_and_status_2() -> None:
    result = CliRunner().invoke(app, ["labels", "nothing_like_it"])
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert "nothing_like_it" in result.stderr


def test_info_json_has_the_promised_shape() -> None:
    result = CliRunner().invoke(app, ["info", "--json"])
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["models"]["propagation/paper"] == {"parameters": 54416065, "weights": None}
    assert found["models"]["propagation/stcn"]["parameters"] == 54434180
    assert found["models"]["propagation/small"]["parameters"] <= 12_000_000
    assert found["models"]["reference/paper"] == {"parameters": 117597362, "weights": None}
    assert found["models"]["reference/small"]["parameters"] <= 12_000_000
    assert found["devices"][0]["name"] == "cpu"
    assert found["versions"]["torch"]


def test_info_for_people() -> None:
    result = CliRunner().invoke(app, ["info"])
    assert result.exit_code == 0
    assert "54,416,065" in result.stdout and "117,597,362" in result.stdout


def test_train_refuses_missing_data(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app,
        [
            "train",
            "propagation",
            "--config",
            "small",
            "--data",
            str(tmp_path / "none"),
            "--out",
            str(tmp_path),
        ],
    )
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1


def test_train_refuses_a_setting_without_a_value(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app,
        [
            "train",
            "propagation",
            "--config",
            "small",
            "--data",
            str(tmp_path),
            "--out",
            str(tmp_path),
            "--set",
            "steps",
        ],
    )
    assert result.exit_code == 2
    assert "--set steps" in result.stderr


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "out.nii.gz"), "out.nii.gz: found a full disk"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), "a/b: found no permission"),
        (OSError(errno.EIO, "Input/output error", "x"), "x: found Input/output error"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 GiB"), "not enough memory"),
    ],
)
def test_errors_of_the_machine_become_one_line(error: BaseException, part: str) -> None:
    found = as_input_error(error)
    assert isinstance(found, InputError)
    assert part in str(found)
    assert "\n" not in str(found)


def test_a_bug_is_not_dressed_up() -> None:
    assert as_input_error(KeyError("x")) is None
    assert as_input_error(RuntimeError("shapes do not match")) is None


def test_interrupt_is_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tools.labels.labels_command", stop)
    result = CliRunner().invoke(app, ["labels"])
    assert result.exit_code == 130
    assert "Traceback" not in result.stderr
