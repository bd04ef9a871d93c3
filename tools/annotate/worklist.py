"""The cases that are open to the page: one CT, or the CTs of a folder, and how far each has come.

A case is called by its key, the CT's name without its ending; no path ever comes from the page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from cps.journal import write_whole
from tools.cases import find_scans
from tools.files import ALL_LABEL_SUFFIXES, VOLUME_SUFFIXES, stem_of, suffix_of
from volumes.errors import InputError

SESSION_SUFFIX = ".keyslice"
_SUMMARY = "summary.json"


@dataclass(frozen=True)
class Entry:
    """One case.

    Attributes:
        key: what the page calls it.
        ct: its CT, a file or a DICOM folder.
        session: the folder in which its annotation is kept.
        keys: a label map to begin with, if one was given.
        proposals: a label map that a new case is first proposed, if one was given.
    """

    key: str
    ct: Path
    session: Path
    keys: Path | None = None
    proposals: Path | None = None


@dataclass(frozen=True)
class Summary:
    """What the work list says of a case that need not be opened for it.

    Attributes:
        done: the person is through with it.
        key_slices, labels: how many there are.
        edited: time of the last action (ISO 8601), None before the first.
    """

    done: bool = False
    key_slices: int = 0
    labels: int = 0
    edited: str | None = None

    @property
    def state(self) -> str:
        """`new`, `begun` or `done`."""
        return "done" if self.done else "begun" if self.edited else "new"

    def row(self, key: str) -> dict[str, Any]:
        """A row of the work list."""
        shown = {name: value for name, value in asdict(self).items() if name != "done"}
        return {"case": key, "state": self.state, **shown}


@dataclass(frozen=True)
class Worklist:
    """The cases of one start of the tool.

    Attributes:
        root: the folder that was opened, or that of the CT: files to import may be named by a path in it.
        entries: by key, in the order of their names.
        failed: what is wrong with names in the folder that are no case.
    """

    root: Path
    entries: dict[str, Entry]
    failed: dict[str, InputError]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries.values())

    def file_in_root(self, path: str) -> Path:
        """A file that the page names by its path in the opened folder, links resolved.

        Raises:
            InputError: it leads out of the folder, or is no file.
        """
        root = self.root.resolve()
        try:
            found = (root / path).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):  # not there; a name with a zero byte; links in a circle
            found = None
        if found is None or not found.is_relative_to(root) or Path(path).is_absolute() or not found.is_file():
            raise InputError(
                "import",
                found="no such file in the opened folder",
                expected=f"a path inside {root.name}",
                fix="choose a file there, or send it from the page",
            )
        return found


def find_worklist(
    path: Path, *, session: Path | None = None, keys: Path | None = None, proposals: Path | None = None
) -> Worklist:
    """The case of a CT file or DICOM folder, or the cases of a folder.

    A folder is one DICOM series if files lie in it and none of them is an image file of another format.

    Args:
        path: what was opened.
        session: where the session folders go; None for beside each CT.
        keys: a label map, or a folder of them by case name, to begin with where nothing was done yet.
        proposals: likewise, what is first proposed there.

    Raises:
        InputError: nothing there, or no case in the folder; label maps that fit no case.
    """
    if not path.exists():
        raise InputError(path, found="nothing there", expected="a CT volume or a folder of them", fix="check the path")
    given = [labels for labels in (keys, proposals) if labels is not None]
    for labels in given:
        if not labels.exists():
            raise InputError(
                labels, found="nothing there", expected="a label map or a folder of them", fix="check the path"
            )
    path = path.resolve()
    if path.is_dir() and not _is_series(path):
        scans, failed = find_scans(path, path)
        sessions = None if session is None else session.resolve()
        scans = [one for one in scans if not one.ct.name.endswith(SESSION_SUFFIX) and one.ct.resolve() != sessions]
        if not scans:
            raise InputError(
                path,
                found="no case that can be opened",
                expected="CT volumes, each with a name of its own",
                fix="check the folder",
            )
        found, root = {scan.name: scan.ct for scan in scans}, path
    else:
        found, failed, root = {stem_of(path): path}, {}, path.parent
    if one := next((labels for labels in given if labels.is_file() and len(found) > 1), None):
        raise InputError(
            one,
            found=f"one label map for {len(found)} cases",
            expected="a folder of label maps, by case name",
            fix="give the folder, or open one CT",
        )
    entries = {
        key: Entry(
            key,
            ct,
            (session or ct.parent) / f"{key}{SESSION_SUFFIX}",
            _labels_of(key, keys),
            _labels_of(key, proposals),
        )
        for key, ct in sorted(found.items())
    }
    return Worklist(root, entries, failed)


def read_summary(session: Path) -> Summary:
    """The summary that was kept in a session folder; that of a new case where there is none that can be read."""
    try:
        content = json.loads((session / _SUMMARY).read_text(encoding="utf-8"))
        return Summary(**{field.name: content[field.name] for field in fields(Summary)})
    except (OSError, ValueError, KeyError, TypeError):
        return Summary()


def write_summary(session: Path, summary: Summary) -> None:
    """Keep a summary; it is on the disk when this returns."""
    write_whole(session / _SUMMARY, json.dumps(asdict(summary)) + "\n")


def _is_series(folder: Path) -> bool:
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    return bool(files) and not any(suffix_of(path, VOLUME_SUFFIXES) for path in files)


def _labels_of(key: str, labels: Path | None) -> Path | None:
    """The label map of one case."""
    if labels is None or labels.is_file():
        return labels
    named = (path for path in sorted(labels.iterdir()) if path.is_file() and stem_of(path) == key)
    return next((path for path in named if suffix_of(path, ALL_LABEL_SUFFIXES)), None)
