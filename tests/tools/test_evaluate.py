"""`keyslice evaluate`: matching by name, the JSON's shape, the CSV, failed cases."""

import csv
import json

import numpy as np
import pytest

from tools.evaluate import evaluate, evaluate_command
from volumes.errors import InputError
from volumes.formats import write_label_map
from volumes.label_map import LabelMap
from volumes.labels import LabelTable
from volumes.volume import Geometry


def write(path, *, shift=0, shape=(10, 20, 18), liver=True, value=1):
    array = np.zeros(shape, np.uint8)
    if liver:
        array[2:8, 4:14, 3 + shift : 12 + shift] = value
    path.parent.mkdir(exist_ok=True)
    table = LabelTable.read("flare22")
    write_label_map(LabelMap(array, Geometry.axial(shape, (2.0, 1.0, 1.0)), table), path)
    return path


@pytest.fixture
def folders(tmp_path):
    """Case A is perfect, B is one voxel off, C has no prediction; D has no truth."""
    truth, prediction = tmp_path / "truth", tmp_path / "prediction"
    for case in "ABC":
        write(truth / f"CASE_{case}.nii.gz")
    write(prediction / "CASE_A.nii.gz")
    write(prediction / "CASE_B.nrrd", shift=1)
    write(prediction / "CASE_D.nii.gz")
    (prediction / "notes.txt").write_text("not an image")
    return truth, prediction


def test_two_files_give_the_json_shape_of_the_documentation(tmp_path):
    truth, prediction = write(tmp_path / "t" / "CASE.nii.gz"), write(tmp_path / "p" / "other.nii.gz", shift=1)
    result = evaluate(truth, prediction, "flare22")
    liver = result["cases"]["CASE"]["liver"]
    assert liver == {"dsc": round(2 * 8 / 18, 4), "nsd": 1.0}
    assert result["mean"]["liver"] == liver
    assert set(result["cases"]["CASE"]) == set(LabelTable.read("flare22").names())
    assert set(result["mean"]) == {*LabelTable.read("flare22").names(), "all"}
    assert result["mean"]["all"]["dsc"] == pytest.approx((12 + liver["dsc"]) / 13, abs=1e-6)
    assert result["failed"] == {}
    assert result["tolerances_mm"]["liver"] == 5
    assert json.loads(json.dumps(result)) == result


def test_folders_match_by_name_and_a_missing_prediction_fails_alone(folders):
    result = evaluate(*folders, "flare22")
    assert list(result["cases"]) == ["CASE_A", "CASE_B"]
    assert result["cases"]["CASE_A"]["liver"]["dsc"] == 1.0
    assert list(result["failed"]) == ["CASE_C"]
    assert "CASE_C" in result["failed"]["CASE_C"]
    assert any("CASE_D" in note for note in result["notes"])
    means = [result["cases"][case]["liver"]["dsc"] for case in ("CASE_A", "CASE_B")]
    assert result["mean"]["liver"]["dsc"] == pytest.approx(np.mean(means))


def test_without_a_table_only_what_occurs_counts(tmp_path):
    truth, prediction = write(tmp_path / "t.nrrd"), write(tmp_path / "p.nrrd", value=9)
    result = evaluate(truth, prediction)
    assert result["cases"]["t"] == {
        "liver": {"dsc": 0.0, "nsd": 0.0},
        "gallbladder": {"dsc": 0.0, "nsd": 0.0},
    }


def test_a_default_tolerance_is_said(tmp_path):
    table = tmp_path / "table.yaml"
    table.write_text("labels: {1: thing}")
    truth = write(tmp_path / "t.nii.gz")
    result = evaluate(truth, truth, table)
    assert result["tolerances_mm"] == {"thing": 2.0}
    assert any("2 mm by default" in note and "thing" in note for note in result["notes"])


def test_labels_that_the_table_lacks_are_said(tmp_path):
    table = tmp_path / "table.yaml"
    table.write_text("labels: {1: {name: thing, tolerance_mm: 2}}")
    truth = write(tmp_path / "t.nii.gz", value=7)
    result = evaluate(truth, truth, table)
    assert any("not scored: [7]" in note for note in result["notes"])


def test_command_writes_json_and_csv_prints_a_table_and_exits_with_1(folders, tmp_path, capsys):
    json_path, csv_path = tmp_path / "out.json", tmp_path / "out.csv"
    assert evaluate_command(*folders, "flare22", json_path, csv_path) == 1
    result = json.loads(json_path.read_text(encoding="utf-8"))
    assert {"cases", "mean"} <= set(result)
    with csv_path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"case": "CASE_A", "structure": "liver", "dsc": "1.0", "nsd": "1.0"}
    assert len(rows) == 2 * 13 + 14
    printed = capsys.readouterr()
    assert "liver" in printed.out
    assert "CASE_C" in printed.err
    assert printed.err.count("\n") == 1


def test_command_is_quiet_and_exits_with_0_when_all_went_well(tmp_path, capsys):
    truth = write(tmp_path / "t.nii.gz")
    assert evaluate_command(truth, truth, quiet=True) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("broken", ["grid", "no image"])
def test_a_broken_case_fails_and_the_others_go_on(folders, broken):
    truth, prediction = folders
    if broken == "grid":
        write(prediction / "CASE_C.nii.gz", shape=(10, 20, 19))
    else:
        (prediction / "CASE_C.nii.gz").write_bytes(b"not an image")
    result = evaluate(truth, prediction)
    assert list(result["cases"]) == ["CASE_A", "CASE_B"]
    assert "\n" not in result["failed"]["CASE_C"]


def test_bad_arguments_end_in_one_line(folders, tmp_path):
    truth, prediction = folders
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments in (
        (tmp_path / "nowhere", prediction),
        (truth, prediction / "CASE_A.nii.gz"),
        (empty, prediction),
        (truth, prediction, "no_such_table"),
    ):
        with pytest.raises(InputError) as caught:
            evaluate(*arguments)
        assert "\n" not in str(caught.value)
    write(truth / "CASE_A.nrrd")
    with pytest.raises(InputError, match="two files for the case CASE_A"):
        evaluate(truth, prediction)
