"""The ablation: rows that differ in one part, means on numbers made by hand, runs that are killed and go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from networks.configurations import configuration_names, read_config, settings_of
from networks.locks import locked
from networks.weights import read_tensors
from tools.benchmark.ablation.results import About, markdown, summarize, write_all
from tools.benchmark.ablation.rows import CaseLine
from tools.benchmark.ablation.settings import AblationSettings, read_ablation, rows_named
from tools.benchmark.ablation.stages import Plan
from tools.benchmark.few_labels import PhantomSettings
from tools.benchmark.phantom_set import make_phantom_set
from tools.benchmark.stages import check_made_with, seconds_of, timed
from volumes.datasets import DataCase, DataSet, read_dataset
from volumes.errors import InputError
from volumes.formats import read_label_map, read_volume
from volumes.labels import LabelTable

ROOT = Path(__file__).resolve().parents[3]
TABLE = LabelTable.default([1, 2, 3])
ONE, TWO, THREE = TABLE.names()


def line(row: int, case: str, scores: dict[int, float], volumes: dict[int, float] | None = None) -> CaseLine:
    dsc = tuple(scores.values())
    sizes = tuple((volumes or {}).get(label, 1.0) for label in scores)
    return CaseLine(row, case, tuple(scores), dsc, tuple(one / 2 for one in dsc), sizes, 2.0, "abc")


def about(**more: Any) -> About:
    return About("test", TABLE, more.pop("required", [1, 2]), 1, 2, 5, {1: 60.0, 2: 120.0}, **more)


# Figures.


def test_a_structure_counts_in_the_cases_that_contour_it() -> None:
    rows = {1: [line(1, "A", {1: 0.5, 2: 0.7}), line(1, "B", {1: 0.7, 2: 0.9, 3: 0.1})]}
    found = summarize(rows, about())["rows"]["1"]
    assert found["dsc"] == {ONE: 0.6, TWO: 0.8, THREE: 0.1}
    assert found["mean"] == {"dsc": 0.7, "nsd": 0.35}
    assert found["all"] == {"dsc": 0.5, "nsd": 0.25}, "each structure counts alike, however many cases have it"
    assert found["seconds"] == {"training": 60, "case": 2.0}


def test_the_smallest_structures_are_those_of_the_least_median_volume() -> None:
    volumes = ({1: 5.0, 2: 3.0, 3: 9.0}, {1: 5.0, 2: 30.0, 3: 0.0}, {1: 5.0, 2: 40.0, 3: 9.0})
    lines = [line(1, str(n), {1: 0.2, 2: 0.4, 3: 0.6}, one) for n, one in enumerate(volumes)]
    found = summarize({1: lines}, about())
    assert found["smallest"] == [ONE] and found["rows"]["1"]["smallest"]["dsc"] == 0.2
    lines = [line(1, "A", {1: 0.2, 2: 0.4}, {1: 0.0, 2: 3.0})]
    assert summarize({1: lines}, about())["smallest"] == [TWO], "what is not there has no size"


def test_gains_are_those_of_the_required_structures() -> None:
    first = [line(1, "A", {1: 0.5, 2: 0.5, 3: 0.9}), line(1, "B", {1: 0.6, 2: 0.6})]
    second = [line(2, "A", {1: 0.7, 2: 0.5, 3: 0.0}), line(2, "B", {1: 0.6, 2: 0.58})]
    gain = summarize({1: first, 2: second}, about())["gains"]
    assert list(gain) == ["1 to 2"]
    assert gain["1 to 2"] == {"dsc": 0.045, "nsd": 0.0225, "standard_error": 0.055, "cases_better": 1}


def test_tables_and_picture_are_written(tmp_path: Path) -> None:
    rows = {
        1: [line(1, "A", {1: 0.5, 2: 0.5}), line(1, "B", {1: 0.6, 2: 0.6})],
        4: [line(4, "A", {1: 0.8, 2: 0.5}), line(4, "B", {1: 0.6, 2: 0.7})],
    }
    pseudo = {
        "judged": 4, "accepted": 3, "dice_of_accepted": 0.8, "dice_of_rejected": None, "validation": [0.5, None],
        "ended": "2 rounds are done",
    }  # fmt: skip
    told = about(pseudo=pseudo, notes=["only a test"])
    summary = summarize(rows, told)
    write_all(tmp_path, rows, summary, told)
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert text == markdown(summary)
    assert f"| {ONE} | 0.550 (0.275) | 0.700 (0.350) |" in text and THREE not in text.split("- mean:")[0]
    assert "| 1 to 4 | +0.100 | 0.050 | 2 of 2 | +0.050 |" in text
    assert "3 of 4 cases accepted; their Dice with the labels that were hidden: 0.800 for accepted ones" in text
    assert "only a test" in text
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8")) == json.loads(json.dumps(summary))
    assert len((tmp_path / "structures.csv").read_text(encoding="utf-8").splitlines()) == 1 + 8
    assert (tmp_path / "structures.png").read_bytes().startswith(b"\x89PNG")


# Settings.


@pytest.mark.parametrize("name", configuration_names("ablation"))
def test_what_ships_can_be_read(name: str) -> None:
    settings = read_ablation(name)
    assert settings.name == name
    assert settings.rounds_settings().members == 3, "the agreement of two is one Dice, and nobody is outvoted"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"superwised_steps": 3}}, "superwised_steps"),
        ({"training": {"last_steps": "many"}}, "last_steps"),
        ({"training": {"starts": 0}}, "training.starts"),
        ({"training": {"supervised": {"batchsize": 8}}}, "batchsize"),
        ({"training": {"cps": {"consistency": {"wait": 1}}}}, "wait"),
        ({"rounds": {"treshold": 0.5}}, "treshold"),
        ({"automatic": {"strategy": "best"}}, "'best'"),
        ({"propagation": {"weights": "nowhere.safetensors"}}, "nowhere"),
        ({"reference": "tiny"}, "'tiny'"),
    ],
)
def test_a_setting_that_does_not_exist_is_refused_before_anything_starts(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    from omegaconf import OmegaConf

    path = tmp_path / "changed.yaml"
    path.write_text(OmegaConf.to_yaml(OmegaConf.merge(read_config("ablation", "head-neck"), changes)))
    with pytest.raises(InputError, match=message):
        read_ablation(str(path))


def test_rows_are_told_by_number() -> None:
    assert rows_named("4, 1") == [1, 4]
    for text in ("", "5", "one"):
        with pytest.raises(InputError, match="--rows"):
            rows_named(text)


def plan_of(settings: AblationSettings) -> Plan:
    return Plan(settings, DataSet(Path("data"), TABLE, ()), {}, (), Path("out"), "cpu")


def test_stages_come_after_what_they_begin_with() -> None:
    section = read_config("ablation", "head-neck")
    section.training.starts = 2
    section.rounds.members = 3
    plan = plan_of(settings_of(section, AblationSettings, "test"))
    assert plan.stages_of(1) == ["supervised-one", "further-one"]
    assert plan.stages_of(2) == ["supervised-one", "cps-one"]
    starts, members = ["supervised-three-1", "supervised-three-2"], ["member-1", "member-2", "member-3"]
    assert plan.stages_of(3) == plan.stages_of(4) == [*starts, *members, "rounds"]
    assert [plan.needs(one) for one in members] == [[starts[0]], [starts[1]], [starts[0]]]


def test_rows_1_and_2_differ_in_the_unlabelled_slices_alone() -> None:
    from cps.training import CrossSettings
    from reference_module.training_settings import TrainingSettings, read_sections
    from tools.benchmark.ablation.stages import _overrides

    for name in configuration_names("ablation"):
        settings = read_ablation(name)
        plan, changes = plan_of(settings), {}
        for stage, folder, kind in (
            ("further-one", "reference", TrainingSettings),
            ("cps-one", "cps", CrossSettings),
        ):
            changes[stage] = read_sections(
                read_config(folder, getattr(settings, folder)), kind, _overrides(plan, stage), name
            )
        (labels, inputs), (cross, own_inputs) = changes["further-one"], changes["cps-one"]
        assert inputs.windows == own_inputs.windows == "one"
        assert settings.cps == settings.reference == "small", "CPS takes its pixels from this reference configuration"
        different = {one for one in vars(labels) if getattr(labels, one) != getattr(cross, one)}
        assert not different, f"{name}: {different}"


# Folders that are killed, and shared.


def test_only_one_process_is_at_a_stage(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from networks.locks import locked\n"
        f"with locked(Path({str(tmp_path)!r})):\n    print('in', flush=True); time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None and other.stdout.readline() == "in\n"
        said: list[str] = []

        def tell(text: str) -> None:
            said.append(text)
            other.kill()  # and its lock with it

        with locked(tmp_path, tell):
            assert len(said) == 1 and "another process" in said[0]
    finally:
        other.kill()
        other.communicate()


def test_time_is_that_of_all_starts(tmp_path: Path) -> None:
    assert seconds_of(tmp_path) == 0.0
    for _ in range(2):
        with timed(tmp_path):
            time.sleep(0.15)
    assert 0.25 < seconds_of(tmp_path) < 5


def test_other_settings_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    check_made_with(tmp_path, {"steps": 3, "pair": (1, 2)})
    check_made_with(tmp_path, {"steps": 3, "pair": (1, 2)})
    with pytest.raises(InputError, match=r"other settings \(steps\)"):
        check_made_with(tmp_path, {"steps": 4, "pair": (1, 2)})


# Whole runs.


@pytest.fixture
def configuration(
    tmp_path: Path, tiny_config: Callable[..., Path], tiny_cps: Callable[..., Path]
) -> Callable[..., str]:
    """Writes an ablation of tiny networks and gives its path."""

    def write(**training: Any) -> str:
        steps = dict.fromkeys(("supervised_steps", "further_steps", "member_steps", "last_steps"), 4)
        content = {
            "name": "tiny",
            "data": {"labelled": 2, "seed": 0, "require": ["left_ball", "right_ball", "tube"], "smallest": 1},
            "reference": str(tiny_config()),
            "cps": str(tiny_cps()),
            "training": {"seed": 5, **steps, **training},
            "rounds": {"members": 2, "rounds": 2, "last_members": 1, "threshold": 0.0},
            "automatic": {"requery": 2},
        }
        path = tmp_path / "ablation.yaml"
        path.write_text(yaml.safe_dump(content))
        return str(path)

    return write


def without_times(summary: dict[str, Any]) -> dict[str, Any]:
    return {**summary, "rows": {row: {**one, "seconds": None} for row, one in summary["rows"].items()}}


def test_four_rows_and_again_without_any_work(
    training_set: Path, configuration: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lightning")
    from tools.benchmark.ablation import rows as ablation_rows
    from tools.benchmark.ablation import run as ablation
    from tools.benchmark.ablation import stages as ablation_stages

    out, path = tmp_path / "out", configuration()
    whole = read_dataset(training_set)
    first = ablation.run(training_set, config=path, out=out, quiet=True)
    assert list(first["rows"]) == ["1", "2", "3", "4"] and first["cases"] == 2
    assert first["labelled"] == 2 and first["unlabelled"] == 4, "C, which lacks a structure, lends its image alone"
    assert first["pseudo_labels"]["judged"] == 4
    assert set(first["gains"]) == {"1 to 2", "2 to 3", "3 to 4", "1 to 4"}
    truth = json.loads((out / "stages/rounds/truth.json").read_text(encoding="utf-8"))
    assert set(truth) <= {"C"}, "only of C are there labels that were hidden"
    assert all("tube" not in one["dice"] for one in truth.values())
    for case in whole.validation:
        found = read_label_map(out / "rows/row-4/labels" / f"{case.name}.nii.gz", like=read_volume(case.image))
        assert found.shape == (6, 34, 36)
        assert "key_slices" in json.loads(
            (out / "rows/row-4/reports" / f"{case.name}.json").read_text(encoding="utf-8")
        )
    for name in ("results.md", "results.json", "structures.csv", "structures.png"):
        assert (out / name).is_file()
    assert not list(out.glob("stages/*/checkpoints")), "they take much space, and the weights are there"

    def never(*arguments: Any, **named: Any) -> Any:
        raise AssertionError("done already")

    monkeypatch.setattr(ablation_stages, "_train", never)
    monkeypatch.setattr(ablation_stages, "_rounds", never)
    monkeypatch.setattr(ablation_rows, "_scored", never)
    assert without_times(ablation.run(training_set, config=path, out=out, quiet=True)) == without_times(first)
    with pytest.raises(AssertionError, match="done already"):
        ablation.run(training_set, config=path, out=out, rows=[2], only_score=True, anew=True, quiet=True)
    with pytest.raises(InputError, match=r"begun with other settings \(replaced\)"):
        ablation.run(training_set, config=configuration(further_steps=5), out=out, quiet=True)


def test_only_score_leaves_out_what_is_not_trained(
    training_set: Path, configuration: Callable[..., str], tmp_path: Path
) -> None:
    from tools.benchmark.ablation import run as ablation

    summary = ablation.run(training_set, config=configuration(), out=tmp_path / "out", only_score=True, quiet=True)
    assert summary["rows"] == {} and not (tmp_path / "out" / "results.json").exists()


def test_no_case_of_the_report_is_trained_or_validated_on(
    training_set: Path, configuration: Callable[..., str], tmp_path: Path
) -> None:
    from tools.benchmark.ablation.run import make_plan

    settings = read_ablation(configuration())
    plan = make_plan(settings, training_set, tmp_path, device="cpu", quiet=True, progress=False)
    reported = {case.name for case in plan.report_on}
    assert reported == {"X", "Y"}
    seen: list[DataCase] = [*plan.dataset.training, *plan.dataset.unlabelled, *plan.dataset.validation]
    assert reported.isdisjoint(case.name for case in seen)
    assert all(case.label is None for case in plan.dataset.unlabelled)


def test_a_killed_run_ends_with_the_scores_of_one_that_was_not(
    training_set: Path, configuration: Callable[..., str], tmp_path: Path, one_thread: None
) -> None:
    pytest.importorskip("lightning")
    from tools.benchmark.ablation import run as ablation

    out, path = tmp_path / "killed", configuration(supervised_steps=12, further_steps=60)
    command = [sys.executable, "-m", "tools.benchmark", "ablation", "--data", str(training_set), "--config", path]
    command += ["--out", str(out), "--rows", "1", "--jobs", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(out.glob("stages/further-one/checkpoints/*.ckpt")):
        assert run.poll() is None and time.monotonic() < deadline, "it was to be killed while it trains"
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.wait()
    weights = out / "stages/supervised-one/tiny.safetensors"
    made = weights.stat().st_mtime_ns
    resumed = ablation.run(training_set, config=path, out=out, rows=[1], quiet=True)
    assert weights.stat().st_mtime_ns == made, "it was there already"
    fresh = ablation.run(training_set, config=path, out=tmp_path / "fresh", rows=[1], quiet=True)
    assert without_times(resumed) == without_times(fresh)
    one, other = (read_tensors(folder / "stages/further-one/tiny.safetensors") for folder in (out, tmp_path / "fresh"))
    assert all(torch.equal(one[name], other[name]) for name in other)


# The phantom.


def test_phantoms_are_a_data_set_of_thirteen_structures(tmp_path: Path) -> None:
    settings = PhantomSettings(seed=7, training=2, validation=1, shape=(6, 40, 40), spacing=(40.0, 9.0, 9.0))
    folder = make_phantom_set(tmp_path / "phantom", settings)
    dataset = read_dataset(folder)
    assert dataset.table.name == "flare22" and len(dataset.table) == 13
    assert [case.name for case in dataset.training] == ["phantom_0007", "phantom_0008"]
    assert [case.name for case in dataset.validation] == ["phantom_0009"]
    case = dataset.training[0]
    assert case.label is not None
    volume = read_volume(case.image)
    assert volume.spacing == pytest.approx(settings.spacing)
    assert read_label_map(case.label, like=volume).array.any()
    before = case.image.read_bytes()
    case.image.unlink()
    make_phantom_set(folder, settings)
    assert case.image.read_bytes() == before
    with pytest.raises(InputError, match="other settings"):
        make_phantom_set(folder, PhantomSettings(**{**vars(settings), "seed": 8}))
