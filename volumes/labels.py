"""Label tables: what a label number is called and how it is coloured.

A table is a YAML (or JSON) file, or the name of a built-in one (`flare22`):

    name: my_structures
    labels:
      1: liver                                            # short: only a name
      2: {name: aorta, color: [216, 48, 56], tolerance_mm: 2, role: tubular, aliases: [ao]}
      3: {name: right_kidney, snomed: {code: 64033007, meaning: Kidney, side: right}}

The `labels:` level may be left out.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from volumes.errors import InputError
from volumes.snomed import Snomed
from volumes.snomed import parse as parse_snomed

Color = tuple[int, int, int]
MAX_LABEL = 255
_FIELDS = {"name", "color", "role", "tolerance_mm", "aliases", "snomed"}

ROLES = ("organ", "tubular", "adrenal", "liver", "gallbladder")
"""What a structure can be to the rules that scores and post-processing have for some; `organ`: no rule of its own."""


@dataclass(frozen=True)
class Label:
    """One label.

    Attributes:
        value: 1..255.
        name: what the structure is called.
        color: red, green, blue, 0..255.
        role: the rule that a score or a post-processing step applies to it, if any.
        tolerance_mm: surface distance that the NSD forgives, if the table states one.
        aliases: other names that `LabelTable.resolve` takes.
        snomed: what it is called in DICOM, if the table says so.
    """

    value: int
    name: str
    color: Color
    role: str | None = None
    tolerance_mm: float | None = None
    aliases: tuple[str, ...] = ()
    snomed: Snomed | None = None


class LabelTable(Mapping[int, Label]):
    """Labels by number, in rising order.

    Args:
        labels: the labels; numbers and names (aliases included, whatever the case) must be unique.
        name: what the table is called, for messages: a built-in's name or a file.
    """

    def __init__(self, labels: Iterable[Label], name: str = "labels") -> None:
        self.name = name
        self._labels: dict[int, Label] = {}
        self._values: dict[str, int] = {}
        for label in sorted(labels, key=lambda one: one.value):
            if not 1 <= label.value <= MAX_LABEL:
                raise self._bad(f"label number {label.value}", "1 to 255 (0 is background)", "renumber it")
            if label.value in self._labels:
                raise self._bad(f"number {label.value} twice", "each number once", "renumber one of the two")
            self._labels[label.value] = label
            for key in {name_key(text) for text in (label.name, *label.aliases)}:
                if self._values.setdefault(key, label.value) != label.value:
                    raise self._bad(f"the name '{key}' twice", "each name once", "rename one of the two")

    @classmethod
    def read(cls, source: str | Path) -> LabelTable:
        """Read a built-in table by name or a YAML or JSON file by path; raises InputError."""
        builtin = _builtin(str(source))
        if builtin is not None:
            return cls._parse(builtin, str(source))
        path = Path(source)
        if not path.is_file():
            raise InputError(
                path,
                found="no such file",
                expected=f"a YAML file or a built-in table: {', '.join(builtin_tables())}",
                fix="check the path or the name",
            )
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                path,
                found=f"no readable text ({error})",
                expected="a label table in YAML",
                fix="check the file",
            ) from error
        return cls._parse(text, str(path))

    @classmethod
    def default(cls, values: Iterable[int]) -> LabelTable:
        """A table that calls the labels `label_1`, `label_2`, ... in distinct colours."""
        return cls(Label(int(value), f"label_{int(value)}", distinct_color(int(value))) for value in values)

    @classmethod
    def _parse(cls, text: str, name: str) -> LabelTable:
        import yaml

        expected = "a table such as 'labels: {1: liver, 2: {name: aorta, color: [216, 48, 56]}}'"
        fix = "correct the file; `keyslice labels` shows a complete table"
        try:
            twice = _repeated_key(yaml.compose(text, Loader=yaml.SafeLoader))
            content = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError) as error:
            raise InputError(name, found=f"text that is not YAML ({error})", expected=expected, fix=fix) from error
        if twice is not None:
            raise InputError(name, found=f"the key '{twice}' twice", expected="each key once", fix=fix)
        if isinstance(content, dict) and isinstance(content.get("labels"), dict):
            content = content["labels"]
        if not isinstance(content, dict) or not content:
            raise InputError(name, found="no labels", expected=expected, fix=fix)
        return cls([_label(key, entry, name) for key, entry in content.items()], name=name)

    def __getitem__(self, value: int) -> Label:
        return self._labels[value]

    def __iter__(self) -> Iterator[int]:
        return iter(self._labels)

    def __len__(self) -> int:
        return len(self._labels)

    def __repr__(self) -> str:
        return f"LabelTable({self.name!r}, {len(self)} labels)"

    def __hash__(self) -> int:
        return hash(tuple(self._labels.values()))

    def by_name(self, name: str) -> Label:
        """The label of this name or alias; raises InputError if there is none."""
        value = self._values.get(name_key(name))
        if value is None:
            raise self._bad(f"no label '{name}'", f"one of {', '.join(self.names())}", "correct the name")
        return self._labels[value]

    def names(self) -> tuple[str, ...]:
        """All names, in the order of their numbers."""
        return tuple(label.name for label in self._labels.values())

    def resolve(self, label: str | int) -> int:
        """Number of a label given as name, alias or number (`"liver"`, `"1"`, 1).

        A number need not be in the table: 1..255 are all labels. Raises InputError.
        """
        text = str(label).strip()
        if text.lstrip("+-").isdecimal():
            value = int(text)
            if not 1 <= value <= MAX_LABEL:
                raise self._bad(f"label {value}", "a label number from 1 to 255", "correct the number")
            return value
        return self.by_name(text).value

    def name_of(self, value: int) -> str:
        """Name of a label, `label_<value>` where the table has none."""
        return self._labels[value].name if value in self._labels else f"label_{value}"

    def covering(self, values: Iterable[int]) -> LabelTable:
        """This table with a default entry added for each value that it lacks."""
        missing = [int(value) for value in values if int(value) not in self._labels]
        if not missing:
            return self
        return LabelTable([*self._labels.values(), *LabelTable.default(missing).values()], name=self.name)

    def _bad(self, found: str, expected: str, fix: str) -> InputError:
        return InputError(f"label table {self.name}", found=found, expected=expected, fix=fix)


def builtin_tables() -> tuple[str, ...]:
    """Names of the tables that ship with Keyslice."""
    folder = files("configs").joinpath("labels")
    return tuple(sorted(entry.name[: -len(".yaml")] for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def distinct_color(value: int) -> Color:
    """A colour for a label number; neighbouring numbers get colours far apart (golden-angle hues)."""
    hue = (value * 0.61803398875) % 1.0
    saturation = (0.75, 0.55, 0.9)[value % 3]
    brightness = (0.9, 1.0, 0.7)[(value // 3) % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, brightness)
    return round(255 * red), round(255 * green), round(255 * blue)


def _builtin(name: str) -> str | None:
    if not name.isidentifier() or name not in builtin_tables():
        return None
    return files("configs").joinpath("labels", f"{name}.yaml").read_text(encoding="utf-8")


def name_key(name: str) -> str:
    """What two names that mean the same label have in common."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _repeated_key(node: Any) -> str | None:
    """First key that occurs twice in one mapping of a YAML node tree; YAML itself would keep the last."""
    children = node.value if node is not None and isinstance(node.value, list) else []
    seen: set[str] = set()
    for child in children:
        key, value = child if isinstance(child, tuple) else (None, child)
        if key is not None and str(key.value) in seen:
            return str(key.value)
        if key is not None:
            seen.add(str(key.value))
        deeper = _repeated_key(value)
        if deeper is not None:
            return deeper
    return None


