"""A label as the annotation holds it: name, colour, and whether it is shown and may be changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from tools.annotate.packing import damaged
from volumes.errors import InputError
from volumes.labels import Color

MAX_NAME = 100  # characters of a label's name


class LabelState(NamedTuple):
    """One label.

    Args:
        name: what the structure is called.
        color: red, green, blue, 0..255.
        visible: whether it is drawn.
        locked: whether its pixels are to stay as they are.
        order: place in the list of labels; one that comes back by undo comes back to its place. No two labels of a case
            ever have the same one.
    """

    name: str
    color: Color
    visible: bool = True
    locked: bool = False
    order: int = 0


def check_name(name: object) -> str:
    """The name as it is kept; raises InputError unless it is one line of text that is not a number."""
    if not isinstance(name, str) or not name.strip() or len(name.strip()) > MAX_NAME or not name.strip().isprintable():
        found = f"the name '{name[:MAX_NAME]}'" if isinstance(name, str) else "no text"
        raise InputError("label", found=found, expected=f"1 to {MAX_NAME} printable characters", fix="rename it")
    if name.strip().lstrip("+-").isdecimal():
        raise InputError("label", found=f"the name '{name.strip()}'", expected="no number", fix="add a word to it")
    return name.strip()


def check_color(color: object) -> Color:
    """Raises InputError unless it is three whole numbers from 0 to 255."""
    if (
        not isinstance(color, (tuple, list))
        or len(color) != 3
        or not all(type(part) is int and 0 <= part <= 255 for part in color)
    ):
        raise InputError(
            "label", found="a colour of another form", expected="[red, green, blue] from 0 to 255", fix="correct it"
        )
    return color[0], color[1], color[2]


def label_to_json(state: LabelState) -> dict[str, Any]:
    """As it is written; `label_from_json` reads it."""
    return state._asdict()


def label_from_json(content: object, where: str | Path) -> LabelState:
    """Raises InputError unless it is what `label_to_json` wrote."""
    if not isinstance(content, dict) or set(content) != set(LabelState._fields):
        raise damaged(where, "a label with other fields")
    if not all(type(content[field]) is bool for field in ("visible", "locked")) or type(content["order"]) is not int:
        raise damaged(where, "a label's field of another type")
    return LabelState(
        check_name(content["name"]),
        check_color(content["color"]),
        content["visible"],
        content["locked"],
        content["order"],
    )
