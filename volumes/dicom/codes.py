"""Coded meanings of structures, as items of DICOM sequences, and back.

A label whose table gives a SNOMED CT code has that. One that is called as in a built-in table has the code there. Any
other gets an entry by its name in a private coding scheme (PS3.16 8.2), never a made-up code of a public one.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from volumes.labels import Label, LabelTable, builtin_tables, name_key
from volumes.snomed import Category, Side, Snomed, is_identifier

if TYPE_CHECKING:
    from pydicom import Dataset

SNOMED_SCHEME = "SCT"
PRIVATE_SCHEME = "99KEYSLICE"
TEXT = 64
"""Most characters of a name (value representation LO) and of a code's meaning."""

_LONG = 16  # characters, beyond which a code is a Long Code Value
# DICOM CID 7150 and CID 244.
_CATEGORIES: dict[Category, tuple[str, str]] = {
    "anatomy": ("91723000", "Anatomical Structure"),
    "tissue": ("85756007", "Tissue"),
    "lesion": ("49755003", "Morphologically Abnormal Structure"),
}
_SIDES: dict[Side, tuple[str, str]] = {"left": ("7771000", "Left"), "right": ("24028007", "Right")}
_OLD_ANATOMY = "123037004"  # what CID 7150 had for anatomical structures until 2021


def snomed_of(label: Label) -> Snomed | None:
    """The code of a label, its own or that of a built-in label of its name; None if there is none."""
    if label.snomed is not None:
        return label.snomed
    known = _known()
    return next((known[key] for key in map(name_key, (label.name, *label.aliases)) if key in known), None)


def code_item(code: str, scheme: str, meaning: str) -> Dataset:
    """An item of a code sequence."""
    from pydicom import Dataset

    item = Dataset()
    if len(code) > _LONG:
        item.LongCodeValue = code
    else:
        item.CodeValue = code
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item


def category_item(label: Label) -> Dataset:
    """Segmented Property Category; of a label without a code nothing is known, which is Tissue as in 3D Slicer."""
    known = snomed_of(label)
    code, meaning = _CATEGORIES["tissue" if known is None else known.category]
    return code_item(code, SNOMED_SCHEME, meaning)


def type_item(label: Label) -> Dataset:
    """Segmented Property Type, with the side as its modifier."""
    known = snomed_of(label)
    if known is None:
        return code_item(name_key(label.name), PRIVATE_SCHEME, short_text(label.name))
    item = code_item(known.code, SNOMED_SCHEME, known.meaning)
    if known.side is not None:
        item.SegmentedPropertyTypeModifierCodeSequence = [code_item(*_coded_side(known.side))]
    return item


def snomed_from(category: Iterable[Any], kind: Iterable[Any], modifiers: Iterable[Any] = ()) -> Snomed | None:
    """The code in a segment's category, type and modifier sequences; None for those of other schemes."""
    item = next(iter(kind), None)
    if item is None or item.get("CodingSchemeDesignator") != SNOMED_SCHEME:
        return None
    code, meaning = str(item.get("CodeValue", "")), str(item.get("CodeMeaning", ""))
    if not is_identifier(code) or not meaning:
        return None
    inner = [*modifiers, *(item.get("SegmentedPropertyTypeModifierCodeSequence") or [])]
    sides = {value: side for side, (value, _) in _SIDES.items()}
    side = next((sides[one.get("CodeValue")] for one in inner if one.get("CodeValue") in sides), None)
    categories = {value: name for name, (value, _) in _CATEGORIES.items()} | {_OLD_ANATOMY: "anatomy"}
    named = next((categories[one.get("CodeValue")] for one in category if one.get("CodeValue") in categories), None)
    return Snomed(code, meaning, side, named or "anatomy")


def short_text(name: str) -> str:
    """A name as DICOM's LO holds it: one line of at most 64 characters, no backslash."""
    return " ".join(name.replace("\\", "/").split())[:TEXT]


def _coded_side(side: Literal["left", "right"]) -> tuple[str, str, str]:
    code, meaning = _SIDES[side]
    return code, SNOMED_SCHEME, meaning


@cache
def _known() -> dict[str, Snomed]:
    found: dict[str, Snomed] = {}
    for name in builtin_tables():
        for label in LabelTable.read(name).values():
            if label.snomed is not None:
                found.update(dict.fromkeys(map(name_key, (label.name, *label.aliases)), label.snomed))
    return found
