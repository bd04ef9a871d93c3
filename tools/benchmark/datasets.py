"""The cases of the benchmarks: which files, which labels, who may be scored on them.

A set is found under the data folder by its name, or any folder is given by its path. Layouts:
- nnU-Net raw: `dataset.json`, `imagesVal` or `imagesTs` or `imagesTr` with `CASE_0000.nii.gz`, and the
  `labels...` folder beside it; of the three the first that is there counts;
- `images/` and `labels/` with files of the same names;
- one case: `ct.nii.gz` with `seg.nii.gz` (names in `labels.json`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from volumes.datasets import labelled_cases, read_json
from volumes.errors import InputError
from volumes.label_map import LabelMap

MIN_SLICES, MIN_VOXELS = 5, 100
"""Smaller structures are not scored: on four slices every tool is right."""

DEFAULT_SETS = ("head-neck", "sarcoma", "liver_17")
LAST_TRAINING_SARCOMA = 20
FITTING_SETS = ("head-neck-fitting", "sarcoma-fitting")
"""Held back from training for choosing settings and for fitting the confidence."""

_FOLDERS = {
    "head-neck": "head-neck",
    "sarcoma": "sarcoma",
    "sarcoma-all": "sarcoma",
    "head-neck-fitting": "head-neck",
    "sarcoma-fitting": "sarcoma",
    "liver_17": "abdomen/liver_17",
    "torso_3mm": "abdomen/torso_3mm",
    "spleen_8": "abdomen/spleen_8",
    "aorta_crop": "thorax/aorta_crop",
    "pulm_crop": "thorax/pulm_crop",
}
_NOTES = {
    "head-neck": "validation patients",
    "sarcoma": f"held back: STS numbers above {LAST_TRAINING_SARCOMA:03d}",
    "sarcoma-all": "all patients: some were trained on",
    "head-neck-fitting": "HN_180 to HN_200: held back for choosing settings and fitting",
    "sarcoma-fitting": "STS_018 and STS_019: held back for choosing settings and fitting",
    "liver_17": "never trained on",
    "torso_3mm": "trained on: for information only",
    "spleen_8": "trained on: for information only",
    "aorta_crop": "trained on: for information only",
    "pulm_crop": "trained on: for information only",
}
_ONLY = {
    # body_other (the rest of the patient) and bone (all of it) are remainders, not structures to paint.
    "liver_17": frozenset({8, 9, 10, 11, 12}),
}
_CASES = {
    "head-neck-fitting": frozenset(f"HN_{number}" for number in range(180, 201)),
    "sarcoma-fitting": frozenset({"STS_018", "STS_019"}),
}


@dataclass(frozen=True)
class Case:
    """One CT with labels; `only` names the labels that count, None: all that occur."""

    set_name: str
    name: str
    image: Path
    labels: Path
    names: Mapping[int, str]
    only: frozenset[int] | None = None


@dataclass(frozen=True)
class CaseSet:
    """Cases that are averaged together, and what to know about them."""

    name: str
    cases: tuple[Case, ...]
    note: str = ""


@dataclass(frozen=True, eq=False)
class Structure:
    """One labelled structure, cut out of its volume.

    Attributes:
        mask: bool `(D, H, W)` of `box`; its first and last slice are the start and stop marks.
        box: where it lies in the volume.
        extent: first and last slice in the volume, both inside.
    """

    label: int
    name: str
    mask: npt.NDArray[np.bool_]
    box: tuple[slice, slice, slice]
    extent: tuple[int, int]


def find_sets(data: Path, names: Sequence[str] | None = None) -> list[CaseSet]:
    """The sets to run.

    Args:
        data: the data folder, or the folder of one set.
        names: sets by name, or paths of folders. None: the set that `data` is, else the default sets
            that are there.

    Raises:
        InputError: a folder is missing, has no layout of the above, or has no case.
    """
    if not data.is_dir():
        raise InputError(data, found="no such folder", expected="a folder of labelled CT", fix="check --data")
    if names:
        return [_open(name, _folder_of(data, name)) for name in names]
    if _layout(data) is not None:
        return [_open(data.resolve().name, data)]
    there = [name for name in DEFAULT_SETS if (data / _FOLDERS[name]).is_dir()]
    if not there:
        raise InputError(
            data,
            found="no data set",
            expected=f"one of {', '.join(DEFAULT_SETS)} in it, or a folder in nnU-Net raw layout",
            fix="name the sets with --sets",
        )
    return [_open(name, data / _FOLDERS[name]) for name in there]


def structures_of(
    case: Case, label_map: LabelMap, *, least_slices: int = MIN_SLICES, least_voxels: int = MIN_VOXELS
) -> list[Structure]:
    """Structures of a case that are large enough, as a rule to be scored, by rising label number."""
    from scipy.ndimage import find_objects

    found = []
    for label, box in enumerate(find_objects(label_map.array), start=1):
        if box is None or (case.only is not None and label not in case.only):
            continue
        mask = label_map.array[box] == label
        if mask.any(axis=(1, 2)).sum() < least_slices or mask.sum() < least_voxels:
            continue
        name = case.names.get(label, f"label_{label}")
        found.append(Structure(label, name, mask, box, (box[0].start, box[0].stop - 1)))
    return found


def _folder_of(data: Path, name: str) -> Path:
    candidates = [data / _FOLDERS[name]] if name in _FOLDERS else []
    candidates += [data / name, Path(name)]
    if data.resolve().name == Path(_FOLDERS.get(name, name)).name:
        candidates.append(data)
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise InputError(
        f"--sets {name}",
        found=f"no folder {candidates[0]}",
        expected=f"one of {', '.join(_FOLDERS)}, or the path of a folder",
        fix="correct the name or --data",
    )


def _layout(folder: Path) -> str | None:
    if (folder / "dataset.json").is_file():
        return "nnunet"
    if (folder / "images").is_dir() and (folder / "labels").is_dir():
        return "pairs"
    return "single" if (folder / "ct.nii.gz").is_file() else None


def _open(name: str, folder: Path) -> CaseSet:
    key = name if name in _FOLDERS else Path(name).name
    layout = _layout(folder)
    if layout is None:
        raise InputError(
            folder,
            found="no dataset.json, no images/ with labels/ and no ct.nii.gz",
            expected="a data set in one of these three layouts",
            fix="bring it into nnU-Net raw layout",
        )
    finder = {"nnunet": _nnunet, "pairs": _pairs, "single": _single}[layout]
    cases = [case for case in finder(key, folder) if key not in _CASES or case.name in _CASES[key]]
    if not cases:
        raise InputError(folder, found="no labelled case", expected="CT with labels", fix="check the folder")
    return CaseSet(key, tuple(cases), _NOTES.get(key, ""))


def _nnunet(name: str, folder: Path) -> list[Case]:
    described = read_json(folder / "dataset.json")
    ending = described.get("file_ending", ".nii.gz")
    names = {
        value: label for label, value in described.get("labels", {}).items() if isinstance(value, int) and value > 0
    }
    for part in ("Tr",) if name in _CASES else ("Val", "Ts", "Tr"):
        cases = labelled_cases(folder / f"images{part}", folder / f"labels{part}", ending)
        if cases:
            break
    return [Case(name, case.name, case.image, case.label, names) for case in cases if case.label is not None]


def _pairs(name: str, folder: Path) -> list[Case]:
    names = _names(folder / "labels.json")
    if not names and name.startswith("sarcoma"):
        names = {1: "tumour"}
    cases = []
    for path in sorted((folder / "labels").glob("*.nii.gz")):
        case = path.name.removesuffix(".nii.gz")
        number = case.rpartition("_")[2]
        if name == "sarcoma" and number.isdecimal() and int(number) <= LAST_TRAINING_SARCOMA:
            continue
        images = folder / "images"
        image = next(
            (p for p in (images / f"{case}_0000.nii.gz", images / path.name) if p.is_file()), images / path.name
        )
        cases.append(Case(name, case, image, path, names))
    return cases


def _single(name: str, folder: Path) -> list[Case]:
    labels, names = folder / "seg.nii.gz", _names(folder / "labels.json")
    if not labels.is_file():  # torso_3mm: two label maps; v1 is the finer one
        labels = folder / "seg_total_v1_full.nii.gz"
        names = _names(folder / "class_map.json", "total_v1")
    if not labels.is_file():
        return []
    return [Case(name, folder.resolve().name, folder / "ct.nii.gz", labels, names, _ONLY.get(name))]


def _names(path: Path, section: str | None = None) -> dict[int, str]:
    if not path.is_file():
        return {}
    content = read_json(path)
    if section is not None:
        content = content.get(section, {})
    return {int(key): str(value) for key, value in content.items()}
