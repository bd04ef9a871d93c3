"""Volumes on disk as training wants them: plain arrays, ready to be read one slice or one box at a time.

A compressed volume has to be unpacked as a whole to get at one slice of it, and 2,000 of them do not fit into
memory unpacked. So each is prepared once into the cache, as a plain array that the system maps into memory where it is
read: what a run holds does not grow with the number of cases.

Files are named by a digest of what they were made from. Each array has a `.json` beside it that is written when the
array is whole and on the disk, so several processes may open one cache, and a run that was killed, with its machine or
without, goes on with what is there. Images and labels are apart: a volume that
gets its (pseudo-)labels later is not prepared again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from volumes.datasets import DataCase
from volumes.errors import InputError
from volumes.formats import check_grid, read_label_map
from volumes.image_files import check_readable
from volumes.labels import LabelTable
from volumes.volume import Geometry, Triple

_FORMAT = 1  # raise it when what is stored changes
_GRID = ("size_xyz", "spacing_xyz", "origin_xyz", "direction")

Progress = Callable[[int, int], None]
"""Takes cases done and cases in all."""


@dataclass(frozen=True)
class StoredCase:
    """A volume in the cache, in canonical order, on the voxels that the store was made for.

    Attributes:
        name: the case.
        shape: (D, h, w).
        spacing: (dz, dy, dx) in mm.
        contoured: labels that the label map speaks for, rising; None: all of the table (or there is no map).
        slices_of: for each label that occurs, the slices on which it does, rising.
    """

    name: str
    image_file: Path
    label_file: Path | None
    shape: tuple[int, int, int]
    spacing: Triple
    contoured: tuple[int, ...] | None
    slices_of: Mapping[int, NDArray[np.int64]]

    @property
    def depth(self) -> int:
        """Number of slices."""
        return self.shape[0]

    # Mapped anew at each access, 0.1 ms: 2,000 cases held open would be more files than a process may have.
    @property
    def image(self) -> NDArray[np.int16]:
        """int16 HU (D, h, w), read from disk where it is looked at."""
        return np.load(self.image_file, mmap_mode="r", allow_pickle=False)

    @property
    def labels(self) -> NDArray[np.uint8] | None:
        """uint8 label numbers (D, h, w), read from disk where they are looked at; None without labels."""
        return None if self.label_file is None else np.load(self.label_file, mmap_mode="r", allow_pickle=False)


Stored = TypeVar("Stored", bound=StoredCase)


def stored_cases(
    cases: Sequence[DataCase],
    cache: Path,
    make: Callable[[DataCase], Stored],
    is_stored: Callable[[DataCase], bool],
    *,
    progress: Progress | None,
    workers: int,
    what: str,
    space: str,
) -> list[Stored]:
    """The cases as `make` stores them, in their order.

    Args:
        cache: folder to keep them in.
        make: stores a case if it is not there yet; to be sent to other processes.
        is_stored: whether it is.
        progress: called with cases done and cases in all.
        workers: processes that make them; 0: this one alone.
        what, space: what is stored, and the space that it takes, in an error's words.

    Raises:
        InputError: no space, or whatever `make` raises.
    """
    stored: list[Stored] = []
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Other processes take seconds to start: not for what is there already.
        lacking = workers and sum(not is_stored(case) for case in cases)
        with _mapping(min(workers, lacking)) as mapped:
            for case in mapped(make, cases):
                stored.append(case)
                if progress is not None:
                    progress(len(stored), len(cases))
    except OSError as error:
        raise InputError(
            cache,
            found=f"an error while {what} were stored ({error.strerror or error})",
            expected=f"a folder with space for {space}",
            fix="free disk space, or choose another cache folder",
        ) from error
    return stored


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """`map`, here or in other processes, results in order."""
    if workers == 0:
        yield map
        return
    # Fresh processes: a copy of one whose libraries run threads can stand still for ever.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            yield pool.map
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def stored_labels(
    case: DataCase,
    table: LabelTable,
    image_file: Path,
    geometry: Geometry,
    shape: tuple[int, int, int],
    planes_of: Callable[[NDArray[np.uint8]], Iterable[NDArray[np.uint8]]],
) -> tuple[Path | None, dict[int, NDArray[np.int64]]]:
    """The stored label map of a case, and where each label occurs in it; None for a case without one.

    Args:
        table: labels that may occur.
        image_file: the stored image, to which it belongs.
        geometry: of the image's own file.
        shape: (D, h, w) as it is stored.
        planes_of: from the file's labels (D, H, W) to the slices (h, w) that are stored.

    Raises:
        InputError: labels on another grid than their CT, or not in the table.
    """
    if case.label is None:
        return None, {}
    target = label_file(case, case.label, image_file)
    about = read_about(target)
    if about is None:
        label_map = read_label_map(case.label)
        check_grid(case.label, label_map.geometry, geometry, case.name)
        planes = list(planes_of(label_map.array))
        found: dict[int, list[int]] = {label: [] for label in label_map.present()}
        for z, plane in enumerate(planes):
            for label in np.flatnonzero(np.bincount(plane.ravel(), minlength=256)):
                if label:
                    found[int(label)].append(z)
        about = {"shape": shape, "slices_of": {str(label): where for label, where in found.items()}}
        write_array(target, planes, np.dtype("u1"), about)
    occurs = {int(label): np.asarray(where, np.int64) for label, where in about["slices_of"].items()}
    slices_of = {label: where for label, where in occurs.items() if len(where)}
    if unknown := sorted(set(slices_of) - set(table)):
        raise InputError(
            case.label,
            found=f"label {', '.join(map(str, unknown))}",
            expected=f"labels of {table.name}: {', '.join(map(str, table))}",
            fix="correct the label map, or add the label to the table",
        )
    return target, slices_of


def label_file(case: DataCase, source: Path, image_file: Path) -> Path:
    """Where the label map `source` is stored."""
    return image_file.with_name(f"{case.name}-{digest_of_parts(file_identity(source), image_file.name)}.labels.npy")


def grid_entries(geometry: Geometry) -> dict[str, Any]:
    """A file's geometry as what is known about an array keeps it; `geometry_of` takes it back."""
    return {name: getattr(geometry, name) for name in _GRID}


