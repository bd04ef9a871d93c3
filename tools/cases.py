"""Which CT belongs to which key slices and where the result goes: one case, or the cases of a folder or two."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tools.files import ALL_LABEL_SUFFIXES, LABEL_SUFFIXES, VOLUME_SUFFIXES, stem_of, suffix_of
from volumes.errors import InputError

CHANNEL = "_0000"
"""What nnU-Net adds to the name of a CT: `CASE_0000.nii.gz` has its labels in `CASE.nii.gz`."""


WRITTEN_AS = {".mhd": ".mha", ".nhdr": ".nrrd", ".dcm": ".seg.dcm"}
"""Formats of two files are written as their siblings of one file, which appears whole or not at all."""


@dataclass(frozen=True)
class Case:
    """One CT, its key slices, and where what is made of them goes.

    Attributes:
        name: without an image ending.
        ct: a file or a DICOM folder.
        keys: None where the machine finds the key slices.
        output: the label map.
        extents: start and stop marks, if there are any.
        montage, thumbnail: pictures to write; None for none.
        overwrite: replace what is in these places.
    """

    name: str
    ct: Path
    keys: Path | None
    output: Path
    extents: Path | None = None
    montage: Path | None = None
    thumbnail: Path | None = None
    overwrite: bool = False

    def inputs(self) -> list[Path]:
        """The files that the result is made from."""
        return [path for path in (self.ct, self.keys, self.extents) if path is not None]

    def annotate_arguments(self) -> list[str]:
        """What opens the result in the annotation tool: arguments of `keyslice annotate`."""
        keys = [] if self.keys is None else ["--keys", str(self.keys.resolve())]
        return [str(self.ct.resolve()), *keys, "--proposals", str(self.output.resolve())]


def is_folder_run(ct: Path, keys: Path) -> bool:
    """Whether two folders of cases are meant. A CT folder with one file of key slices is a DICOM series.

    Raises:
        InputError: one of them is not there, or a CT file comes with a folder of key slices.
    """
    for path, what in ((ct, "a CT volume or a folder of them"), (keys, "key slices or a folder of them")):
        if not path.exists():
            raise InputError(path, found="nothing there", expected=what, fix="check the path")
    if keys.is_dir() and not ct.is_dir():
        raise InputError(
            keys,
            found="a folder of key slices with one CT file",
            expected="a label file, or a folder of CTs too",
            fix="name the label file of this CT",
        )
    return keys.is_dir()


def is_folder_of_scans(ct: Path, output: Path) -> bool:
    """Whether a folder of cases is meant. A CT folder with one file as output is a DICOM series.

    Raises:
        InputError: nothing there.
    """
    if not ct.exists():
        raise InputError(
            ct, found="nothing there", expected="a CT volume or a folder of them", fix="check the path"
        )
    return ct.is_dir() and suffix_of(output, ALL_LABEL_SUFFIXES) is None


def find_cases(
    ct_folder: Path, keys_folder: Path, output_folder: Path
) -> tuple[list[Case], dict[str, InputError]]:
    """Match CTs and key slices by case name; the output has the format of the file of key slices.

    Returns:
        The cases sorted by name, and for each case that cannot be run what is wrong with it.

    Raises:
        InputError: a folder without a single CT or label file.
    """
    keys = _by_case(_entries(keys_folder, ALL_LABEL_SUFFIXES, folders=False))
    scans = _by_case(_entries(ct_folder, VOLUME_SUFFIXES, folders=True), channel=CHANNEL, known=keys)
    for folder, found, what in ((ct_folder, scans, "CT volumes"), (keys_folder, keys, "label files")):
        if not found:
            raise InputError(
                folder,
                found="none",
                expected=f"{what} ending in {', '.join(LABEL_SUFFIXES)}",
                fix="check the folder",
            )
    cases, failed = [], {}
    for name in sorted(scans.keys() | keys.keys()):
        try:
            ct = _only(scans.get(name, []), ct_folder / name, "CT", "the key slices")
            key = _only(keys.get(name, []), keys_folder / name, "file of key slices", "the CT")
        except InputError as error:
            failed[name] = error
            continue
        suffix = suffix_of(key, ALL_LABEL_SUFFIXES) or ".nii.gz"
        cases.append(Case(name, ct, key, output_folder / f"{name}{WRITTEN_AS.get(suffix, suffix)}"))
    return cases, failed


def find_scans(ct_folder: Path, output_folder: Path) -> tuple[list[Case], dict[str, InputError]]:
    """The CTs of a folder, without key slices; the output has the CT's format, .nii.gz for DICOM.

    Returns:
        The cases sorted by name, and for each case that cannot be run what is wrong with it.

    Raises:
        InputError: a folder without a single CT.
    """
    scans = _by_case(_entries(ct_folder, VOLUME_SUFFIXES, folders=True), channel=CHANNEL)
    if not scans:
        raise InputError(
            ct_folder,
            found="none",
            expected=f"CT volumes ending in {', '.join(LABEL_SUFFIXES)}, or folders of DICOM slices",
            fix="check the folder; for one DICOM series name a file with --output",
        )
    cases, failed = [], {}
    for name, paths in sorted(scans.items()):
        try:
            ct = _only(paths, ct_folder / name, "CT", "the case")
        except InputError as error:
            failed[name] = error
            continue
        suffix = (suffix_of(ct, LABEL_SUFFIXES) if ct.is_file() else None) or ".nii.gz"
        cases.append(Case(name, ct, None, output_folder / f"{name}{WRITTEN_AS.get(suffix, suffix)}"))
    return cases, failed


def _entries(folder: Path, suffixes: tuple[str, ...], *, folders: bool) -> list[Path]:
    """Files with one of the endings, and (for DICOM series) folders; hidden ones never."""
    return [
        path
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".")
        and (folders if path.is_dir() else suffix_of(path, suffixes) is not None)
    ]


def _by_case(
    paths: Iterable[Path], *, channel: str = "", known: dict[str, list[Path]] | None = None
) -> dict[str, list[Path]]:
    """Paths by case name; `channel` is taken off a name unless the name with it is `known`."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        name = stem_of(path)
        if channel and name.endswith(channel) and name not in (known or {}):
            name = name.removesuffix(channel)
        found.setdefault(name, []).append(path)
    return found


def _only(paths: list[Path], where: Path, what: str, other: str) -> Path:
    if len(paths) == 1:
        return paths[0]
    if not paths:
        raise InputError(
            where, found=f"no {what}", expected=f"one named like {other}", fix="add it, or leave the case out"
        )
    raise InputError(
        where,
        found=f"{len(paths)} of a kind: {', '.join(path.name for path in paths)}",
        expected=f"one {what} a case",
        fix="take the others out of the folder",
    )