def _label(key: Any, entry: Any, where: str) -> Label:
    def bad(found: str, expected: str) -> InputError:
        return InputError(where, found=f"{found} for label {key}", expected=expected, fix="correct the file")

    if isinstance(key, bool) or not str(key).isdecimal() or not 1 <= int(key) <= MAX_LABEL:
        raise InputError(
            where,
            found=f"the label number '{key}'",
            expected="1 to 255 (0 is background)",
            fix="correct the file",
        )
    value = int(key)
    fields = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(fields, dict):
        raise bad(f"'{entry}'", "a name, or {name: ..., color: [r, g, b]}")
    unknown = sorted(str(one) for one in fields if one not in _FIELDS)
    if unknown:
        raise bad(f"the field '{unknown[0]}'", f"only {', '.join(sorted(_FIELDS))}")
    name = fields.get("name")
    if not isinstance(name, str) or not name.strip() or name.strip().lstrip("+-").isdecimal():
        raise bad(f"the name '{name}'", "a name that is not a number")
    aliases = fields.get("aliases") or []
    if not isinstance(aliases, list) or not all(isinstance(one, str) for one in aliases):
        raise bad(f"aliases '{aliases}'", "a list of names")
    role = fields.get("role")
    if role is not None and role not in ROLES:
        raise bad(f"the role '{role}'", f"one of {', '.join(ROLES)}")
    tolerance = fields.get("tolerance_mm")
    if tolerance is not None and not (_is_number(tolerance) and tolerance > 0):
        raise bad(f"tolerance_mm '{tolerance}'", "a positive number of millimetres")
    color = fields.get("color")
    if color is None:
        rgb = distinct_color(value)
    elif isinstance(color, list) and len(color) == 3 and all(type(c) is int and 0 <= c <= 255 for c in color):
        rgb = (color[0], color[1], color[2])
    else:
        raise bad(f"the colour '{color}'", "three whole numbers from 0 to 255")
    try:
        snomed = None if fields.get("snomed") is None else parse_snomed(fields["snomed"])
    except ValueError as error:
        raise bad(f"snomed {error}", "such as snomed: {code: 64033007, meaning: Kidney, side: right}") from error
    tolerance = None if tolerance is None else float(tolerance)
    return Label(value, name.strip(), rgb, role, tolerance, tuple(aliases), snomed)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
