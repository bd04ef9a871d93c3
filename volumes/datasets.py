"""Data sets to train and validate on: which files, which structures, what each case's labels speak for.

Two layouts:
- nnU-Net raw: `dataset.json`; `imagesTr/CASE_0000.nii.gz` with `labelsTr/CASE.nii.gz`; images of `imagesTr`
  without labels, and those of `imagesUn`, are unlabelled; `imagesVal` with `labelsVal` is held back.
  `"partially_labelled": true` in `dataset.json` says that a structure that a case's label map lacks was not
  contoured there, unless `cases.json` (`{CASE: {"structures": [names]}}`) lists it among the case's. `"roles":
  {"left_adrenal": "adrenal"}` says which rule a structure falls under (`volumes.labels`).
- FLARE22's own (`volumes.flare22`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from volumes.errors import InputError
from volumes.labels import ROLES, Label, LabelTable, builtin_tables, distinct_color, name_key

CHANNEL = "_0000"
"""What nnU-Net adds to the name of a CT: `CASE_0000.nii.gz` has its labels in `CASE.nii.gz`."""


@dataclass(frozen=True)
class DataCase:
    """One CT of a data set.

    Attributes:
        name: the case's name.
        image: its CT.
        label: its label map; None: unlabelled.
        contoured: labels that the map speaks for: where it does not show one of these, there is none. Of the
            other labels it says nothing. None: all of the table, or no map.
    """

    name: str
    image: Path
    label: Path | None = None
    contoured: frozenset[int] | None = None

    def contours(self, label: int) -> bool:
        """Whether the case's map speaks for `label`."""
        return self.label is not None and (self.contoured is None or label in self.contoured)


@dataclass(frozen=True)
class DataSet:
    """Cases to train on, with and without labels, and labelled cases that are held back for validation."""

    folder: Path
    table: LabelTable
    training: tuple[DataCase, ...]
    unlabelled: tuple[DataCase, ...] = ()
    validation: tuple[DataCase, ...] = ()


def read_dataset(folder: str | Path) -> DataSet:
    """The data set in a folder of one of the two layouts.

    Image files are not opened here (`volumes.integrity` looks into them); label maps only where a case is
    partly labelled and no `cases.json` says how.

    Raises:
        InputError: no such folder or layout, a description that cannot be read, a label file without its CT.
    """
    from volumes.flare22 import is_flare22, read_flare22

    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, found="no such folder", expected="a data set", fix="check the path")
    if (folder / "dataset.json").is_file():
        return _read_nnunet(folder)
    if is_flare22(folder):
        return read_flare22(folder)
    raise InputError(
        folder,
        found="no dataset.json and no Training/FLARE22_LabeledCase50",
        expected="a data set in nnU-Net raw layout or in FLARE22's",
        fix="name the folder that holds them, or bring the data into nnU-Net raw layout",
    )


def split(dataset: DataSet, labelled: int, seed: int, require: Collection[int] = ()) -> DataSet:
    """The same data set with few labelled cases: the others stay in training without their labels.

    Args:
        labelled: how many training cases keep their labels. Of one seed, fewer cases are a part of more.
        seed: of the draw, among the cases whose labels speak for all of `require`.

    Raises:
        InputError: there are not that many.
    """
    fitting = sorted((c for c in dataset.training if all(map(c.contours, require))), key=lambda case: case.name)
    if not 1 <= labelled <= len(fitting):
        names = ", ".join(dataset.table.name_of(label) for label in sorted(require))
        raise InputError(
            dataset.folder,
            found=f"{len(fitting)} labelled training cases" + (f" with all of {names}" if names else ""),
            expected=f"at least {labelled}" if labelled > 0 else f"1 or more to keep, not {labelled}",
            fix="keep the labels of fewer cases, or require fewer structures",
        )
    order = np.random.default_rng(seed).permutation(len(fitting))
    kept = {fitting[place].name for place in order[:labelled]}
    return replace(
        dataset,
        training=tuple(case for case in dataset.training if case.name in kept),
        unlabelled=(
            *(replace(case, label=None, contoured=None) for case in dataset.training if case.name not in kept),
            *dataset.unlabelled,
        ),
    )


def labelled_cases(images: Path, labels: Path, ending: str) -> list[DataCase]:
    """A case for every label file `CASE<ending>`, its CT being `CASE_0000<ending>`, by rising name."""
    paths = sorted(labels.glob(f"*{ending}"))
    names = [path.name.removesuffix(ending) for path in paths]
    return [
        DataCase(name, images / f"{name}{CHANNEL}{ending}", path)
        for name, path in zip(names, paths, strict=True)
        if not name.startswith(".")  # what a file system leaves: ._CASE.nii.gz
    ]


def unlabelled_cases(images: Path, ending: str, leave_out: Collection[str] = ()) -> list[DataCase]:
    """A case without labels for every CT `CASE_0000<ending>`, by rising name."""
    paths = sorted(images.glob(f"*{CHANNEL}{ending}"))
    cases = (DataCase(path.name.removesuffix(CHANNEL + ending), path) for path in paths)
    return [case for case in cases if case.name not in leave_out and not case.name.startswith(".")]


def check_images(cases: Collection[DataCase]) -> None:
    """Raise InputError for a label file whose CT is not there."""
    lacking = [case for case in cases if not case.image.is_file()]
    if lacking:
        more = f" (and {len(lacking) - 1} more cases like it)" if len(lacking) > 1 else ""
        raise InputError(
            lacking[0].label or lacking[0].image,
            found=f"labels without their CT{more}",
            expected=f"{lacking[0].image}",
            fix="add the CT, or take the label file away",
        )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; raises InputError for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(path, found=f"no JSON ({error})", expected="an object", fix="correct it") from error
    if not isinstance(content, dict):
        raise InputError(path, found="a JSON list or value", expected="a JSON object", fix="correct it")
    return content


