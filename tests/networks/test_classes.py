"""Classes of a network for the labels of a table."""

from __future__ import annotations

from networks.classes import class_numbers, class_values, known_classes, mirrored_classes
from volumes.labels import Label, LabelTable

TABLE = LabelTable([Label(value, name, (0, 0, 0)) for value, name in ((3, "spleen"), (7, "liver"))])


def test_labels_and_classes_are_each_other_s() -> None:
    numbers = class_numbers(TABLE)
    assert class_values(TABLE) == (0, 3, 7) and numbers[list(class_values(TABLE))].tolist() == [0, 1, 2]
    assert numbers.shape == (256,) and numbers.sum() == 3


def test_the_background_is_always_known() -> None:
    assert known_classes(TABLE, None).tolist() == [True, True, True]
    assert known_classes(TABLE, (7,)).tolist() == [True, False, True]
    assert known_classes(TABLE, ()).tolist() == [True, False, False]


def test_which_class_becomes_which() -> None:
    names = ["spleen", "kidney_left", "adrenal gland right", "kidney_right", "Adrenal-Gland-Left", "lobe_l", "lobe_r"]
    table = LabelTable([Label(3 * n, name, (0, 0, 0)) for n, name in enumerate(names, start=1)])
    assert mirrored_classes(table).tolist() == [0, 1, 4, 5, 2, 3, 7, 6]
    assert mirrored_classes(LabelTable.read("flare22")).tolist() == [0, 1, 13, 3, 4, 5, 6, 8, 7, 9, 10, 11, 12, 2]
