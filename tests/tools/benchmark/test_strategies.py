"""The comparison of strategies: means on numbers made by hand, cases to choose on, runs that go on, cases that fail."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from reference_module.models import InputSettings
from reference_module.referencer import Referencer
from tools.benchmark.strategies.results import (
    ALONE,
    ASKED,
    BLENDED,
    EVERY_SLICE,
    ONCE,
    About,
    StrategyLine,
    markdown,
    summarize,
)
from tools.benchmark.strategies.run import Options, cases_to_choose_on, run
from volumes.datasets import DataCase, DataSet, read_dataset
from volumes.errors import InputError
from volumes.labels import LabelTable

TABLE = LabelTable.default([1, 2, 3])
ONE, TWO, THREE = TABLE.names()


def line(strategy: str, case: str, scores: dict[int, float], way: str = ONCE, **more: object) -> StrategyLine:
    return StrategyLine(strategy, way, case, tuple(scores), tuple(scores.values()), 4, 9, 2.0, "abc", **more)  # type: ignore[arg-type]


def test_means_over_structures_and_gains_over_cases() -> None:
    lines = [
        line("largest_area", "A", {1: 0.5, 2: 0.7}),
        line("largest_area", "B", {1: 0.7, 3: 0.1}),
        line("consistent", "A", {1: 0.7, 2: 0.7}),
        line("consistent", "B", {1: 0.7, 3: 0.3}),
    ]
    found = summarize(lines, About(TABLE, [1, 2], 48))
    assert found["rows"]["largest_area"][ONCE]["structures"] == {ONE: 0.6, TWO: 0.7, THREE: 0.1}
    assert found["rows"]["largest_area"][ONCE]["dice"] == pytest.approx((0.6 + 0.7 + 0.1) / 3, abs=1e-4)
    assert found["rows"]["largest_area"][ONCE]["required"] == 0.65
    assert found["rows"]["consistent"][ONCE]["key_slices"] == 4
    assert found["contoured"] == {ONE: 2, TWO: 1, THREE: 1}
    gain = found["gains"]["consistent"][ONCE]
    assert gain == {"dice": 0.1, "standard_error": 0.0, "cases_better": 2}, "0.1 in both cases"
    assert "largest_area" not in found["gains"]
    text = markdown(found)
    assert "| consistent | once | 0.567 | 0.700 | +0.100 ± 0.000, 2 of 2 | 4.0 | 9 | 2.0 |" in text


def test_a_case_that_failed_counts_as_0_and_costs_no_time() -> None:
    lines = [
        line("largest_area", "A", {1: 0.8}),
        StrategyLine("largest_area", ONCE, "B", (1,), (0.0,), 0, 0, 0.0, "", failed=True),
    ]
    found = summarize(lines, About(TABLE, [], 0, {"B": "B.nii.gz: found a file that is cut short"}))
    row = found["rows"]["largest_area"][ONCE]
    assert row["dice"] == 0.4 and row["key_slices"] == 4 and row["seconds"] == 2.0
    assert "failed, counted as 0: B: B.nii.gz: found a file that is cut short" in markdown(found)


def test_cases_of_the_report_are_spared() -> None:
    table = LabelTable.default([1, 2, 3, 4, 5, 6, 7])
    names = ["brainstem", "spinal_cord", "right_parotid", "left_parotid", "esophagus", "larynx", "mandible"]
    table = LabelTable([replace(table[value], name=name) for value, name in enumerate(names, start=1)], "head-neck")

    def case(name: str, contoured: set[int] | None) -> DataCase:
        return DataCase(name, Path(name), Path(name), None if contoured is None else frozenset(contoured))

    cases = (case("all", None), case("five", {1, 2, 3, 4, 7}), case("four", {1, 2, 3, 4, 5, 6}))
    dataset = DataSet(Path("data"), table, (), (), cases)
    assert [one.name for one in cases_to_choose_on(dataset, "head-neck")] == ["four"]
    assert [one.name for one in cases_to_choose_on(dataset, "none")] == ["all", "five", "four"]
    with pytest.raises(InputError, match="that the report of the ablation leaves"):
        cases_to_choose_on(replace(dataset, validation=cases[:2]), "head-neck")


class ByGrey(nn.Module):
    """Both members tell the structures of `training_set` by their grey; counts the slices that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __deepcopy__(self, memo: dict) -> ByGrey:
        return self

    def forward(self, images: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        self.seen += len(images)
        hu = images[:, :1] * 400 - 150
        logits = -((hu - (torch.arange(4.0)[None, :, None, None] * 70 - 40)) ** 2) / 100
        return logits, logits.clone()


@pytest.fixture
def pair(training_set: Path, monkeypatch: pytest.MonkeyPatch) -> ByGrey:
    made, table = ByGrey(), read_dataset(training_set).table

    def load(name: str, weights: Path | None = None, *, device: str, precision: str = "auto") -> Referencer:
        return Referencer(made, table, InputSettings(None, "three"), device, "float32")

    monkeypatch.setattr(Referencer, "load", load)
    return made


@pytest.fixture
def options(tmp_path: Path) -> Options:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"weights")
    return Options(strategies=("largest_area", "consistent"), model=str(weights), spare="none")