def geometry_of(about: Mapping[str, Any]) -> Geometry:
    """The geometry of the file that an array was made from."""
    size, spacing, origin, direction = (tuple(about[name]) for name in _GRID)
    return Geometry(size, spacing, origin, direction)


def file_identity(path: Path) -> tuple[str, int, int]:
    """What changes when a file does. Not its bytes: to read 2,000 volumes takes longer than to train a little."""
    check_readable(path)
    state = path.stat()
    return str(path.resolve()), state.st_size, state.st_mtime_ns


def digest_of_parts(*parts: object) -> str:
    """For a stored file's name, from what it is made from."""
    return hashlib.sha256(repr((_FORMAT, *parts)).encode()).hexdigest()[:16]


def read_about(target: Path) -> dict[str, Any] | None:
    """What is known about a stored array; None if it is not there, or not whole."""
    try:
        about: dict[str, Any] = json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))
        return about if target.stat().st_size == about["bytes"] else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def write_array(target: Path, planes: Iterable[NDArray], dtype: np.dtype, about: Mapping[str, Any]) -> None:
    """Write slices as one array (D, h, w), and then, when it is on the disk, what is known about it beside it."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        # Not through a memory map: where the disk is full, writing to one ends the process.
        with part.open("wb") as stream:
            described = {"descr": dtype.str, "fortran_order": False, "shape": tuple(about["shape"])}
            np.lib.format.write_array_header_1_0(stream, described)
            for plane in planes:
                stream.write(np.ascontiguousarray(plane, dtype).tobytes())
            size = stream.tell()
            _flush(stream)
        part.replace(target)
        with part.open("wb") as stream:
            stream.write(json.dumps({**about, "bytes": size}).encode())
            _flush(stream)
        part.replace(target.with_suffix(".json"))
    finally:
        part.unlink(missing_ok=True)


def _flush(stream: IO[bytes]) -> None:
    """Onto the disk: a name that is there after a power cut must not stand for blocks that are not."""
    stream.flush()
    os.fsync(stream.fileno())
