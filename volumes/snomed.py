"""The SNOMED CT code of a structure in a label table, as DICOM wants it.

In a table: `snomed: {code: 64033007, meaning: Kidney, side: right}`. Laterality is a code of its own beside that of
the structure, as DICOM prefers (PS3.16 8.1): there is one kidney, left or right.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

Side = Literal["left", "right"]
Category = Literal["anatomy", "tissue", "lesion"]

_FIELDS = {"code", "meaning", "side", "category"}
# Tables of the check digit that ends every SNOMED CT identifier (Verhoeff, Error detecting decimal codes, 1969).
_DIHEDRAL = [
    [(a + b) % 5 if a < 5 and b < 5 else 5 + (a + b) % 5 if a < 5 else 5 + (a - b) % 5 if b < 5 else (a - b) % 5
     for b in range(10)]
    for a in range(10)
]  # fmt: skip
_PERMUTATION = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


@dataclass(frozen=True)
class Snomed:
    """What a structure is.

    Attributes:
        code: SNOMED CT identifier of the structure.
        meaning: what it stands for, at most 64 characters.
        side: which of a pair.
        category: of segments (DICOM CID 7150): an anatomical structure, tissue, or something morphologically abnormal.
    """

    code: str
    meaning: str
    side: Side | None = None
    category: Category = "anatomy"


def parse(entry: Any) -> Snomed:
    """The `snomed` entry of a label; raises ValueError that says what is wrong with it."""
    if not isinstance(entry, dict) or not {"code", "meaning"} <= entry.keys() <= _FIELDS:
        raise ValueError(f"'{entry}', not {{code: ..., meaning: ...}} with side and category at most")
    code, meaning = str(entry["code"]), entry["meaning"]
    side, category = entry.get("side"), entry.get("category", "anatomy")
    if isinstance(entry["code"], bool) or not is_identifier(code):
        raise ValueError(f"the code '{code}', which is no SNOMED CT identifier")
    if not isinstance(meaning, str) or not 0 < len(meaning.strip()) <= 64 or "\\" in meaning:
        raise ValueError(f"the meaning '{meaning}', not a text of 1 to 64 characters")
    if side is not None and side not in get_args(Side):
        raise ValueError(f"the side '{side}', not left or right")
    if category not in get_args(Category):
        raise ValueError(f"the category '{category}', not one of {', '.join(get_args(Category))}")
    return Snomed(code, meaning.strip(), cast("Side | None", side), cast(Category, category))


def is_identifier(text: str) -> bool:
    """Whether a text has the form of a SNOMED CT identifier: 6 to 18 digits, the last one checks the others."""
    if not re.fullmatch(r"[1-9][0-9]{5,17}", text):
        return False
    check = 0
    for position, character in enumerate(reversed(text)):
        digit = int(character)
        for _ in range(position % 8):
            digit = _PERMUTATION[digit]
        check = _DIHEDRAL[check][digit]
    return check == 0
