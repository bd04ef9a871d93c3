"""The propagation benchmark: classical tools, data sets, records that survive a kill, results."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from tools.benchmark import model
from tools.benchmark.classical import TOOLS
from tools.benchmark.datasets import find_sets, structures_of
from tools.benchmark.key_slices import choose_key_slices, key_slices_for
from tools.benchmark.propagation import run as bench
from tools.benchmark.propagation.results import Record, RecordFile
from tools.benchmark.propagation.run import run
from volumes.errors import InputError
from volumes.formats import read_label_map
from volumes.metrics import dice

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data"
CLASSICAL = ("nearest", "shape", "shape+ends")


def ellipsoid(shape=(21, 34, 30)):
    """A slanted ellipsoid that fills its slices from the first to the last."""
    z, y, x = np.indices(shape).astype(float)
    z = (z - (shape[0] - 1) / 2) / (shape[0] / 2)
    y = (y - 15 - 3 * z) / 12
    x = (x - 14 - 4 * z) / 9
    return z**2 + y**2 + x**2 <= 1


def filled(tool, mask, n):
    slices = choose_key_slices(mask, n)
    given = np.zeros_like(mask)
    given[slices] = mask[slices]
    return TOOLS[tool](given, slices), slices


def skip_without_itk(name):
    if name.startswith("morphological"):
        pytest.importorskip("itk", reason="the extra `benchmark` is not installed")


@pytest.mark.parametrize("name", TOOLS)
@pytest.mark.parametrize("n", [1, 3, 5])
def test_key_slices_stay_as_given_and_the_rest_resembles_the_shape(name, n):
    skip_without_itk(name)
    mask = ellipsoid()
    result, slices = filled(name, mask, n)
    assert result.dtype == bool
    assert np.array_equal(result[slices], mask[slices])
    if n > 1:
        inner = slice(slices[0], slices[-1] + 1)
        assert dice(mask[inner], result[inner]) > 0.85


def test_interpolation_beats_copying_on_a_smooth_shape():
    mask = ellipsoid()
    scores = {name: dice(mask, filled(name, mask, 5)[0]) for name in CLASSICAL}
    assert scores["shape+ends"] > scores["shape"] > scores["nearest"] + 0.01
    inner = slice(choose_key_slices(mask, 5)[0], choose_key_slices(mask, 5)[-1] + 1)
    plain = filled("shape", mask, 5)[0]
    assert dice(mask[inner], plain[inner]) > dice(mask[inner], filled("nearest", mask, 5)[0][inner]) + 0.015


def test_interpolators_leave_the_ends_empty_unless_told_to_copy():
    mask = ellipsoid()
    plain, slices = filled("shape", mask, 3)
    assert not plain[: slices[0]].any()
    assert not plain[slices[-1] + 1 :].any()
    extended, _ = filled("shape+ends", mask, 3)
    assert np.array_equal(extended[0], mask[slices[0]])
    assert np.array_equal(extended[-1], mask[slices[-1]])


def test_nearest_copy_takes_the_lower_key_slice_at_a_tie():
    given = np.zeros((5, 2, 2), bool)
    given[0, 0, 0] = given[4, 1, 1] = True
    assert TOOLS["nearest"](given, [0, 4])[2].tolist() == given[0].tolist()


def test_placement_of_key_slices():
    mask = np.ones((12, 3, 3), bool)
    assert choose_key_slices(mask, 3) == [3, 5, 8]  # thirds 2.75, 5.5 (the lower one at a tie), 8.25
    mask[:, 1:] = False
    mask[7] = True
    assert choose_key_slices(mask, 1) == [7]  # a single one has the largest area
    mask[3] = False
    assert choose_key_slices(mask, 3) == [2, 5, 8]  # never an empty slice
    assert choose_key_slices(np.ones((5, 3, 3), bool), 8) == [0, 1, 2, 3, 4]


def write_case(folder, name, *, seed=0):
    """Two ellipsoids and a structure too small to count, as `name` in a folder in nnU-Net raw layout."""
    labels = np.zeros((26, 40, 64), np.uint8)
    labels[3:24, 3:37, 1:31][ellipsoid()] = 1
    labels[2:17, 3:37, 33:63][ellipsoid((15, 34, 30))] = 2
    labels[0:4, 0:3, 0:3] = 3
    image = np.where(labels > 0, 60, -100).astype(np.int16)
    image += np.random.default_rng(seed).integers(-20, 20, image.shape, np.int16)
    for part, array, ending in (("imagesVal", image, "_0000"), ("labelsVal", labels, "")):
        (folder / part).mkdir(parents=True, exist_ok=True)
        picture = sitk.GetImageFromArray(array)
        picture.SetSpacing((1.0, 1.0, 2.0))
        sitk.WriteImage(picture, str(folder / part / f"{name}{ending}.nii.gz"))


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data" / "my_set"
    for seed, name in enumerate(("CASE_1", "CASE_2")):
        write_case(folder, name, seed=seed)
    described = {"labels": {"background": 0, "egg": 1, "pear": 2, "crumb": 3}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder


class NearestPropagator:
    """Stands in for the network: copies the nearest key slice, one slice too far where there is no mark."""

    def propagate(self, volume, key_slices, extents=None, progress=None):
        labels = np.zeros(volume.shape, np.uint8)
        for label in key_slices.labels:
            keys = key_slices.slices_of(label)
            first, last = extents[label] if extents else (0, volume.shape[0] - 1)
            for z in range(first, last + 1):
                nearest = min(keys, key=lambda key: abs(key - z))
                labels[z][key_slices.mask(nearest) == label] = label
        return SimpleNamespace(labels=labels)


@pytest.fixture
def nearest_model(monkeypatch):
    monkeypatch.setattr(model, "load", lambda spec: NearestPropagator())
    monkeypatch.setattr(model, "digest", lambda spec: "abc")


def test_small_structures_do_not_count_and_names_come_from_the_set(data):
    (found,) = find_sets(data)
    structures = structures_of(found.cases[0], read_label_map(found.cases[0].labels))
    assert [(one.name, one.extent) for one in structures] == [("egg", (3, 23)), ("pear", (2, 16))]


def test_each_key_slice_speaks_only_for_the_structures_it_was_chosen_for(data):
    (found,) = find_sets(data)
    label_map = read_label_map(found.cases[0].labels)
    structures = structures_of(found.cases[0], label_map)
    keys = key_slices_for(label_map.shape, structures, 3)
    for one in structures:
        own = [one.extent[0] + z for z in choose_key_slices(one.mask, 3)]
        assert keys.slices_of(one.label) == own
        for z in own:
            assert np.array_equal(keys.mask(z) == one.label, label_map.array[z] == one.label)


def test_results_are_saved_in_four_forms(data, tmp_path, nearest_model, capsys):
    out = tmp_path / "out"
    summary = run(data, out=out, methods=["keyslice", "keyslice-no-marks", *CLASSICAL], counts=[1, 3])
    one = summary["my_set"]
    assert one["structures"] == 4
    assert one["dice"]["keyslice"] == one["dice"]["nearest"]  # the same by construction
    assert one["dice"]["keyslice-no-marks"]["3"] < one["dice"]["keyslice"]["3"]
    assert one["beyond"]["keyslice"]["3"] == 0.0
    assert 0.1 < one["beyond"]["keyslice-no-marks"]["3"] < 0.6
    assert "1" not in one["dice"]["shape"]
    assert one["targets"]["1"] == 0.0
    assert one["targets"]["3"] <= 0.0
    assert set(one["by_structure"]) == {"egg", "pear"}
    saved = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert saved["sets"] == summary
    with (out / "structures.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 4 * 9  # shape-based has nothing from one slice
    assert "| my_set | 4 | Keyslice |" in (out / "results.md").read_text(encoding="utf-8")
    assert (out / "curve.png").read_bytes()[:4] == b"\x89PNG"
    assert "my_set" in capsys.readouterr().out


def test_a_run_resumes_and_computes_nothing_twice(data, tmp_path, monkeypatch):
    out = tmp_path / "out"
    calls = []
    original = bench._classical

    def interrupted(case, one, method, n):
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append((case.name, one.label, method, n))
        return original(case, one, method, n)

    monkeypatch.setattr(bench, "_classical", interrupted)
    settings = {"methods": ["nearest", "shape"], "counts": [1, 3], "out": out, "quiet": True}
    with pytest.raises(KeyboardInterrupt):
        run(data, **settings)
    lines = (out / "structures.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4  # the method that was under way is lost, those before it are kept
    with (out / "structures.jsonl").open("a") as file:
        file.write('{"set": "my_set", "ca')  # killed while writing
    del calls[:]
    monkeypatch.setattr(bench, "_classical", lambda *job: calls.append(job) or original(*job))
    resumed = run(data, **settings)
    assert len(calls) == 4 * 3 - 4
    del calls[:]
    assert run(data, **settings) == resumed
    assert calls == []
    fresh = run(data, **{**settings, "out": tmp_path / "fresh"})
    assert fresh["my_set"]["dice"] == resumed["my_set"]["dice"]


def test_results_of_other_weights_are_told_apart(data, tmp_path, nearest_model, monkeypatch):
    settings = {"methods": ["keyslice"], "counts": [3], "out": tmp_path / "out", "quiet": True, "limit": 1}
    run(data, **settings)
    monkeypatch.setattr(model, "digest", lambda spec: "def")
    summary = run(data, **settings)
    assert summary["my_set"]["structures"] == 2
    lines = (tmp_path / "out" / "structures.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["model"] for line in lines] == ["abc", "abc", "def", "def"]


def test_several_processes_give_the_same(data, tmp_path):
    settings = {"methods": ["nearest", "shape"], "counts": [3], "quiet": True}
    alone = run(data, out=tmp_path / "one", **settings)
    together = run(data, out=tmp_path / "two", jobs=2, **settings)
    assert alone["my_set"]["dice"] == together["my_set"]["dice"]


def test_record_file_drops_a_torn_line_and_keeps_the_rest(tmp_path):
    store = RecordFile(tmp_path / "records.jsonl")
    record = Record("s", "c", 1, "egg", "nearest", 3, 0.5, 0.0, 0.1, (1, 2, 3))
    store.append([record])
    with store.path.open("a") as file:
        file.write('{"torn')
    again = RecordFile(store.path)
    assert list(again.records.values()) == [record]
    again.append([record])
    assert len(store.path.read_text(encoding="utf-8").splitlines()) == 2


@pytest.mark.parametrize(
    "options",
    [
        ["--data", "nowhere"],
        ["--sets", "no_such_set"],
        ["--methods", "magic"],
        ["--slices", "one"],
        ["--slices", "0"],
    ],
)
def test_bad_options_end_in_one_line_and_status_2(data, tmp_path, options):
    command = [sys.executable, "-m", "tools.benchmark", "propagation", "--out", str(tmp_path / "out")]
    command += [] if "--data" in options else ["--data", str(data)]
    command += [] if "--methods" in options else ["--methods", "nearest"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_folders_that_are_no_data_set_are_refused(tmp_path):
    with pytest.raises(InputError, match="no data set"):
        find_sets(tmp_path)
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="three layouts"):
        find_sets(tmp_path, ["other"])


def test_held_back_sarcomas_are_those_above_20(tmp_path):
    for number in (3, 20, 23):
        for part in ("images", "labels"):
            (tmp_path / "sarcoma" / part).mkdir(parents=True, exist_ok=True)
            (tmp_path / "sarcoma" / part / f"STS_{number:03d}.nii.gz").touch()
    held_back, every = find_sets(tmp_path, ["sarcoma", "sarcoma-all"])
    assert [case.name for case in held_back.cases] == ["STS_023"]
    assert len(every.cases) == 3


@pytest.mark.skipif(not DATA.is_dir(), reason="no real CT at ../shared/data")
def test_published_figures_of_the_classical_tools_on_all_sarcomas(tmp_path):
    summary = run(DATA, sets=["sarcoma-all"], methods=["nearest", "shape"], out=tmp_path, quiet=True)
    scores = summary["sarcoma-all"]["dice"]
    assert summary["sarcoma-all"]["structures"] == 16
    assert scores["nearest"] == pytest.approx({"1": 0.721, "3": 0.834, "5": 0.898, "8": 0.935}, abs=0.0006)
    assert scores["shape"] == pytest.approx({"3": 0.813, "5": 0.910, "8": 0.952}, abs=0.0006)
