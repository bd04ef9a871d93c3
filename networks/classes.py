"""From label tables to the classes of a network, which are numbered without gaps, as labels need not be."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from volumes.errors import InputError
from volumes.labels import LabelTable, name_key

_SIDES = {"left": "right", "right": "left", "l": "r", "r": "l"}


def class_values(table: LabelTable) -> tuple[int, ...]:
    """Label of every class of a network for `table`: 0, then its labels in rising order.

    Classes are numbered without gaps, labels need not be: class `c` stands for label `class_values(table)[c]`.
    """
    return (0, *table)


def class_numbers(table: LabelTable) -> NDArray[np.uint8]:
    """uint8 (256,): the class of every label of `table`, 0 for what is none."""
    values = class_values(table)
    classes = np.zeros(256, np.uint8)
    classes[list(values)] = np.arange(len(values))
    return classes


def known_classes(table: LabelTable, contoured: Collection[int] | None) -> NDArray[np.bool_]:
    """bool (K+1,): classes of the labels that a case contours (None: all of the table), the background among them."""
    values = class_values(table)
    if contoured is None:
        return np.ones(len(values), bool)
    return np.array([value == 0 or value in contoured for value in values])


def mirrored_classes(table: LabelTable) -> NDArray[np.uint8]:
    """uint8 (K+1,): which class each class becomes when a slice is mirrored left to right.

    A side is a word of the name: `left_kidney`, `kidney_left`, `kidney_l`.

    Raises:
        InputError: a structure of one side has no partner on the other: a mirrored slice would teach that it has.
    """
    values = [0, *table]
    numbers = {name_key(label.name): number for number, label in enumerate(table.values(), start=1)}
    classes = np.arange(len(values), dtype=np.uint8)
    for name, number in numbers.items():
        words = name.split("_")
        mirrored = "_".join(_SIDES.get(word, word) for word in words)
        if mirrored == name:
            continue
        if mirrored not in numbers:
            raise InputError(
                f"label table {table.name}",
                found=f"'{table[values[number]].name}' without a '{mirrored}'",
                expected="both sides of a structure, to mirror slices with flips: swap",
                fix="set flips: none",
            )
        classes[number] = numbers[mirrored]
    return classes
