"""The confidence benchmark: which slices count, the fit, runs that resume."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from safetensors import safe_open

from propagation_module.calibration import Examples, cross_validated, fit, folds, influence, predict
from propagation_module.checkpoints import build_network, load_calibration, save_weights
from propagation_module.confidence import FEATURES, UNCALIBRATED, Calibration, Evidence
from tools.benchmark import model
from tools.benchmark.confidence import cases as confidence_cases
from tools.benchmark.confidence import run as confidence
from tools.benchmark.confidence.cases import Extent, Measured, Pair, Recorder, counting
from tools.benchmark.confidence.run import Settings, fit_weights, run
from tools.benchmark.datasets import FITTING_SETS, find_sets
from tools.benchmark.lines import LineFile
from volumes.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
SHAPE = (30, 40, 64)


def evidence(label=1, z=0, *, found=True, expected_dice=0.9, **other):
    values = {
        "agreement": None, "follows": 0.9, "shape": 0.8, "sharpness": 0.7, "area": 400.0, "expected_area": 380.0,
        "distance": 6.0, "presence": 0.9, "certain": False,
    }  # fmt: skip
    return Evidence(label, z, found, expected_dice=expected_dice, **{**values, **other})


def test_slices_count_near_truth_or_prediction_but_not_key_slices_nor_beyond_marks():
    true, predicted = np.zeros(30, bool), np.zeros(30, bool)
    true[10:15] = True
    predicted[12:18] = True
    assert np.flatnonzero(counting(true, predicted, [12], None)).tolist() == [*range(7, 12), *range(13, 21)]
    assert np.flatnonzero(counting(true, predicted, [12], (10, 14))).tolist() == [10, 11, 13, 14]


def test_the_recorder_knows_what_a_confidence_came_from():
    recorder = Recorder(lambda seen: seen.expected_dice)
    first, second, third = evidence(z=4), evidence(z=4, expected_dice=0.8), evidence(z=6, expected_dice=0.3)
    for seen in (first, second, third, evidence(label=2, z=5)):
        recorder(seen)
    assert recorder.behind(1, 4, 0.8) is second
    assert recorder.behind(1, 9, np.float32(0.3)) is third  # given up at 6
    assert recorder.behind(1, 9, 1.0) is None


# The fit.

TRUE = Calibration(
    (0.8, 0.5, -0.2, 0.4, 0.2, 0.6, -0.4, -0.5, -0.3, -0.1, 0.0, 0.4, 0.3),
    (0.6, 0.0, 0.0, 0.2, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, -1.0, 0.7, 0.2),
)


def made_up(number=3000, cases=6, seed=0):
    """Evidence as it comes, with the Dice that `TRUE` says."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(number):
        p = rng.uniform(0.05, 0.95, 6)
        seen = evidence(
            z=i, found=bool(i % 4), expected_dice=p[0], agreement=p[1] if i % 2 else None, follows=p[2], shape=p[3],
            sharpness=p[4], area=10 ** rng.uniform(0, 3.5), expected_area=10 ** rng.uniform(0, 3.5),
            distance=rng.uniform(1, 60), presence=p[5], certain=bool(rng.random() < 0.5),
        )  # fmt: skip
        rows.append((f"case_{i % cases}", seen, TRUE(seen)))
    return rows


def test_the_fit_recovers_a_regression():
    examples = Examples.of(made_up())
    found = fit(examples, l2=0.0)
    assert found.found == pytest.approx(TRUE.found, abs=1e-3)
    asked = [i for i, name in enumerate((*FEATURES, "constant")) if name != "between"]
    assert np.array(found.lost)[asked] == pytest.approx(np.array(TRUE.lost)[asked], abs=0.05)
    assert predict(found, examples) == pytest.approx(examples.dice, abs=1e-3)
    assert predict(TRUE, examples) == pytest.approx([TRUE(seen) for _, seen, _ in made_up()])
    assert fit(examples) == fit(examples)


