"""The interaction benchmark: a simulated annotator, its noise, its scores, runs that resume, results."""

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from propagation_module.suggestion import areas_of, suggest
from tools.benchmark import model
from tools.benchmark.datasets import find_sets
from tools.benchmark.interaction import run as interaction
from tools.benchmark.interaction.annotator import EXACT, NOISY, Annotator, Scene
from tools.benchmark.interaction.results import Step, markdown, summarize
from tools.benchmark.interaction.run import run
from tools.benchmark.key_slices import choose_key_slices
from tools.benchmark.lines import LineFile
from volumes.formats import read_label_map
from volumes.key_slices import KeySlices
from volumes.metrics import dice

ROOT = Path(__file__).resolve().parents[3]
OURS = ("suggested", "equidistant", "random")
METHODS = (*OURS, "shape", "shape+ends", "nearest")
SHAPE = (26, 40, 64)


def write_case(folder, name, seed):
    """Two ellipsoids, one above the other, and a crumb that does not count, in a folder in nnU-Net raw layout."""
    z, y, x = np.indices(SHAPE).astype(float)
    labels = np.zeros(SHAPE, np.uint8)
    labels[((z - 8) / 7) ** 2 + ((y - 18) / 13) ** 2 + ((x - 16 - 0.3 * z) / 10) ** 2 <= 1] = 1
    labels[((z - 17) / 6) ** 2 + ((y - 20) / 12) ** 2 + ((x - 46) / 11) ** 2 <= 1] = 2
    labels[0:4, 0:3, 0:3] = 3
    image = np.where(labels > 0, 60, -100).astype(np.int16)
    image += np.random.default_rng(seed).integers(-20, 20, image.shape, np.int16)
    for part, array, ending in (("imagesVal", image, "_0000"), ("labelsVal", labels, "")):
        (folder / part).mkdir(parents=True, exist_ok=True)
        picture = sitk.GetImageFromArray(array)
        picture.SetSpacing((1.5, 1.5, 2.0))
        sitk.WriteImage(picture, str(folder / part / f"{name}{ending}.nii.gz"))


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data" / "my_set"
    for seed, name in enumerate(("CASE_1", "CASE_2", "CASE_3")):
        write_case(folder, name, seed)
    described = {"labels": {"background": 0, "egg": 1, "pear": 2, "crumb": 3}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder


@pytest.fixture
def scene(data):
    (found,) = find_sets(data)
    return Scene(found.cases[0])


class NearestSession:
    """Stands in for the network: copies the nearest key slice, trusted less the further it is."""

    def __init__(self, volume):
        self.shape = volume.shape
        self.key_slices, self.extents, self.confidence = KeySlices(volume.shape), {}, {}
        self.labels = np.zeros(volume.shape, np.uint8)

    def set_extent(self, label, extent):
        self.extents[label] = extent

    def annotate(self, z, mask, labels=None, *, complete=False):
        self.key_slices.add(z, mask, labels, complete)

    def propagate(self, *, live=True):
        self.labels[:] = 0
        for label in self.key_slices.labels:
            keys = self.key_slices.slices_of(label)
            away = np.abs(np.arange(self.shape[0])[:, None] - keys).min(1)
            self.confidence[label] = (1.0 / (1.0 + 0.1 * away)).astype(np.float32)
            first, last = self.extents[label]
            for z in range(first, last + 1):
                nearest = min(keys, key=lambda key: abs(key - z))
                self.labels[z][self.key_slices.mask(nearest) == label] = label
        yield

    def suggest(self, names=None):
        return suggest(areas_of(self.labels), self.confidence, self.key_slices, self.extents, spacing=2.0)


class NearestPropagator:
    opened = 0

    def open(self, volume):
        NearestPropagator.opened += 1
        return NearestSession(volume)


@pytest.fixture
def nearest_model(monkeypatch):
    monkeypatch.setattr(model, "load", lambda spec: NearestPropagator())
    monkeypatch.setattr(model, "digest", lambda spec: "abc")
    NearestPropagator.opened = 0


def test_the_exact_annotator_paints_the_truth_of_what_is_scored(scene):
    truth = read_label_map(scene.case.labels).array
    annotator = Annotator(scene, EXACT, seed=0)
    assert scene.labels == [1, 2]
    for z in range(SHAPE[0]):
        assert np.array_equal(annotator.paint(z), np.where(truth[z] < 3, truth[z], 0))


def test_the_noisy_annotator_is_close_but_not_right_and_draws_a_slice_always_alike(scene):
    exact, noisy = Annotator(scene, EXACT, 0), Annotator(scene, NOISY, 0)
    scores = []
    for z in range(5, 20):
        for label in (1, 2):
            true = exact.paint(z) == label
            assert (noisy.paint(z) == label).any() == true.any()
            if true.any():
                scores.append(dice(true, noisy.paint(z) == label))
    assert 0.8 < np.mean(scores) < 0.99
    again = Annotator(scene, NOISY, 0)
    assert all(np.array_equal(again.paint(z), noisy.paint(z)) for z in (19, 7, 12))
    assert not all(np.array_equal(Annotator(scene, NOISY, 1).paint(z), noisy.paint(z)) for z in (19, 7, 12))


def test_scores_are_dice_and_the_share_of_slices_that_are_good_enough(scene):
    truth = read_label_map(scene.case.labels).array
    right = np.where(truth < 3, truth, 0)
    assert scene.score(scene.counts_in(right)) == (1.0, 1.0)
    wrong = right.copy()
    wrong[10][wrong[10] == 1] = 0  # a slice missed,
    wrong[25, :3, :3] = 2  # and one too many
    mean, acceptable = scene.score(scene.counts_in(wrong))
    assert mean == pytest.approx(np.mean([dice(right == label, wrong == label) for label in (1, 2)]))
    slices = sum(int((right == label).any(axis=(1, 2)).sum()) for label in (1, 2))
    assert acceptable == pytest.approx((slices - 1) / (slices + 1))


def test_equidistant_slices_are_placed_as_in_the_propagation_benchmark(scene):
    truth = read_label_map(scene.case.labels).array
    assert scene.equidistant(4) == choose_key_slices((truth == 1) | (truth == 2), 4)


def test_each_method_gives_a_curve_and_results_are_saved_in_four_forms(data, tmp_path, nearest_model, capsys):
    out = tmp_path / "out"
    summary = run(data, out=out, methods=METHODS, budget=4, every=2)
    assert set(summary["my_set"]) == {"exact", "noisy"}
    exact, noisy = summary["my_set"]["exact"], summary["my_set"]["noisy"]
    assert exact["cases"] == 2
    for method in METHODS:
        assert list(exact["dice"][method]) == ["1", "2", "3", "4"]
        assert exact["dice"][method]["4"] > exact["dice"][method]["1"]
    assert exact["dice"]["equidistant"]["1"] == exact["dice"]["nearest"]["1"]  # the same by construction
    assert noisy["dice"]["equidistant"]["4"] < exact["dice"]["equidistant"]["4"]
    saved = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert saved["sets"] == summary
    with (out / "steps.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * 2 * len(METHODS) * 4
    assert "| my_set | exact | Keyslice, suggested slices |" in (out / "results.md").read_text(encoding="utf-8")
    for noise in ("exact", "noisy"):
        assert (out / f"curve-{noise}.png").read_bytes()[:4] == b"\x89PNG"
    assert "my_set" in capsys.readouterr().out


def test_one_session_where_one_slice_is_added_and_a_fresh_one_for_equidistant_slices(scene, nearest_model):
    plan = interaction._plan(OURS, "exact", 5, 0, model.ModelSpec())
    chosen = {}
    for method in ("suggested", "random"):
        steps = list(interaction.steps_of(scene, EXACT, method, plan))
        assert [len(step.slices) for step in steps] == [1, 2, 3, 4, 5]
        assert all(a.slices == b.slices[:-1] for a, b in zip(steps, steps[1:], strict=False))
        assert len(set(steps[-1].slices)) == 5
        chosen[method] = steps[-1].slices
    assert NearestPropagator.opened == 2
    assert 10 <= chosen["suggested"][0] <= 15  # both structures are on it
    steps = list(interaction.steps_of(scene, EXACT, "equidistant", plan))
    assert [list(step.slices) for step in steps] == [scene.equidistant(n) for n in range(1, 6)]


def test_when_every_slice_is_annotated_all_is_right(scene, nearest_model):
    plan = interaction._plan(OURS, "exact", 30, 0, model.ModelSpec())
    for method in OURS:
        last = list(interaction.steps_of(scene, EXACT, method, plan))[-1]
        assert last.n == 30
        assert len(last.slices) == len(set(last.slices)) < 30
        if method != "equidistant":
            assert (last.dice, last.acceptable) == (1.0, 1.0)


def test_an_interpolation_tool_knows_where_a_structure_was_painted_and_where_it_was_not(scene):
    plan = interaction._plan(["shape+ends"], "exact", 2, 0, model.ModelSpec())
    annotator = Annotator(scene, EXACT, 0)
    egg = scene.structures[0]
    counts = interaction._interpolated(annotator, "shape+ends", [egg.extent[1] + 2])
    assert counts[1][0].sum() == 0  # not painted anywhere
    counts = interaction._interpolated(annotator, "shape+ends", [8])
    predicted, right = counts[1]
    assert predicted[8] == right[8] == (annotator.paint(8) == 1).sum()
    assert np.flatnonzero(predicted).tolist() == list(range(egg.extent[0], egg.extent[1] + 1))
    assert len(list(interaction.steps_of(scene, NOISY, "shape+ends", plan))) == 2


def comparable(out):
    lines = [json.loads(line) for line in (out / "steps.jsonl").read_text(encoding="utf-8").splitlines()]
    return sorted(json.dumps({**line, "seconds": 0}, sort_keys=True) for line in lines)


def test_a_run_resumes_in_the_middle_of_a_case_and_computes_nothing_twice(data, tmp_path, nearest_model, monkeypatch):
    settings = {"methods": ["suggested", "random", "shape"], "budget": 4, "noise": "noisy", "limit": 1, "quiet": True}
    run(data, out=tmp_path / "fresh", **settings)
    out, made, original = tmp_path / "out", [], interaction._step

    def interrupted(annotator, method, plan, n, *rest):
        if len(made) == 6:
            raise KeyboardInterrupt
        made.append((method, n))
        return original(annotator, method, plan, n, *rest)

    monkeypatch.setattr(interaction, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(data, out=out, **settings)
    assert len((out / "steps.jsonl").read_text(encoding="utf-8").splitlines()) == 6
    with (out / "steps.jsonl").open("a") as file:
        file.write('{"set": "my_set", "ca')  # killed while writing
    del made[:]
    monkeypatch.setattr(interaction, "_step", lambda *step: made.append(step[1:4:2]) or original(*step))
    run(data, out=out, **settings)
    assert made == [("random", 3), ("random", 4), *(("shape", n) for n in range(1, 5))]
    assert comparable(out) == comparable(tmp_path / "fresh")
    del made[:]
    run(data, out=out, **settings)
    assert made == []


def test_other_weights_and_other_seeds_are_told_apart(data, tmp_path, nearest_model, monkeypatch):
    settings = {"methods": ["random", "nearest"], "budget": 2, "noise": "exact", "limit": 1, "quiet": True}
    out = tmp_path / "out"
    run(data, out=out, **settings)
    monkeypatch.setattr(model, "digest", lambda spec: "def")
    run(data, out=out, **settings)
    assert len(comparable(out)) == 2 * 2 + 2  # the tool's are the same
    run(data, out=out, seed=1, **settings)
    assert len(comparable(out)) == 2 * 2 + 2 + 4


def test_several_processes_give_the_same(data, tmp_path):
    settings = {"methods": ["nearest", "shape"], "budget": 3, "noise": "both", "limit": 2, "quiet": True}
    run(data, out=tmp_path / "one", **settings)
    run(data, out=tmp_path / "two", jobs=2, **settings)
    assert comparable(tmp_path / "one") == comparable(tmp_path / "two")


def step(case, n, score, method="shape"):
    return Step("s", case, "exact", 0, method, n, 1, score, score / 2, 1.0, tuple(range(n)))


def test_slices_to_reach_the_goal_by_the_mean_and_by_the_median_case():
    steps = [step("a", n, score) for n, score in enumerate((0.80, 0.91, 0.95), 1)]
    steps += [step("b", n, score) for n, score in enumerate((0.70, 0.80, 0.86), 1)]
    steps += [step("c", n, score) for n, score in enumerate((0.20, 0.30, 0.40), 1)]
    reach = summarize(steps, 3)["s"]["exact"]["to_reach"]["shape"]
    assert reach == {"mean": None, "median": None, "cases": 1}
    two = summarize(steps[:6], 3)["s"]["exact"]
    assert two["to_reach"]["shape"] == {"mean": 3, "median": None, "cases": 1}
    assert two["seconds"]["shape"] == 3.0
    assert summarize(steps[:3], 3)["s"]["exact"]["to_reach"]["shape"] == {"mean": 2, "median": 2, "cases": 1}
    assert "| > 3 |" in markdown(summarize(steps, 3), {"budget": 3})


def test_step_file_keeps_what_was_written(tmp_path):
    store = LineFile(tmp_path / "steps.jsonl", Step)
    store.append([step("a", 2, 0.5)])
    assert list(LineFile(store.path, Step).records.values()) == [step("a", 2, 0.5)]


@pytest.mark.parametrize(
    "options", [["--data", "nowhere"], ["--sets", "none"], ["--methods", "magic"], ["--noise", "loud"]]
)
def test_bad_options_end_in_one_line_and_status_2(data, tmp_path, options):
    command = [sys.executable, "-m", "tools.benchmark", "interaction", "--out", str(tmp_path / "out")]
    command += [] if "--data" in options else ["--data", str(data)]
    command += [] if "--methods" in options else ["--methods", "nearest"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_a_missing_package_is_named(data, tmp_path):
    if importlib.util.find_spec("itk") is not None:
        pytest.skip("the extra `benchmark` is installed")
    from volumes.errors import InputError

    with pytest.raises(InputError, match="keyslice\\[benchmark\\]"):
        run(data, out=tmp_path, methods=["morphological+ends"], budget=1, quiet=True)
