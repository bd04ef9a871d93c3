"""`keyslice pseudo-label`: from rounds, and from members and a folder of CT, to a data set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from cps.round_state import RoundsState
from cps.selection import CaseScores, Verdict
from reference_module.models import InputSettings, build_pair, save_pair
from tests.tools.pairs import twin
from tools.cli import app
from volumes.datasets import read_dataset
from volumes.formats import read_label_map, read_volume, write_label_map
from volumes.label_map import LabelMap
from volumes.labels import LabelTable

TRANSUNET = {"layers": [1, 1, 1], "stem": 8, "hidden": 32, "depth": 1, "heads": 2, "mlp": 32, "head": 16, "grid": 2}
DEEPLAB = {"encoder": "tu-resnet18", "depth": 4, "channels": 16, "encoder_settings": {"channels": [8, 16, 16, 16]}}
TINY = {
    "network": {
        "first": {"kind": "transunet", "decoder": [16, 16, 8, 8], **TRANSUNET},
        "second": {"kind": "deeplabv3plus", **DEEPLAB},
    }
}
TABLE = LabelTable.default([1, 2])


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["pseudo-label", *(str(argument) for argument in arguments)])


def pair(path: Path, seed: int, table: LabelTable = TABLE) -> Path:
    """Weights of a pair that was never trained: it labels everything, and each seed in its own way."""
    torch.manual_seed(seed)
    network = build_pair(TINY, len(table) + 1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias") and parameter.shape == (len(table) + 1,):
                parameter[1] += 0.1  # else an untrained pair may see background alone
    save_pair(network, path, table, InputSettings(None, "three"))
    return path


@pytest.fixture
def rounds(folders: tuple[Path, Path, Path], tmp_path: Path) -> RoundsState:
    """Rounds that accepted A and rejected B."""
    cts = folders[0]
    state = RoundsState(tmp_path / "rounds")
    images = {"A": str(cts / "A_0000.nii.gz"), "B": str(cts / "B.nrrd")}
    about = {"settings": None, "rule": {"kind": "AgreementRule", "threshold": 0.9}, "labelled": ["L"], "origin": {}}
    state.begin({**about, "structures": {"1": "one", "2": "two"}, "unlabelled": images})
    state.trained(1, 1, state.folder / "weights.safetensors")
    for case, value in (("A", 0.95), ("B", 0.4)):
        volume = read_volume(images[case])
        labels = np.zeros(volume.shape, np.uint8)
        labels[2:5, 4:9, 4:9] = 1
        path = state.pseudo_label(1, case)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_label_map(LabelMap(labels, volume.geometry, TABLE, case), path)
        state.scored(1, CaseScores(case, {"one": (value, value)}, {"one": 75}))
    state.judged(1, {"A": Verdict(True, 0.95, "mean 0.950 exceeds 0.9"), "B": Verdict(False, 0.4, "too low")})
    return state


def test_accepted_cases_of_rounds(rounds: RoundsState, tmp_path: Path) -> None:
    out = tmp_path / "set"
    result = run("--rounds", rounds.folder, "-o", out)
    assert result.exit_code == 0, result.stderr
    assert "1 of 2 cases accepted" in result.stdout
    dataset = read_dataset(out)
    (case,) = dataset.training
    assert case.name == "A" and dataset.table.names() == ("one", "two")
    assert case.label is not None
    assert read_label_map(case.label, like=read_volume(case.image)).present() == (1,)
    assert "| B | no | 0.4000 |" in (out / "report.md").read_text(encoding="utf-8")


def test_members_that_agree_label_a_folder_of_ct(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    cts, out = folders[0], tmp_path / "set"
    one = pair(tmp_path / "one.safetensors", 1)
    same = twin(one)
    result = run("-i", cts, "-o", out, "--weights", one, "--weights", same, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    dataset = read_dataset(out)
    assert [case.name for case in dataset.training] == ["A", "B", "C"]
    for case in dataset.training:
        assert case.label is not None
        labels = read_label_map(case.label, like=read_volume(case.image))
        assert labels.present() and set(labels.present()) <= {1, 2}
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["rule"] == {"kind": "AgreementRule", "threshold": 0.9, "lowest": 0.0}
    assert report["rounds"][0]["cases"]["B"]["accepted"] and report["rounds"][0]["cases"]["B"]["score"] == 1.0


def test_members_that_do_not_agree_make_a_report_and_a_warning(
    folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    weights = [pair(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2)]
    out = tmp_path / "set"
    arguments = [argument for path in weights for argument in ("--weights", path)]
    result = run("-i", folders[0], "-o", out, *arguments, "--threshold", 0.999)
    assert result.exit_code == 0, result.stderr
    assert "0 of 3 cases accepted" in result.stdout and "warning: no case was accepted" in result.stdout
    assert not (out / "dataset.json").exists()
    assert "does not exceed 0.999" in (out / "report.md").read_text(encoding="utf-8")


def test_another_threshold_is_judged_by_the_scores_that_are_there(
    folders: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cps import members

    weights = [pair(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2)]
    arguments = ["-i", folders[0], "-o", tmp_path / "set", *(word for path in weights for word in ("--weights", path))]
    assert "0 of 3 cases accepted" in run(*arguments, "--threshold", 0.999).stdout

    def never(*given: object, **named: object) -> None:
        raise AssertionError("no network is needed")

    monkeypatch.setattr(members.Referencer, "load", never)
    monkeypatch.setattr("reference_module.models.load_exactly", never)
    result = run(*arguments, "--threshold", 0.0)
    assert result.exit_code == 0, result.stderr
    assert "3 of 3 cases accepted" in result.stdout
    assert [case.name for case in read_dataset(tmp_path / "set").training] == ["A", "B", "C"]
    report = json.loads((tmp_path / "set" / "report.json").read_text(encoding="utf-8"))
    assert report["rule"] == {"kind": "AgreementRule", "threshold": 0.0, "lowest": 0.0}


def test_a_case_that_cannot_be_read_is_named_and_the_others_go_on(
    folders: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    cts = folders[0]
    (cts / "B.nrrd").write_bytes(b"not an image")
    one = pair(tmp_path / "one.safetensors", 1)
    result = run("-i", cts, "-o", tmp_path / "set", "--weights", one, "--weights", twin(one), "--quiet")
    assert result.exit_code == 1
    assert [case.name for case in read_dataset(tmp_path / "set").training] == ["A", "C"]
    assert "B.nrrd" in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""


def test_started_again_it_goes_on_with_what_is_there(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    cts, out = folders[0], tmp_path / "set"
    one = pair(tmp_path / "one.safetensors", 1)
    arguments = ("-i", cts, "-o", out, "--weights", one, "--weights", twin(one))
    assert run(*arguments).exit_code == 0
    made = {path: path.stat().st_mtime_ns for path in (out / "labelling").rglob("*.nii.gz")}
    (out / "dataset.json").unlink()  # as if it had been killed before the end
    assert run(*arguments).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "labelling").rglob("*.nii.gz")} == made
    again = run(*arguments)
    assert again.exit_code == 2 and "found a data set" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("-i", "CTS", "--weights", "one.safetensors"), "found 1 member"),
        (("-i", "CTS"), "found no members"),
        ((), "expected --rounds DIR"),
        (("--rounds", "CTS", "--threshold", "0.8"), "--threshold: found --rounds too"),
        (("--rounds", "CTS", "-i", "CTS"), "--input: found --rounds too"),
        (("--rounds", "CTS"), "no rounds.jsonl"),
        (("-i", "nowhere", "--weights", "one.safetensors", "--weights", "one.safetensors"), "no such folder"),
        (("-i", "CTS", "--weights", "one.safetensors", "--weights", "other.safetensors"), "the structures"),
        (("-i", "CTS", *(("--weights", "one.safetensors") * 2)), "the same weights as"),
        (("-i", "CTS", "--weights", "one.safetensors", "--weights", "none.safetensors"), "none.safetensors"),
        (("-i", "CTS", *(("--weights", "one.safetensors") * 2), "--threshold", "90"), "from 0 to 1"),
    ],
)
def test_bad_input_is_told_in_one_line_before_anything_is_written(
    folders: tuple[Path, Path, Path], tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    pair(tmp_path / "one.safetensors", 1)
    pair(tmp_path / "other.safetensors", 1, LabelTable.default([1, 2, 3]))
    places = {"CTS": folders[0], "nowhere": tmp_path / "nowhere"}
    given = [
        places.get(word, tmp_path / word if word.endswith(".safetensors") else word) for word in arguments
    ]
    result = run(*given, "-o", tmp_path / "set")
    assert result.exit_code == 2
    assert told in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "set").exists()
