"""Rules about components: what training cases teach, and what the rules then take out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from baseline3d.postprocess import as_plain, from_plain
from baseline3d.postprocess_components import ComponentRule, learnt_rule
from baseline3d.postprocess_single_label import SmallPartsRemoved
from volumes.datasets import DataCase
from volumes.errors import InputError
from volumes.formats import write_label_map
from volumes.label_map import LabelMap
from volumes.labels import Label, LabelTable
from volumes.volume import Geometry

TABLE = LabelTable([Label(v, n, (v, v, v)) for v, n in ((1, "liver"), (4, "kidneys"), (9, "spleen"))], "three")
MM = (3.0, 1.0, 1.0)


def label_map(*rows: list[int]) -> np.ndarray:
    return np.array([rows], np.uint8)


def case(folder: Path, name: str, array: np.ndarray, contoured: frozenset[int] | None = None) -> DataCase:
    path = folder / f"{name}.nii.gz"
    write_label_map(LabelMap(array, Geometry.axial(array.shape, MM), TABLE), path)
    return DataCase(name, path, path, contoured)


def test_what_the_training_cases_teach(tmp_path: Path) -> None:
    """The kidneys are two; the liver has a stray voxel in one case; the spleen is not contoured where it is two."""
    first = case(tmp_path, "a", label_map([1, 1, 1, 0, 4, 4, 0, 4], [1, 1, 1, 0, 4, 0, 0, 4]))
    second = case(tmp_path, "b", label_map([1, 1, 1, 1, 1, 0, 1, 9], [1, 1, 1, 1, 0, 0, 0, 9]))
    third = case(tmp_path, "c", label_map([0, 9, 0, 9, 0, 0, 0, 1], [0, 9, 0, 0, 0, 0, 0, 1]), frozenset({1}))
    rule = learnt_rule([first, second, third], TABLE)
    assert rule.shares == {"liver": 0.9, "kidneys": 0.6, "spleen": 1.0} and rule.single == ("spleen",)
    assert [line.split(":")[0] for line in rule.skipped(TABLE)] == [
        "liver keeps all components",
        "kidneys keeps all components",
    ]
    lenient = learnt_rule([first, second, third], TABLE, 0.9)
    assert lenient.single == ("liver", "spleen") and len(lenient.skipped(TABLE)) == 1
    unseen = learnt_rule([third], TABLE)
    assert unseen.single == ("liver",) and "no training case has it" in unseen.skipped(TABLE)[0]


def test_structures_of_one_piece_keep_the_largest_component() -> None:
    rule = ComponentRule({"liver": 1.0, "kidneys": 0.5})
    labels = label_map([1, 1, 0, 1, 4, 0, 4, 9, 0, 9])
    assert rule.apply(labels, MM, TABLE).tolist() == [[[1, 1, 0, 0, 4, 0, 4, 9, 0, 9]]]
    other = LabelTable([Label(4, "liver", (1, 1, 1)), Label(1, "bone", (2, 2, 2))], "numbered otherwise")
    assert rule.apply(labels, MM, other).tolist() == [[[1, 1, 0, 1, 4, 0, 0, 9, 0, 9]]], "by name, not by number"


def test_small_parts_go_whatever_they_are() -> None:
    labels = label_map([1] * 8 + [0, 1, 0, 1, 1, 0, 4, 0, 4])
    assert SmallPartsRemoved(0.1).apply(labels, MM, TABLE)[0, 0].tolist() == [1] * 8 + [0, 0, 0, 1, 1, 0, 4, 0, 4]
    assert SmallPartsRemoved(0.1).skipped(TABLE) == []


@pytest.mark.parametrize("rule", [ComponentRule({"liver": 0.97}, 0.95), SmallPartsRemoved(0.2)])
def test_they_are_kept_with_the_weights(rule: ComponentRule | SmallPartsRemoved) -> None:
    assert from_plain(as_plain(rule), "weights") == rule


def test_shares_that_are_none() -> None:
    with pytest.raises(InputError, match="least"):
        ComponentRule({}, 0.0)
    with pytest.raises(InputError, match="shares"):
        ComponentRule({"liver": 1.5})
    with pytest.raises(InputError, match="share"):
        SmallPartsRemoved(1.2)
