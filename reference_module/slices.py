"""The slices that training draws from: volumes on disk, ready to be read one slice at a time.

A compressed volume has to be unpacked as a whole to get at one slice of it, and 2,000 of them do not fit into
memory unpacked. So each is unpacked once into the cache, on the pixels that the networks see, as a plain array
that the system maps into memory where it is read: what a run holds does not grow with the number of cases.

Files are named by a digest of what they were made from. Each array has a `.json` beside it that is written when the
array is whole and on the disk, so several processes may open one cache, and a run that was killed, with its machine or
without, goes on with what is there. Images and labels are apart: a volume that
gets its (pseudo-)labels later is not unpacked again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from reference_module.inputs import pixel_shape, resized, resized_labels
from volumes.datasets import DataCase
from volumes.errors import InputError
from volumes.formats import check_grid, read_label_map, read_volume
from volumes.image_files import check_readable
from volumes.labels import LabelTable
from volumes.volume import Geometry, Triple

_FORMAT = 1  # raise it when what is stored changes
_GRID = ("size_xyz", "spacing_xyz", "origin_xyz", "direction")


@dataclass(frozen=True)
class StoredCase:
    """A volume in the cache, in canonical order, on the pixels that the store was made for.

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


def open_store(
    cases: Sequence[DataCase],
    table: LabelTable,
    cache: Path,
    pixel: float | None,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 0,
) -> list[StoredCase]:
    """The cases as stored arrays; those that the cache lacks are made: 4 s of one core for 512 x 512 x 119 voxels.

    Args:
        table: labels that may occur.
        cache: folder to keep them in; 3 bytes for each pixel, 2 without labels.
        pixel: size in mm of the pixels within a slice; None: each file's own.
        progress: called with cases done and cases in all.
        workers: processes that make them; 0: this one alone.

    Raises:
        InputError: a file that cannot be read, labels on another grid than their CT or not in the table, no space.
    """
    make = partial(_stored, table=table, cache=cache, pixel=pixel)
    stored = []
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Other processes take seconds to start: not for what is there already.
        lacking = workers and sum(not _is_stored(case, cache, pixel) for case in cases)
        with _mapping(min(workers, lacking)) as mapped:
            for case in mapped(make, cases):
                stored.append(case)
                if progress is not None:
                    progress(len(stored), len(cases))
    except OSError as error:
        raise InputError(
            cache,
            found=f"an error while slices were stored ({error.strerror or error})",
            expected="a folder with space for 3 bytes a pixel",
            fix="free disk space, or choose another cache folder",
        ) from error
    return stored


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[..., Iterable[StoredCase]]]:
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


def _stored(case: DataCase, table: LabelTable, cache: Path, pixel: float | None) -> StoredCase:
    image_file, about = _image(case, cache, pixel)
    shape = (about["shape"][0], about["shape"][1], about["shape"][2])
    label_file: Path | None = None
    slices_of: dict[int, NDArray[np.int64]] = {}
    if case.label is not None:
        label_file, slices_of = _labels(case, case.label, image_file, shape, _geometry(about))
        unknown = sorted(set(slices_of) - set(table))
        if unknown:
            raise InputError(
                case.label,
                found=f"label {', '.join(map(str, unknown))}",
                expected=f"labels of {table.name}: {', '.join(map(str, table))}",
                fix="correct the label map, or add the label to the table",
            )
    dz, dy, dx = _geometry(about).spacing_dhw
    rows, columns = _geometry(about).shape_dhw[1:]
    spacing = (dz, dy * rows / shape[1], dx * columns / shape[2])
    contoured = None if case.contoured is None else tuple(sorted(case.contoured))
    return StoredCase(case.name, image_file, label_file, shape, spacing, contoured, slices_of)


def _image(case: DataCase, cache: Path, pixel: float | None) -> tuple[Path, dict[str, Any]]:
    """The stored CT and what is known about it."""
    target = _image_file(case, cache, pixel)
    about = _read_about(target)
    if about is not None:
        return target, about
    volume = read_volume(case.image)
    plane = pixel_shape(volume.shape[1:], volume.spacing[1:], pixel)
    about = {"shape": [volume.shape[0], *plane], **{name: getattr(volume.geometry, name) for name in _GRID}}
    _write(target, (resized(one, plane) for one in volume.array), np.dtype("<i2"), about)
    return target, about


def _labels(
    case: DataCase, source: Path, image_file: Path, shape: tuple[int, int, int], geometry: Geometry
) -> tuple[Path, dict[int, NDArray[np.int64]]]:
    """The stored label map, and where each label occurs in it."""
    target = _label_file(case, source, image_file)
    about = _read_about(target)
    if about is None:
        label_map = read_label_map(source)
        check_grid(source, label_map.geometry, geometry, case.name)
        planes = [resized_labels(one, shape[1:]) for one in label_map.array]
        found: dict[int, list[int]] = {label: [] for label in label_map.present()}
        for z, plane in enumerate(planes):
            for label in np.flatnonzero(np.bincount(plane.ravel(), minlength=256)):
                if label:
                    found[int(label)].append(z)
        about = {"shape": shape, "slices_of": {str(label): where for label, where in found.items()}}
        _write(target, planes, np.dtype("u1"), about)
    occurs = {int(label): np.asarray(where, np.int64) for label, where in about["slices_of"].items()}
    return target, {label: where for label, where in occurs.items() if len(where)}


def _image_file(case: DataCase, cache: Path, pixel: float | None) -> Path:
    return cache / f"{case.name}-{_digest(_identity(case.image), pixel)}.image.npy"


def _label_file(case: DataCase, source: Path, image_file: Path) -> Path:
    return image_file.with_name(f"{case.name}-{_digest(_identity(source), image_file.name)}.labels.npy")


def _is_stored(case: DataCase, cache: Path, pixel: float | None) -> bool:
    image = _image_file(case, cache, pixel)
    files = [image] if case.label is None else [image, _label_file(case, case.label, image)]
    return all(_read_about(file) is not None for file in files)


def _geometry(about: Mapping[str, Any]) -> Geometry:
    size, spacing, origin, direction = (tuple(about[name]) for name in _GRID)
    return Geometry(size, spacing, origin, direction)


def _identity(path: Path) -> tuple[str, int, int]:
    """What changes when a file does. Not its bytes: to read 2,000 volumes takes longer than to train a little."""
    check_readable(path)
    state = path.stat()
    return str(path.resolve()), state.st_size, state.st_mtime_ns


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr((_FORMAT, *parts)).encode()).hexdigest()[:16]


def _read_about(target: Path) -> dict[str, Any] | None:
    """What is known about a stored array; None if it is not there, or not whole."""
    try:
        about: dict[str, Any] = json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))
        return about if target.stat().st_size == about["bytes"] else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _write(target: Path, planes: Iterable[NDArray], dtype: np.dtype, about: Mapping[str, Any]) -> None:
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
