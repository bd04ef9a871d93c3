"""The comparison: what a command costs, means on numbers made by hand, a whole run on a tiny data set that resumes."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from networks.configurations import configuration_names
from tools.benchmark.__main__ import app
from tools.benchmark.compare.cases import CaseLine
from tools.benchmark.compare.meter import Curve, gpu_memory, measure
from tools.benchmark.compare.results import About, Contestant, costs, markdown, structures, summarize, write_all
from tools.benchmark.compare.run import run
from tools.benchmark.compare.settings import read_compare
from tools.benchmark.compare.training import parameters_of
from volumes.errors import InputError
from volumes.formats import read_label_map
from volumes.labels import LabelTable

TABLE = LabelTable.default([1, 2, 3])
ONE, TWO, THREE = TABLE.names()


def line(method: str, case: str, scores: dict[int, float], **more: Any) -> CaseLine:
    cost = {"seconds": 2.0, "peak_mb": 100.0, "memory_area": 150.0, "cpu_area": 190.0, "gpu_peak_mb": 0.0}
    cost |= {"gpu_area": 0.0, "error": None, **more}
    dsc = tuple(scores.values())
    return CaseLine(method, case, tuple(scores), dsc, tuple(one / 2 for one in dsc), made_with="abc", **cost)


ABOUT = About("test", TABLE, [1, 2], 3, 4, "2 cores.", ["a note"])


# What a command costs.


def test_a_command_is_measured() -> None:
    code = "import time; held = bytearray(300 * 2**20); held[::4096] = b'x' * len(held[::4096]); time.sleep(0.6)"
    cost = measure([sys.executable, "-c", code], timeout=60)
    assert cost.error is None and 0.6 <= cost.seconds < 30
    assert 300 < cost.peak_mb < 400
    assert 0.5 * 300 < cost.memory_area <= cost.peak_mb * cost.seconds
    assert 0 < cost.cpu_area < 100 * cost.seconds * 1.5, "one thread"
    assert cost.gpu_peak_mb == cost.gpu_area == 0


def test_children_count_too() -> None:
    child = "import time; held = bytearray(200 * 2**20); held[::4096] = b'x' * len(held[::4096]); time.sleep(0.6)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    assert measure([sys.executable, "-c", code], timeout=60).peak_mb > 200


def test_a_child_that_has_just_been_forked_is_not_its_parent_once_more() -> None:
    def process(pid: int, *children: Any) -> Any:
        return SimpleNamespace(
            pid=pid,
            children=lambda recursive: children,
            oneshot=nullcontext,
            memory_info=lambda: SimpleNamespace(rss=100 * 2**20),
            cpu_times=lambda: SimpleNamespace(user=1.0, system=0.5),
        )

    curve, family = Curve(), {1}
    curve.add(process(1, process(2)), family)
    assert curve.peak == 100 and family == {1, 2}
    curve.add(process(1, process(2)), family)
    assert curve.peak == 200, "it stayed"


def test_a_command_that_fails_says_why_and_one_that_hangs_is_ended() -> None:
    failed = measure([sys.executable, "-c", "raise SystemExit('no such organ')"], timeout=60)
    assert failed.error == "no such organ"
    assert measure([sys.executable, "-c", "raise SystemExit(3)"], timeout=60).error == "ended with 3"
    hanging = measure([sys.executable, "-c", "import time; time.sleep(600)"], timeout=0.5)
    assert hanging.error == "not done after 0.5 s" and hanging.seconds < 30


def test_gpu_memory_is_that_of_the_command_alone() -> None:
    listed = "7, 5000\n1, 1000\n7, 5000\n1, 2000\n2, 500\nwarning\n1, 4000\n2, 500\n"
    assert gpu_memory(listed, {1, 2}) == [1000.0, 2500.0, 4500.0]
    assert gpu_memory("", {1}) == []


# Tables.


def test_means_failures_and_the_worst_case() -> None:
    lines = {
        "a": [line("a", "A", {1: 0.5, 2: 0.7}), line("a", "B", {1: 0.7, 2: 0.9, 3: 0.1}, seconds=4.0, peak_mb=300.0)],
        "b": [line("b", "A", {1: 0.8, 2: 0.8}), line("b", "B", {1: 0.0, 2: 0.0, 3: 0.0}, error="no memory")],
    }
    contestants = {"a": Contestant("Ours", 2_500_000, 7200.0), "b": Contestant("Theirs", 10, None, gain=0.02)}
    summary = summarize(lines, contestants, ABOUT)
    ours, theirs = summary["methods"].values()
    assert ours["dsc"] == {ONE: 0.6, TWO: 0.8, THREE: 0.1} and ours["mean"] == {"dsc": 0.7, "nsd": 0.35}
    assert ours["all"]["dsc"] == 0.5 and ours["seconds"] == 3.0 and ours["peak_mb"] == 300.0
    assert ours["training_hours"] == 2.0 and ours["worst"] == "B"
    assert theirs["failed"] == {"B": "no memory"} and theirs["mean"]["dsc"] == 0.4, "a failure counts 0"
    head, body = costs(summary)
    assert dict(zip(head, body[0], strict=True))["parameters, M"] == "2.50"
    assert dict(zip(head, body[1], strict=True))["training h"] == "–"
    assert "GPU MB s" not in head
    assert structures(summary)[1][0] == ["Ours", "0.600", "0.800", "0.100"]
    text = markdown(summary)
    assert "Theirs failed on B, which counts 0: no memory" in text and "a note" in text


def test_files_hold_every_case(tmp_path: Path) -> None:
    lines = {"a": [line("a", "A", {1: 0.5, 3: 0.25})]}
    summary = summarize(lines, {"a": Contestant("Ours", 1, 0.0)}, ABOUT)
    write_all(tmp_path, lines, summary, TABLE)
    rows = list(csv.DictReader((tmp_path / "cases.csv").open()))
    assert [(row["structure"], float(row["dsc"]), float(row["nsd"])) for row in rows] == [
        (ONE, 0.5, 0.25),
        (THREE, 0.25, 0.125),
    ]
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["methods"]["a"]["worst"] == "A"


def test_running_means_are_no_parameters(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    tensors = {"a.weight": torch.zeros(3, 4), "a.bias": torch.zeros(3), "n.running_mean": torch.zeros(3)}
    save_file({**tensors, "n.num_batches_tracked": torch.tensor(3)}, path)
    assert parameters_of(path) == 15
    path.write_bytes(b"no weights")
    with pytest.raises(InputError, match="expected a safetensors file"):
        parameters_of(path)


# Configurations.


@pytest.mark.parametrize("name", configuration_names("compare"))
def test_shipped_configurations_can_be_read(name: str) -> None:
    settings = read_compare(name)
    assert {one.kind for one in settings.methods.values()} == {"propagation", "pair", "3d"}
    assert {"unet", "gao", "alves", "tong", "zhang"} <= set(settings.methods)


@pytest.mark.parametrize(
    ("method", "where", "found"),
    [
        ({"kind": "propagation"}, "slices", "None"),
        ({"kind": "propagation", "slices": 0}, "slices", "0"),
        ({"kind": "3d", "slices": 3}, "slices", "3"),
        ({"kind": "3d", "config": "nothing"}, "nothing", "nothing"),
        ({"kind": "3d", "training": {"stepz": 3}}, "stepz", "stepz"),
        ({"kind": "pair", "cross": {"stepz": 3}}, "stepz", "stepz"),
        ({"kind": "pair", "weights": "gone.safetensors"}, "weights", "gone"),
        ({"kind": "pair", "weights": __file__}, "test_compare.py", "no safetensors file"),
        ({"kind": "pair", "options": ["--strategy=random", "--nope"]}, "options", "--nope"),
        ({"kind": "propagation", "slices": 1, "training": {"steps": 3}}, "training", "settings"),
        ({"kind": "propagation", "slices": 1, "cross": {"steps": 3}}, "cross", "settings"),
        ({"kind": "3d", "cross": {"steps": 3}}, "cross", "settings"),
        ({"kind": "4d"}, "kind", "4d"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, method: dict[str, Any], where: str, found: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"name": "c", "data": {"labelled": 1, "seed": 1}, "methods": {"one": method}}))
    with pytest.raises(InputError) as refused:
        read_compare(str(path))
    assert where in str(refused.value) and found in str(refused.value)


@pytest.mark.parametrize("changed", [{"timeout": -1.0}, {"methods": {}}])
def test_nothing_to_compare_or_no_time_is_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    content = {"name": "c", "data": {"labelled": 1, "seed": 1}, "methods": {"one": {"kind": "3d"}}, **changed}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=next(iter(changed))):
        read_compare(str(tmp_path / "c.yaml"))


def test_a_method_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--methods: found 'unet3'; expected of unet, gao"):
        read_compare("head-neck", ["unet3"])
    with pytest.raises(InputError, match="--weights: found 'unet3'; expected of unet, gao"):
        read_compare("head-neck", None, {"unet3": tmp_path})


# A whole run.


@pytest.fixture
def tiny_compare(
    tmp_path: Path, tiny_config: Callable[..., Path], tiny_cps: Callable[..., Path]
) -> Callable[..., Path]:
    """Writes a configuration whose trainings take seconds, and gives its path."""
    volume_network = {
        "name": "tiny3",
        "network": {"kind": "dynunet", "head": "softmax", "filters": [4, 8, 8], "strides": [[1, 2, 2], [2, 2, 2]]},
        "input": {"patch": [4, 16, 16], "spacing": [3.0, 4.0, 4.0], "intensity": {"rule": "percentiles"}},
        "inference": {"step": 0.5},
        "training": {
            "seed": 3,
            "steps": 4,
            "batch_size": 2,
            "workers": 0,
            "precision": "32-true",
            "gradient_clip": 1.0,
            "averaging": 0.0,
            "checkpoint_every": 2,
            "log_every": 1,
            "validate_every": 0,
            "optimizer": {"kind": "sgd", "learning_rate": 1.0e-2, "schedule": "poly"},
            "patches": {"foreground": 0.5},
            "augmentation": {},
            "losses": {"dice": 1.0, "cross_entropy": 1.0},
        },
    }

    def write(**methods: Any) -> Path:
        (tmp_path / "tiny3.yaml").write_text(yaml.safe_dump(volume_network))
        recipe = {"kind": "gao", "minimum_voxels": 1.0, "later": {"steps": 2}}
        with_recipe = {**volume_network, "name": "recipe3", "recipe": recipe}
        (tmp_path / "recipe3.yaml").write_text(yaml.safe_dump(with_recipe))
        pair = {"kind": "pair", "config": str(tiny_config()), "cross_config": str(tiny_cps())}
        content = {
            "name": "tiny",
            "data": {"labelled": 2, "seed": 1, "require": ["left_ball"]},
            "methods": {
                "unet": {"kind": "3d", "config": str(tmp_path / "tiny3.yaml"), "title": "3D U-Net"},
                "gao": {"kind": "3d", "config": str(tmp_path / "recipe3.yaml"), "training": {"steps": 3}},
                "automatic": {**pair, "training": {"steps": 2}, "cross": {"steps": 1}, "options": ["--requery", "0"]},
                "keys-1": {"kind": "propagation", "slices": 1},
                **methods,
            },
        }
        path = tmp_path / "compare.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))  # methods come in the order of the file
        return path

    return write


def test_a_run_trains_scores_and_goes_on(
    training_set: Path, tiny_compare: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    summary = run(training_set, config=str(tiny_compare()), out=out, limit=1)
    methods = summary["methods"]
    assert list(methods) == ["unet", "gao", "automatic", "keys-1"] and summary["cases"] == 1
    assert all(not one["failed"] for one in methods.values()), methods
    assert methods["keys-1"]["training_hours"] == 0 and methods["unet"]["training_hours"] > 0
    assert methods["automatic"]["parameters"] > methods["keys-1"]["parameters"], "the pair, and what it propagates with"
    assert methods["unet"]["peak_mb"] > 100
    told = (out / "trained" / "gao" / "run" / "report.md").read_text(encoding="utf-8")
    assert "## Round 1" in told and methods["gao"]["parameters"] == methods["unet"]["parameters"]
    assert methods["gao"]["gain"] is None, "all validation cases are reported on: nobody knows"
    assert "3D U-Net" in (out / "results.md").read_text(encoding="utf-8") and "keys-1" in capsys.readouterr().out
    for picture in ("cost.png", "structures.png", "worst/unet.png", "worst/keys-1.png"):
        assert np.asarray(Image.open(out / picture)).std() > 1
    truth = read_label_map(training_set / "labelsVal" / "X.nii.gz")
    given = read_label_map(out / "keys" / "1" / "X.nii.gz")
    for label in (1, 2, 3):
        slices = np.flatnonzero((given.array == label).any(axis=(1, 2)))
        assert len(slices) == 1 and ((given.array == label) == (truth.array == label))[slices].all()

    # Nothing is done twice, and the tables show what was there.
    before = {path: path.stat().st_mtime_ns for path in out.glob("labels/*/*.nii.gz")}
    again = run(training_set, config=str(tiny_compare()), out=out, methods=["keys-1"], limit=1, quiet=True)
    assert again == summary and {path: path.stat().st_mtime_ns for path in before} == before


def test_a_method_that_fails_counts_nothing_and_is_tried_again(
    training_set: Path, tiny_compare: Callable[..., Path], tmp_path: Path
) -> None:
    out, broken = tmp_path / "out", tmp_path / "broken.safetensors"
    save_file({"a": torch.zeros(2)}, broken)
    config = tiny_compare(bad={"kind": "3d", "weights": str(broken)})
    for _ in range(2):
        summary = run(training_set, config=str(config), out=out, methods=["bad"], only_score=True, limit=1)
        bad = summary["methods"]["bad"]
        assert list(bad["failed"]) == ["X"] and "broken.safetensors" in bad["failed"]["X"]
        assert bad["mean"] == {"dsc": 0.0, "nsd": 0.0}
    assert len((out / "cases.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    words = ["compare", "--config", str(config), "--data", str(training_set), "--out", str(out), "--methods", "bad"]
    assert CliRunner().invoke(app, [*words, "--limit", "1", "--quiet"]).exit_code == 1, "some cases failed"


def test_other_settings_are_refused_for_a_training_that_was_begun(
    training_set: Path, tiny_compare: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(training_set, config=str(tiny_compare()), out=out, methods=["unet"], only_train=True, quiet=True)
    changed = tiny_compare(unet={"kind": "3d", "config": str(tmp_path / "tiny3.yaml"), "training": {"steps": 5}})
    with pytest.raises(InputError, match="begun with other settings"):
        run(training_set, config=str(changed), out=out, methods=["unet"], only_train=True, quiet=True)
    shutil.rmtree(out / "trained")
    assert run(training_set, config=str(changed), out=out, methods=["unet"], only_score=True, quiet=True) == {}
