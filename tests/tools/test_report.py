"""Times, memory and confidence as they stand in the report."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from tools.files import write_json
from tools.report import Stopwatch, describe_labels, peak_memory, why_lines
from volumes.key_slices import KeySlices
from volumes.label_map import LabelMap
from volumes.labels import LabelTable
from volumes.volume import Geometry


def label_map(array: np.ndarray) -> LabelMap:
    return LabelMap(array, Geometry.axial(array.shape, (2.0, 1.0, 1.0)), LabelTable.read("flare22"))


def test_lists_of_numbers_stay_on_one_line(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, -3e-9], "b": ["[ 1, 2 ]", "x"], "c": [[1, 2], [3]], "d": []}
    write_json(tmp_path / "r.json", content)
    text = (tmp_path / "r.json").read_text(encoding="utf-8")
    assert '"a": [1, 2.5, -3e-09],' in text
    assert json.loads(text) == content
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "r.json", {"a": float("nan")})
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8")) == content


def test_stages_add_up_and_survive_an_error() -> None:
    watch = Stopwatch()
    with watch.stage("read"):
        time.sleep(0.01)
    with watch.stage("read"):
        time.sleep(0.01)
    with pytest.raises(ValueError, match="inside"), watch.stage("write"):
        raise ValueError("inside")
    seconds = watch.seconds()
    assert seconds["read"] >= 0.02
    assert list(seconds) == ["read", "write", "total"]
    assert seconds["total"] == pytest.approx(seconds["read"] + seconds["write"], abs=0.002)


def test_peak_memory_sees_an_allocation() -> None:
    before = peak_memory("cpu")["resident_bytes"]
    block = np.ones(200_000_000, np.uint8)
    after = peak_memory("cpu")["resident_bytes"]
    assert before is not None and after is not None
    assert block[-1] == 1
    assert after > 200_000_000
    assert after >= before
    assert peak_memory("cpu")["device_bytes"] is None


def test_confidence_is_judged_between_the_key_slices() -> None:
    array = np.zeros((6, 4, 4), np.uint8)
    array[1:5, :2] = 1
    keys = KeySlices((6, 4, 4))
    keys.add(1, array[1])
    keys.add(4, array[4])
    confidence = {1: np.array([0.0, 1.0, 0.9, 0.5, 1.0, 0.0], np.float32)}
    found = describe_labels(label_map(array), confidence, keys)
    assert found["liver"]["slices"] == [1, 4]
    assert found["liver"]["voxels"] == 32
    assert found["liver"]["confidence"]["mean"] == pytest.approx(0.7)
    assert found["liver"]["confidence"]["lowest"] == pytest.approx(0.5)
    assert found["liver"]["confidence"]["lowest_slice"] == 3


def test_a_label_on_key_slices_alone_has_no_judgement() -> None:
    array = np.zeros((3, 4, 4), np.uint8)
    array[1] = 2
    keys = KeySlices((3, 4, 4))
    keys.add(1, array[1])
    found = describe_labels(label_map(array), {2: np.ones(3, np.float32)}, keys)
    name = LabelTable.read("flare22").name_of(2)
    assert found[name]["confidence"]["mean"] is None
    assert found[name]["confidence"]["per_slice"] == [1.0, 1.0, 1.0]
    assert describe_labels(label_map(array), {}, keys)[name]["confidence"] is None


def test_why_a_slice_is_a_key_slice() -> None:
    def one(z: int, structures: list[str], reason: str) -> dict[str, object]:
        return {"slice": z, "structures": structures, "reason": reason}

    found = why_lines(
        [
            one(3, ["lung", "left_lung"], "left_lung (1 of 2): members agree; lung (as well): they do"),
            one(5, ["lung"], "lung: largest here, 12 pixels"),
            one(9, ["lung", "heart"], "shows lung, heart"),
        ]
    )
    assert found == [
        "key slice 3: left_lung (1 of 2): members agree; also for lung",
        "key slice 5: lung: largest here, 12 pixels",
        "key slice 9: shows lung, heart",
    ]
    many = why_lines([one(z, ["lung"], "shows lung") for z in range(15)], at_most=4)
    assert many[:3] == [f"key slice {z}: shows lung" for z in range(3)]
    assert many[3:] == ["and 12 more key slices: " + ", ".join(map(str, range(3, 15)))]
    assert why_lines([]) == []
