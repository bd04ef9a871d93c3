"""Label tables: the built-in one, YAML files, default names."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest

from volumes import InputError, Label, LabelTable
from volumes.labels import builtin_tables

FLARE22 = {
    1: ("liver", 5),
    2: ("right_kidney", 3),
    3: ("spleen", 3),
    4: ("pancreas", 5),
    5: ("aorta", 2),
    6: ("inferior_vena_cava", 2),
    7: ("right_adrenal_gland", 2),
    8: ("left_adrenal_gland", 2),
    9: ("gallbladder", 2),
    10: ("esophagus", 3),
    11: ("stomach", 5),
    12: ("duodenum", 7),
    13: ("left_kidney", 3),
}


def test_flare22_has_the_challenge_numbers_names_and_tolerances() -> None:
    table = LabelTable.read("flare22")
    assert {value: (label.name, label.tolerance_mm) for value, label in table.items()} == FLARE22
    assert [label.value for label in table.values()] == sorted(FLARE22)
    assert {label.name for label in table.values() if label.role == "tubular"} == {
        "aorta",
        "inferior_vena_cava",
        "esophagus",
    }
    assert "flare22" in builtin_tables()


def test_flare22_colours_can_be_told_apart() -> None:
    colors = [label.color for label in LabelTable.read("flare22").values()]
    for one, other in combinations(colors, 2):
        assert sum(abs(a - b) for a, b in zip(one, other, strict=True)) > 60


def test_the_built_in_table_is_found_from_any_folder(tmp_path) -> None:
    (tmp_path / "configs").mkdir()  # somebody else's folder of that name
    root = Path(__file__).resolve().parents[2]
    code = "from volumes import LabelTable; print(len(LabelTable.read('flare22')))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r}); {code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "13"


@pytest.mark.parametrize(
    ("label", "value"),
    [("liver", 1), ("Liver", 1), ("oesophagus", 10), ("left kidney", 13), ("5", 5), (5, 5), (200, 200)],
)
def test_names_aliases_and_numbers_resolve(label, value) -> None:
    assert LabelTable.read("flare22").resolve(label) == value


@pytest.mark.parametrize("label", ["hart", 0, -1, 256, "0", "-3", ""])
def test_what_does_not_resolve(label) -> None:
    with pytest.raises(InputError):
        LabelTable.read("flare22").resolve(label)


def test_yaml_short_and_long_form(tmp_path) -> None:
    path = tmp_path / "table.yaml"
    path.write_text("labels:\n  7: {name: cyst, color: [1, 2, 3], tolerance_mm: 1.5, role: organ}\n  1: liver\n")
    table = LabelTable.read(path)
    assert table[7] == Label(7, "cyst", (1, 2, 3), "organ", 1.5)
    assert list(table) == [1, 7] and table.by_name("liver").value == 1


def test_json_without_the_labels_level(tmp_path) -> None:
    path = tmp_path / "labels.json"
    path.write_text('{"1": "spleen", "12": "artery_aorta"}')
    assert LabelTable.read(path).names() == ("spleen", "artery_aorta")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just words",
        "labels: [",
        "labels: {}",
        "labels: {0: background}",
        "labels: {256: much}",
        "labels: {one: liver}",
        "labels: {1: 5}",
        "labels: {1: ''}",
        "labels: {1: '7'}",
        "labels: {1: liver, 2: Liver}",
        "labels: {1: liver, 1: spleen}",
        "labels: {1: {name: liver, colour: [1, 2, 3]}}",
        "labels: {1: {name: liver, color: [1, 2]}}",
        "labels: {1: {name: liver, color: [1, 2, 300]}}",
        "labels: {1: {name: liver, tolerance_mm: -1}}",
        "labels: {1: {name: liver, tolerance_mm: .nan}}",
        "labels: {1: {name: liver, aliases: leber}}",
        "labels: {1: {name: liver, role: 3}}",
        "labels: {1: {name: '${oc.env:HOME}'}, 2: '${labels.1.name}', 3: {}}",
    ],
)
def test_bad_tables(text, tmp_path) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        LabelTable.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_table_and_binary_table(tmp_path) -> None:
    with pytest.raises(InputError, match="flare22"):
        LabelTable.read("flare23")
    (tmp_path / "table.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError):
        LabelTable.read(tmp_path / "table.yaml")


def test_default_table_has_255_names_and_colours() -> None:
    table = LabelTable.default(range(1, 256))
    assert table[200].name == "label_200"
    assert len({label.color for label in table.values()}) > 240
    with pytest.raises(InputError):
        LabelTable.default([0])


def test_covering_adds_only_what_is_missing() -> None:
    table = LabelTable.read("flare22").covering([1, 40])
    assert len(table) == 14 and table[40].name == "label_40" and table[1].name == "liver"
    assert table.name_of(40) == "label_40" and table.name_of(99) == "label_99"