def _read_nnunet(folder: Path) -> DataSet:
    path = folder / "dataset.json"
    described = read_json(path)
    ending = described.get("file_ending", ".nii.gz")
    table = _with_roles(_table(described.get("labels"), path), described.get("roles") or {}, path)
    channels = described.get("channel_names") or described.get("modality") or {}
    if len(channels) > 1:
        raise InputError(
            path,
            found=f"{len(channels)} channels an image",
            expected="one, the CT",
            fix="make a data set of the CT alone",
        )
    training = labelled_cases(folder / "imagesTr", folder / "labelsTr", ending)
    validation = labelled_cases(folder / "imagesVal", folder / "labelsVal", ending)
    check_images([*training, *validation])
    unlabelled = unlabelled_cases(folder / "imagesTr", ending, {case.name for case in training})
    unlabelled += unlabelled_cases(folder / "imagesUn", ending)
    if not training and not unlabelled:
        raise InputError(
            folder,
            found=f"no image imagesTr/CASE{CHANNEL}{ending}",
            expected="cases to train on",
            fix="check the folder, and file_ending in its dataset.json",
        )
    if described.get("partially_labelled"):
        listed = _listed(folder / "cases.json", table)
        training = [_partly(case, listed, table) for case in training]
        validation = [_partly(case, listed, table) for case in validation]
    return DataSet(folder, table, tuple(training), tuple(unlabelled), tuple(validation))


def _table(labels: Any, path: Path) -> LabelTable:
    """The table that `labels` of a dataset.json describes: `{name: number}`, or `{"number": name}` of nnU-Net 1."""

    def bad(found: str) -> InputError:
        return InputError(
            path, found=found, expected='"labels": {"background": 0, "liver": 1, ...}', fix="correct the file"
        )

    if not isinstance(labels, Mapping) or not labels:
        raise bad("no labels")
    names: list[tuple[int, str]] = []
    for key, value in labels.items():
        name, number = (value, key) if isinstance(value, str) and str(key).isdecimal() else (key, value)
        if isinstance(number, str) and number.isdecimal():
            number = int(number)
        if type(number) is not int:
            raise bad(f"'{name}': {number}" + (" (a region of several labels)" if isinstance(number, list) else ""))
        if name_key(name) == "ignore":
            raise InputError(
                path,
                found=f"an ignore label ({number})",
                expected="cases that are labelled on every slice, with all or some of the structures",
                fix='leave it out; say "partially_labelled": true where cases lack structures',
            )
        if number != 0:
            names.append((number, name))
    if not names:
        raise bad("no label but background")
    given = LabelTable([Label(number, name, distinct_color(number)) for number, name in names], name=str(path))
    # Weights keep their table: its name shall not tell strangers where on someone's disk the data lay.
    return _builtin_like(given) or LabelTable(given.values(), name=path.resolve().parent.name)


def _with_roles(table: LabelTable, roles: Any, path: Path) -> LabelTable:
    """The table, with what `roles` of a dataset.json says of its structures."""
    if not roles:
        return table
    if not isinstance(roles, Mapping) or not all(isinstance(role, str) for role in roles.values()):
        raise InputError(path, found=f"roles {roles}", expected='"roles": {"aorta": "tubular"}', fix="correct the file")
    for name, role in roles.items():
        if role not in ROLES:
            expected = f"one of {', '.join(ROLES)}"
            raise InputError(path, found=f"the role '{role}' of '{name}'", expected=expected, fix="correct the file")
    by_value = {table.by_name(str(name)).value: role for name, role in roles.items()}
    labels = [replace(label, role=by_value.get(value, label.role)) for value, label in table.items()]
    return LabelTable(labels, name=table.name)


def _builtin_like(given: LabelTable) -> LabelTable | None:
    """The built-in table of the same numbers and names, which knows tolerances and roles besides."""
    for name in builtin_tables():
        table = LabelTable.read(name)
        keys = {name_key(text): label.value for label in table.values() for text in (label.name, *label.aliases)}
        if set(given) == set(table) and all(keys.get(name_key(one.name)) == one.value for one in given.values()):
            return table
    return None


def _listed(path: Path, table: LabelTable) -> dict[str, frozenset[int]]:
    """Labels that `cases.json` lists for each case; none without that file."""
    if not path.is_file():
        return {}
    values = {_squeezed(label.name): label.value for label in table.values()}
    found = {}
    for case, entry in read_json(path).items():
        structures = entry.get("structures") if isinstance(entry, Mapping) else None
        if structures is None:
            continue
        unknown = [name for name in structures if _squeezed(str(name)) not in values]
        if unknown:
            raise InputError(
                path,
                found=f"the structure '{unknown[0]}' of {case}",
                expected=f"one of {', '.join(table.names())}",
                fix="correct the name, or add it to dataset.json",
            )
        found[case] = frozenset(values[_squeezed(str(name))] for name in structures)
    return found


def _squeezed(name: str) -> str:
    """`RightParotid` and `right_parotid` are one name."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _partly(case: DataCase, listed: Mapping[str, frozenset[int]], table: LabelTable) -> DataCase:
    """The case with the labels that its map speaks for: those that are listed, or else those that it shows."""
    from volumes.formats import read_label_map

    contoured = listed.get(case.name)
    if contoured is None and case.label is not None:
        contoured = frozenset(read_label_map(case.label).present())
    return replace(case, contoured=None if contoured == frozenset(table) else contoured)