def test_a_run_and_one_that_goes_on(training_set: Path, tmp_path: Path, pair: ByGrey, options: Options) -> None:
    out = tmp_path / "out"
    found = run(training_set, out, options, quiet=True)
    assert found["cases"] == 2 and found["failed"] == {}
    assert set(found["rows"]) == {ALONE, "largest_area", "consistent"}
    for strategy, ways in found["rows"].items():
        assert list(ways) == ([EVERY_SLICE] if strategy == ALONE else [ONCE, ASKED, BLENDED])
        for way, row in ways.items():
            if way == ONCE:
                assert row["dice"] == 0, "the slices that are looked at first, 0 and 5, show nothing"
                continue
            assert row["dice"] > 0.8, (strategy, way)
            assert (row["key_slices"] > 0) == (strategy != ALONE)
        assert ways.get(BLENDED, ways.get(EVERY_SLICE))["seen"] == 6
    assert found["rows"]["consistent"][ONCE]["seconds"] < found["rows"]["consistent"][BLENDED]["seconds"]
    rows = list(csv.DictReader((out / "structures.csv").open()))
    assert len(rows) == 2 * 3 * (1 + 2 * 3) and json.loads((out / "results.json").read_text(encoding="utf-8")) == found
    lines, seen = (out / "cases.jsonl").read_text(encoding="utf-8").splitlines(keepends=True), pair.seen
    (out / "cases.jsonl").write_text("".join(lines[:-3]) + lines[-3][:40])  # killed while it wrote
    again = run(training_set, out, options, quiet=True)
    assert pair.seen - seen < seen / 3, "the last strategy of the last case alone"
    for one in (found, again):
        for ways in one["rows"].values():
            for row in ways.values():
                del row["seconds"]
    assert again == found


def test_a_case_that_fails_is_named_and_tried_again(
    training_set: Path, tmp_path: Path, pair: ByGrey, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    from volumes import formats

    options, read = replace(options, strategies=("none",)), formats.read_volume

    def broken(path: Path) -> object:
        if path.name.startswith("Y"):
            raise InputError(path, found="a file that is cut short", expected="a whole one", fix="copy it again")
        return read(path)

    monkeypatch.setattr(formats, "read_volume", broken)
    found = run(training_set, tmp_path / "out", options, quiet=True)
    assert list(found["failed"]) == ["Y"] and "cut short" in found["failed"]["Y"]
    assert 0.4 < found["rows"][ALONE][EVERY_SLICE]["dice"] < 0.51
    monkeypatch.setattr(formats, "read_volume", read)
    found = run(training_set, tmp_path / "out", options, quiet=True)
    assert found["failed"] == {} and found["rows"][ALONE][EVERY_SLICE]["dice"] > 0.8


def test_what_cannot_be_compared(training_set: Path, tmp_path: Path, pair: ByGrey, options: Options) -> None:
    with pytest.raises(InputError, match="'best'; expected one of largest_area"):
        run(training_set, tmp_path / "out", replace(options, strategies=("best",)), quiet=True)
    with pytest.raises(InputError, match="brainstem"):
        run(training_set, tmp_path / "out", replace(options, spare="head-neck"), quiet=True)
    assert not (tmp_path / "out").exists(), "refused before anything is made"


def test_a_pair_for_other_structures(training_set: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--model head-neck: found a pair for brainstem"):
        run(training_set, tmp_path / "out", Options(spare="none"), quiet=True)