def test_cases_weigh_the_same_whatever_their_slices():
    few = [("small", evidence(z=i, expected_dice=0.5), 0.0) for i in range(10)]
    many = [("large", evidence(z=i, expected_dice=0.5), 1.0) for i in range(1000)]
    assert fit(Examples.of(few + many))(few[0][1]) == pytest.approx(0.5, abs=1e-6)


def test_without_examples_a_regression_stays_as_uncalibrated():
    found = fit(Examples.of([row for row in made_up(200) if row[1].found]))
    assert found.lost == UNCALIBRATED.lost
    assert found.found != UNCALIBRATED.found


def test_cross_validation_never_sees_the_case():
    names = np.array(["b", "a", "a", "c", "b"])
    for left_out in folds(names):
        assert not set(names[left_out]) & set(names[~left_out])
    assert sum(one.astype(int) for one in folds(names, 2)).tolist() == [1] * 5
    rows = made_up(800)
    odd = [(case, seen, 1.0 - dice if case == "case_0" else dice) for case, seen, dice in rows]
    examples = Examples.of(odd)
    own = examples.cases == "case_0"
    assert np.corrcoef(cross_validated(examples)[own], examples.dice[own])[0, 1] < -0.9


def test_influence_is_in_log_odds_and_a_feature_can_be_left_out():
    examples = Examples.of(made_up(500))
    moved = influence(TRUE, examples)
    column = examples.inputs[examples.found, FEATURES.index("shape")]
    assert moved["found"]["shape"] == pytest.approx(0.2 * column.std())
    assert moved["lost"]["shape"] == 0.0
    assert fit(examples.without("shape")).found[FEATURES.index("shape")] == 0.0


# Runs.


