"""Values that do not fit where they stand: what hostile requests are made of."""

from __future__ import annotations

from typing import Any

from tests.tools.annotate.serving import SHAPE

PIXELS = SHAPE[1] * SHAPE[2]
ROUTES = ("", "/image", "/pixels", "/events", "/edit", "/propagate", "/cancel", "/automatic", "/assist", "/export")
ROUTES += ("/import", "/editor", "/done", "/exports/x")

BAD_NUMBERS: list[Any] = [-1, 10**9, 10**30, 1.5, "1", None, True, [], {}, float("nan"), float("inf"), -(2**63), "٣"]
BAD_TEXT: list[Any] = ["", " ", "x" * 5000, "a\0b", "a\nb", "\ud800", 5, None, [], {}, True, "12"]
BAD_RUNS: list[Any] = [
    [1],
    [0, 0],
    [5, -2],
    [-5, 2],
    [PIXELS, 1],
    [PIXELS - 1, 2],
    [10, 5, 12, 5],
    [30, 2, 10, 2],
    [0, 10**12],
    [10**40, 1],
    [0.5, 1],
    ["0", 1],
    [None, 1],
    [True, 1],
    [[0, 1]],
    "0,1",
    "AAAA",  # a run-length code, which is for answers
    {"0": 1},
    None,
    float("nan"),
    list(range(0, 3001)),
]
EDITS: list[dict[str, Any]] = [
    {"action": "paint", "z": 4, "label": 1, "runs": [5, 5]},
    {"action": "erase", "z": 4, "label": None, "runs": [5, 5]},
    {"action": "accept", "z": 4},
    {"action": "reject", "z": 4},
    {"action": "clear", "z": 4},
    {"action": "accept_all", "from": 0, "to": 5},
    {"action": "absent", "z": 4, "label": 1},
    {"action": "clear_label", "z": 4, "label": 1},
    {"action": "extent", "label": 1, "range": [0, 9]},
    {"action": "add_label", "name": "new", "color": [1, 2, 3]},
    {"action": "rename_label", "value": 1, "name": "other"},
    {"action": "recolor_label", "value": 1, "color": [1, 2, 3]},
    {"action": "visible", "value": 1, "visible": False},
    {"action": "lock", "value": 1, "locked": True},
    {"action": "delete_label", "value": 1},
    {"action": "undo"},
    {"action": "redo"},
]
ASSISTS: list[dict[str, Any]] = [
    {"tool": "wand", "z": 4, "seed": [5, 5], "low": 0, "high": 100},
    {"tool": "scribble", "z": 4, "inside": [5, 5], "outside": [50, 5]},
    {"tool": "box", "z": 4, "box": [1, 1, 9, 9]},
    {"tool": "polygon", "z": 4, "points": [[1, 1], [1, 9], [9, 9]]},
    {"tool": "threshold", "z": 4, "runs": [5, 5], "low": 0, "high": 100},
    {"tool": "fill", "z": 4, "label": None, "seed": [5, 5]},
]
WRONG: dict[str, list[Any]] = {
    "z": [*BAD_NUMBERS, SHAPE[0], 255],
    "label": [*[bad for bad in BAD_NUMBERS if bad is not None], 0, 99, 256],
    "value": [*BAD_NUMBERS, 0, 99, 256],
    "runs": BAD_RUNS,
    "inside": BAD_RUNS,
    "outside": BAD_RUNS,
    "name": [*BAD_TEXT, "x" * 65, "spleen", "-7"],
    "color": [[], [1, 2], [1, 2, 256], [1, 2, -1], [1, 2, 0.5], ["1", 2, 3], "#ffffff", 7, [1, 2, 3, 4]],
    "range": [[], [3], [5, 2], [0, SHAPE[0]], [-1, 3], [6, 9], ["0", 3], "0-3", 7, [0, 1, 2]],
    "from": [bad for bad in BAD_NUMBERS if bad is not None],
    "to": [*[bad for bad in BAD_NUMBERS if bad is not None], SHAPE[0]],
    "visible": [0, 1, "true", None, [], 2],
    "locked": [0, 1, "true", None, [], 2],
    "seed": [[], [1], [1, 2, 3], [-1, 5], [SHAPE[1], 0], [0, SHAPE[2]], [1.5, 2], "1,2", None, [10**30, 0]],
    "box": [[], [1, 2, 3], [9, 9, 1, 1], [0, 0, 99, 99], [-1, 0, 5, 5], "box", None, [0, 0, 0, 0]],
    "points": [[], [[1, 1]], [[1, 1], [2, 2]], [[1], [2], [3]], "points", [[float("nan"), 1]] * 3, [[1e300, 1]] * 3],
    "low": ["0", float("nan"), 10**9, [], float("-inf")],
    "high": ["0", float("nan"), 10**9, [], -5],
    "client": ["", "nobody", "page-1 ", "x" * 65, 1, [], "../../x", "page-2"],
    "action": ["", "paintt", "__class__", 1, None, [], {}, "put_slices"],
    "tool": ["", "wandd", 1, None, [], {}],
}
PATHS = ["..", ".", "../..", "../../etc/passwd", "/etc/passwd", "case/..", "..\\..", "a\0", "%2e%2e", "case.keyslice"]
PATHS += ["....//", "~", "case.nii.gz", "CASE", "case ", "x" * 3000, "\u202e", "journal.bin", "../case.json", "*", ""]
FIELDS: dict[str, list[Any]] = {
    "kind": ["", "dicom", "../x", 1, None, [], "nifti "],
    "given_only": ["true", 1, [], None],
    "model": [*BAD_TEXT, "../weights", "no-such-model"],
    "take": [False, 0, "true", None, []],
    "done": ["true", 1, None, []],
}
BODIES: dict[str, dict[str, Any]] = {
    "/export": {"kind": "nifti", "given_only": False},
    "/automatic": {"model": "head-neck"},
    "/editor": {"take": True},
    "/done": {"done": True},
}
