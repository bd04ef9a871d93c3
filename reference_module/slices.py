"""The slices that training draws from: volumes on the pixels that the networks see, in a store (`case_store`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from networks.training.case_store import (
    Progress,
    StoredCase,
    digest_of_parts,
    file_identity,
    geometry_of,
    grid_entries,
    label_file,
    read_about,
    stored_cases,
    stored_labels,
    write_array,
)
from reference_module.inputs import pixel_shape, resized
from volumes.datasets import DataCase
from volumes.formats import read_volume
from volumes.labels import LabelTable
from volumes.resampling import resized_labels


def open_store(
    cases: Sequence[DataCase],
    table: LabelTable,
    cache: Path,
    pixel: float | None,
    progress: Progress | None = None,
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
    return stored_cases(
        cases,
        cache,
        partial(_stored, table=table, cache=cache, pixel=pixel),
        partial(_is_stored, cache=cache, pixel=pixel),
        progress=progress,
        workers=workers,
        what="slices",
        space="3 bytes a pixel",
    )


def _stored(case: DataCase, table: LabelTable, cache: Path, pixel: float | None) -> StoredCase:
    image_file, about = _image(case, cache, pixel)
    geometry = geometry_of(about)
    shape = (about["shape"][0], about["shape"][1], about["shape"][2])
    labels, slices_of = stored_labels(
        case, table, image_file, geometry, shape, lambda array: [resized_labels(one, shape[1:]) for one in array]
    )
    dz, dy, dx = geometry.spacing_dhw
    rows, columns = geometry.shape_dhw[1:]
    spacing = (dz, dy * rows / shape[1], dx * columns / shape[2])
    contoured = None if case.contoured is None else tuple(sorted(case.contoured))
    return StoredCase(case.name, image_file, labels, shape, spacing, contoured, slices_of)


def _image(case: DataCase, cache: Path, pixel: float | None) -> tuple[Path, dict[str, Any]]:
    """The stored CT and what is known about it."""
    target = _image_file(case, cache, pixel)
    about = read_about(target)
    if about is not None:
        return target, about
    volume = read_volume(case.image)
    plane = pixel_shape(volume.shape[1:], volume.spacing[1:], pixel)
    about = {"shape": [volume.shape[0], *plane], **grid_entries(volume.geometry)}
    write_array(target, (resized(one, plane) for one in volume.array), np.dtype("<i2"), about)
    return target, about


def _image_file(case: DataCase, cache: Path, pixel: float | None) -> Path:
    return cache / f"{case.name}-{digest_of_parts(file_identity(case.image), pixel)}.image.npy"


def _is_stored(case: DataCase, cache: Path, pixel: float | None) -> bool:
    image = _image_file(case, cache, pixel)
    files = [image] if case.label is None else [image, label_file(case, case.label, image)]
    return all(read_about(file) is not None for file in files)