def write_case(folder, name, *, seed=0, part="Val"):
    """Two ellipsoids, in a folder in nnU-Net raw layout."""
    z, y, x = np.indices(SHAPE).astype(float)
    labels = np.zeros(SHAPE, np.uint8)
    labels[((z - 12) / 8) ** 2 + ((y - 18) / 13) ** 2 + ((x - 16 - 0.3 * z) / 10) ** 2 <= 1] = 1
    labels[((z - 19) / 6) ** 2 + ((y - 20) / 12) ** 2 + ((x - 46) / 11) ** 2 <= 1] = 2
    image = np.where(labels > 0, 60, -100).astype(np.int16)
    image += np.random.default_rng(seed).integers(-20, 20, image.shape, np.int16)
    for kind, array, ending in ((f"images{part}", image, "_0000"), (f"labels{part}", labels, "")):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        picture = sitk.GetImageFromArray(array)
        picture.SetSpacing((1.5, 1.5, 2.0))
        sitk.WriteImage(picture, str(folder / kind / f"{name}{ending}.nii.gz"))


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data" / "my_set"
    for seed, name in enumerate(("CASE_1", "CASE_2", "CASE_3")):
        write_case(folder, name, seed=seed)
    described = {"labels": {"background": 0, "egg": 1, "pear": 2}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder


class NearestPropagator:
    """Stands in for the network: copies the nearest key slice up to 16 mm far, trusted less the further it is."""

    calls = 0

    def __init__(self):
        self.calibration = UNCALIBRATED

    def propagate(self, volume, key_slices, extents=None, progress=None):
        NearestPropagator.calls += 1
        labels, sure = np.zeros(volume.shape, np.uint8), {}
        for label in key_slices.labels:
            keys = key_slices.slices_of(label)
            sure[label] = np.ones(volume.shape[0], np.float32)
            first, last = extents[label] if extents else (0, volume.shape[0] - 1)
            for z in range(first, last + 1):
                nearest = min(keys, key=lambda key: abs(key - z))
                away = 2.0 * abs(nearest - z)
                if away <= 16:
                    labels[z][key_slices.mask(nearest) == label] = label
                if 0 < away <= 20:
                    seen = evidence(label, z, found=away <= 16, expected_dice=1 - 0.04 * away, distance=away)
                    sure[label][z] = self.calibration(seen)
                elif away:
                    sure[label][z] = self.calibration(evidence(label, z, found=False, expected_dice=0.7, distance=20))
        return SimpleNamespace(labels=labels, confidence=sure)


@pytest.fixture
def weights(tmp_path):
    """Weights of `small` that have learned nothing, with something said of them."""
    path = tmp_path / "small.safetensors"
    save_weights(build_network("small"), path, {"model": "small", "steps": "7"})
    return path


@pytest.fixture
def nearest_model(monkeypatch):
    monkeypatch.setattr(model, "load", lambda spec: NearestPropagator())
    monkeypatch.setattr(model, "digest", lambda spec: "abc")
    NearestPropagator.calls = 0


def test_results_are_saved_in_three_forms(data, weights, tmp_path, nearest_model, capsys):
    out = tmp_path / "out"
    summary = run(data, out, Settings(weights=weights))
    one = summary["my_set"]["no marks"]["by_number"]
    assert set(one) == {"1", "3"}
    assert one["1"]["cases"] == 3
    assert 0.05 < one["3"]["beyond"]["pooled"] < 0.7
    assert one["3"]["missed"] == {"pooled": 0.0, "per_structure": 0.0}
    marked = summary["my_set"]["marks"]
    assert "beyond" not in marked["by_number"]["1"]
    single = marked["by_number"]["1"]
    assert single["calibrated"]["spearman"] > 0.9  # the further, the worse
    assert single["calibrated"]["worst_found"] > 8 > 5 > single["calibrated"]["chance"]
    assert single["raw"]["spearman"] > 0.9
    # 16 and 13 slices between the marks, of which one and three are key slices
    assert [marked["by_number"][n]["slices"] for n in ("1", "3")] == [3 * 27, 3 * 23]
    assert sum(n for n, _, _ in marked["reliability"]) == 3 * 50
    saved = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert saved["sets"] == summary
    assert saved["about"]["calibration"] == "not calibrated"
    assert "| my_set | no marks | 3 |" in (out / "results.md").read_text(encoding="utf-8")
    assert (out / "reliability.png").read_bytes()[:4] == b"\x89PNG"
    assert "my_set" in capsys.readouterr().out


def test_a_run_resumes_and_another_calibration_needs_no_propagation(
    data, weights, tmp_path, nearest_model, monkeypatch
):
    out, settings = tmp_path / "out", Settings(weights=weights, quiet=True)
    original = confidence_cases._measure

    def interrupted(*args):
        if NearestPropagator.calls == 5:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(confidence_cases, "_measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(data, out, settings)
    monkeypatch.setattr(confidence_cases, "_measure", original)
    with (out / "slices.jsonl").open("a") as file:
        file.write('{"set": "my_set", "ca')  # killed while writing
    NearestPropagator.calls = 0
    resumed = run(data, out, settings)
    assert NearestPropagator.calls == 3 * 4 - 5
    fresh = run(data, tmp_path / "fresh", settings)
    for summary in (resumed, fresh):
        for title in ("marks", "no marks"):
            for one in summary["my_set"][title]["by_number"].values():
                del one["seconds"]
    assert resumed == fresh
    NearestPropagator.calls = 0
    save_weights(build_network("small"), weights, {"calibration": TRUE.to_json()})
    again = run(data, out, settings)
    assert NearestPropagator.calls == 0
    one, before = (s["my_set"]["marks"]["by_number"]["3"] for s in (again, resumed))
    assert one["raw"] == before["raw"]
    assert one["calibrated"]["calibration_error"] != before["calibrated"]["calibration_error"]
    monkeypatch.setattr(model, "digest", lambda spec: "def")
    run(data, out, Settings(weights=weights, quiet=True, limit=1, counts=[1]))
    assert NearestPropagator.calls == 2  # another network's are told apart


def test_the_fit_goes_into_a_copy_of_the_weights(data, weights, tmp_path, nearest_model, capsys):
    out = tmp_path / "fitted.safetensors"
    settings = Settings(weights=weights, sets=["my_set"], counts=[1, 3])
    calibration = fit_weights(data.parent, out, settings, evidence=tmp_path / "evidence")
    printed = capsys.readouterr().out
    assert "cross-validated" in printed and "sharpness" in printed
    assert load_calibration("small", out)[0] == Calibration.from_json(calibration.to_json())
    with safe_open(out, "pt") as copy, safe_open(weights, "pt") as original:
        said = dict(copy.metadata())
        assert said.pop("calibration") and said.pop("ending")
        assert said == {"model": "small", "steps": "7"}
        names = original.keys()
        assert set(copy.keys()) == set(names)
        assert all(bool((copy.get_tensor(name) == original.get_tensor(name)).all()) for name in names)
    report = json.loads((tmp_path / "evidence" / "fit.json").read_text(encoding="utf-8"))
    assert set(report["features"]) == set(FEATURES)
    assert report["slices"]["lost"] > 0
    assert list(report["by_job"]) == [f"{n} key slices, {marks}" for n in (1, 3) for marks in ("marks", "no marks")]
    found = report["scores"]
    assert found["cross_validated"]["spearman"] > 0.6
    assert found["fitted"]["calibration_error"] < found["raw"]["calibration_error"]
    assert "| distance |" in (tmp_path / "evidence" / "fit.md").read_text(encoding="utf-8")
    assert fit_weights(data.parent, out, settings, evidence=tmp_path / "evidence") == calibration


def test_a_fit_needs_two_cases(data, weights, tmp_path, nearest_model):
    with pytest.raises(InputError, match="1 cases"):
        fit_weights(data, tmp_path / "w.safetensors", Settings(weights=weights, sets=["my_set"], limit=1, quiet=True))


def test_with_the_network_itself(data, weights, tmp_path):
    """Untrained weights: nothing is found well, but every slice has its evidence."""
    out = tmp_path / "out"
    confidence.measure(find_sets(data), out, Settings(weights=weights, quiet=True, limit=1, counts=[3]))
    for one in LineFile(out / "slices.jsonl", Measured).records.values():
        assert one.pairs()
        assert all(pair.seen is not None and pair.seen.label == pair.label for pair in one.pairs())
        if one.marks:
            assert all(pair.seen.z == pair.z for pair in one.pairs())


def test_what_was_measured_comes_back_from_the_file(data, tmp_path):
    case = find_sets(data)[0].cases[0]
    pairs = [Pair(1, 4, 0.5, evidence(z=4)), Pair(2, 5, 1.0, None, 0.0)]
    extents = [Extent(1, "egg", 5, 1, 6, 0)]
    store = LineFile(tmp_path / "slices.jsonl", Measured)
    store.append([Measured.of(case, (3, True), 1.0, "abc", pairs, extents)])
    (again,) = LineFile(store.path, Measured).records.values()
    assert (again.pairs(), again.extents()) == (pairs, extents)


def test_the_sets_of_the_fit_are_those_held_back(tmp_path):
    for name in ("HN_178", "HN_180", "HN_200", "HN_201"):
        write_case(tmp_path / "head-neck", name, part="Tr")
    write_case(tmp_path / "head-neck", "HN_201")
    (tmp_path / "head-neck" / "dataset.json").write_text(json.dumps({"labels": {}, "file_ending": ".nii.gz"}))
    for part in ("images", "labels"):
        (tmp_path / "sarcoma" / part).mkdir(parents=True)
        for name in ("STS_015", "STS_018", "STS_023"):
            (tmp_path / "sarcoma" / part / f"{name}.nii.gz").touch()
    found = {one.name: [case.name for case in one.cases] for one in find_sets(tmp_path, FITTING_SETS)}
    assert found == {"head-neck-fitting": ["HN_180", "HN_200"], "sarcoma-fitting": ["STS_018"]}
    assert [case.name for case in find_sets(tmp_path, ["head-neck"])[0].cases] == ["HN_201"]


@pytest.mark.parametrize("options", [["--data", "nowhere"], ["--slices", "0"], ["--fit"]])
def test_bad_options_end_in_one_line_and_status_2(data, tmp_path, options):
    command = [sys.executable, "-m", "tools.benchmark", "confidence", "--out", str(tmp_path / "out"), *options]
    command += [] if "--data" in options else ["--data", str(data)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
