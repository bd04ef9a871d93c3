"""The picture: which slices it shows, which way round, and that colours are where the labels are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tools.montage import COLUMNS, KEY, KEYS_SHOWN, ROWS, choose_slices, draw_montage, write_montage
from tools.overlay import color_lookup, paint
from volumes.label_map import LabelMap
from volumes.labels import Label, LabelTable
from volumes.volume import Geometry, Volume


def make(labels: np.ndarray, table: LabelTable | None = None) -> tuple[Volume, LabelMap]:
    geometry = Geometry.axial(labels.shape, (4.0, 2.0, 2.0))
    hu = np.full(labels.shape, -1000, np.int16)
    hu[:, 4:-4, 4:-4] = 40
    names = table or LabelTable([Label(1, "red thing", (255, 0, 0)), Label(2, "blue thing", (0, 0, 255))])
    return Volume(hu, geometry, "case"), LabelMap(labels, geometry, names)


def test_slices_are_spread_and_key_slices_among_them() -> None:
    labels = np.zeros((100, 8, 8), np.uint8)
    labels[20:80] = 1
    shown = choose_slices(labels, [30, 50])
    assert shown == sorted(shown, reverse=True)
    assert len(shown) == len(set(shown)) == COLUMNS * ROWS
    assert {30, 50} <= set(shown)
    assert all(20 <= z < 80 for z in shown)
    assert max(a - b for a, b in zip(shown, shown[1:], strict=False)) <= 10


def test_most_of_the_picture_is_what_was_propagated() -> None:
    labels = np.ones((100, 8, 8), np.uint8)
    keys = list(range(0, 100, 3))
    assert sum(z in keys for z in choose_slices(labels, keys)) == KEYS_SHOWN


@pytest.mark.parametrize("depth", [2, 5, 12, 13])
def test_short_volumes_show_every_slice_once(depth: int) -> None:
    labels = np.ones((depth, 8, 8), np.uint8)
    shown = choose_slices(labels, [0])
    assert len(shown) == len(set(shown)) == min(depth, COLUMNS * ROWS)
    assert (
        choose_slices(labels, list(range(depth)))
        == sorted(set(choose_slices(labels, list(range(depth)))))[::-1]
    )


def test_nothing_labelled_still_makes_a_picture() -> None:
    volume, labels = make(np.zeros((6, 30, 40), np.uint8))
    assert draw_montage(volume, labels, []).size[0] > 400


def test_patient_right_is_on_the_left_of_the_picture() -> None:
    plane = np.full((20, 40), 40, np.int16)
    labels = np.zeros((20, 40), np.uint8)
    labels[5:15, 2:10] = 1  # small x: the patient's right
    table = LabelTable([Label(1, "a", (255, 0, 0))])
    picture = np.asarray(paint(plane, labels, color_lookup(table), (160, 80))).astype(int)
    redness = picture[..., 0] - picture[..., 2]
    assert redness[40, 24] > 40
    assert redness[40, 120] == 0


def test_colours_keep_to_the_labels() -> None:
    plane = np.full((32, 32), 40, np.int16)
    labels = np.zeros((32, 32), np.uint8)
    labels[8:16, 8:16], labels[20:28, 20:28] = 1, 2
    table = LabelTable([Label(1, "a", (255, 0, 0)), Label(2, "b", (0, 0, 255))])
    for size in ((320, 320), (24, 24)):  # larger and smaller than the slice
        picture = np.asarray(paint(plane, labels, color_lookup(table), size)).astype(int)
        scale = size[0] / 32
        at = [picture[int(c * scale), int(c * scale)] for c in (12, 24, 4)]
        assert at[0][0] > at[0][2] + 40
        assert at[1][2] > at[1][0] + 40
        assert at[2][0] == at[2][1] == at[2][2]


def test_key_slices_are_framed() -> None:
    labels = np.zeros((6, 30, 40), np.uint8)
    labels[:, 8:20, 8:20] = 1
    volume, label_map = make(labels)

    def framed(keys: list[int]) -> int:
        return int((np.asarray(draw_montage(volume, label_map, keys)) == KEY).all(-1).sum())

    assert framed([1, 4]) > 1.5 * framed([1]) > 0


def test_many_labels_and_long_names_fit() -> None:
    array = np.zeros((4, 40, 40), np.uint8)
    array[1, 4:36, 4:36] = (np.arange(1024).reshape(32, 32) % 255 + 1).astype(np.uint8)
    table = LabelTable(
        [Label(v, f"a structure with a very long name, number {v}", (v, 9, 99)) for v in range(1, 256)]
    )
    volume, labels = make(array, table)
    assert draw_montage(volume, labels, [1]).size[1] < 3000


def test_the_file_appears_whole(tmp_path: Path) -> None:
    volume, labels = make(np.ones((5, 30, 40), np.uint8))
    write_montage(tmp_path / "montage.png", volume, labels, [2])
    assert [path.name for path in tmp_path.iterdir()] == ["montage.png"]
    assert (tmp_path / "montage.png").read_bytes().startswith(b"\x89PNG")
