"""What comes in: a file, a SimpleITK image or a NumPy array, made a `Volume`, and the way back to its own kind."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from keyslice.axes import Axes
from keyslice.order import Order
from keyslice.results import Result
from tools.case_runs import doubts_about
from volumes.errors import InputError
from volumes.formats import label_map_of, read_label_map, read_volume
from volumes.image_files import check_one_volume, checked_image, image_in_file_order, planes
from volumes.key_slices import Extents, read_extents
from volumes.label_map import LabelMap, labels_in
from volumes.labels import Label, LabelTable, distinct_color
from volumes.volume import Geometry, Volume
from volumes.voxels import to_hounsfield, to_labels

if TYPE_CHECKING:
    from volumes.key_slices import KeySlices

Image: TypeAlias = "str | os.PathLike[str] | sitk.Image"
"""A file (NIfTI, NRRD, MetaImage, DICOM folder or zip) or an image in memory."""

Names: TypeAlias = "str | os.PathLike[str] | Mapping[int, str] | LabelTable"
"""A built-in label table (`flare22`), a YAML file, or the names by number."""

Marks: TypeAlias = "str | os.PathLike[str] | Mapping[int, tuple[int, int]] | Mapping[str, tuple[int, int]]"
"""First and last slice by label number or name, both inside; or a JSON file of them, as `keyslice propagate` reads."""


@dataclass(frozen=True)
class Source:
    """A CT that came in.

    Attributes:
        volume: in canonical order.
        axes: of the array; None for a file or an image.
    """

    volume: Volume
    axes: Axes | None

    @cached_property
    def order(self) -> Order:
        """In which the person counts slices."""
        volume = self.volume
        own = volume.geometry if self.axes else Geometry.axial(volume.shape, volume.spacing)
        return Order(own, volume.name)

    def label_map(self, labels: Image | npt.NDArray[Any], what: str, table: LabelTable | None) -> LabelMap:
        """Labels on this CT's grid, of the same kind as the CT.

        Raises:
            InputError: an array beside a file or image or the other way round, another grid, no labels.
        """
        if not isinstance(labels, np.ndarray):
            _check_kind(labels, what, None)
        if isinstance(labels, np.ndarray) != (self.axes is not None):
            mine, other = ("an array", "a file or image") if self.axes else ("a file or image", "an array")
            raise InputError(
                what,
                found=f"{other}, where the CT is {mine}",
                expected="both of one kind, so that they surely lie on one grid",
                fix="give both as files or SimpleITK images, or both as arrays of the same axes",
            )
        return read_labels(labels, what, self.axes, like=self.volume, table=table)

    def extents(self, marks: Marks | None, table: LabelTable) -> Extents | None:
        """Start and stop marks in canonical order."""
        if marks is None:
            return None
        if isinstance(marks, (str, os.PathLike)):
            return read_extents(Path(marks), table, self.volume.shape[0])  # a file counts from the inferior end
        return {table.resolve(label): self.order.extent(_pair(label, extent)) for label, extent in marks.items()}

    def result(
        self,
        labels: npt.NDArray[np.uint8],
        confidence: Mapping[int, npt.NDArray[np.float32]],
        keys: KeySlices,
        table: LabelTable,
        warnings: Iterable[str] = (),
        report: Mapping[str, Any] | None = None,
    ) -> Result[Any]:
        """Canonical labels `(D, H, W)` and confidence `(D,)` in the kind and order that came in."""
        own = self.volume.geometry.to_file(labels)
        return Result(
            # Copied: a session goes on writing into its labels; what it gave out stays as it was.
            labels=own.copy() if self.axes else image_in_file_order(own, self.volume.geometry),
            confidence={label: self.order.along_slices(values).copy() for label, values in confidence.items()},
            key_slices=tuple(sorted(self.order.slice(z) for z in keys.slices())),
            names=table.covering(labels_in(labels)),
            warnings=(*warnings, *self.doubts()),
            geometry=self.volume.geometry,
            name=self.volume.name,
            report=report or {},
            source=self.volume.source,
        )

    def doubts(self) -> list[str]:
        """What is odd about this CT."""
        found = doubts_about(self.volume)
        dz, dy, dx = self.volume.spacing
        if self.axes and dy != dx and dz in (dy, dx):
            found.append(f"axial slices {dz:g} mm apart with pixels of {dy:g} x {dx:g} mm: are the axes as was said?")
        return found


def read_ct(ct: Image | npt.NDArray[Any], axes: Axes | None) -> Source:
    """A CT of any kind.

    Raises:
        InputError: no CT, an array without axes, or axes where the file or image has its own.
    """
    if isinstance(ct, np.ndarray):
        geometry = _array_geometry(ct, "CT array", axes)
        return Source(Volume(to_hounsfield(ct, geometry, "CT array"), geometry, "CT array"), axes)
    _check_kind(ct, "CT", axes)
    if isinstance(ct, sitk.Image):
        source = checked_image(ct, "CT image")
        array = to_hounsfield(planes(source.image), source.geometry, "CT image")
        return Source(Volume(array, source.geometry, "CT image"), None)
    return Source(read_volume(Path(ct)), None)


def read_labels(
    labels: Image | npt.NDArray[Any],
    what: str,
    axes: Axes | None,
    *,
    like: Volume | LabelMap | None = None,
    table: LabelTable | None = None,
) -> LabelMap:
    """A label map of any kind, on the grid of `like` if there is one; `what` it is, for messages.

    Raises:
        InputError: as for `read_ct`, or another grid.
    """
    if isinstance(labels, np.ndarray):
        geometry = _array_geometry(labels, what, axes)
        if like is not None and geometry.size_xyz != like.geometry.size_xyz:
            raise InputError(
                what,
                found=f"an array of shape {labels.shape}",
                expected=f"{like.geometry.size_xyz[::-1]}, as {like.name} has",
                fix="give labels for each voxel",
            )
        array = to_labels(labels, geometry, what)
        names = table if table is not None else LabelTable((), name=what)
        return LabelMap(array, geometry, names.covering(labels_in(array)), what)
    _check_kind(labels, what, axes)
    if isinstance(labels, sitk.Image):
        return label_map_of(checked_image(labels, what), what, like, table)
    return read_label_map(Path(labels), like, table)


def read_names(names: Names | None) -> LabelTable | None:
    """A label table from what a person gives as one."""
    if names is None or isinstance(names, LabelTable):
        return names
    if isinstance(names, Mapping):
        for number in names:
            if not isinstance(number, (int, np.integer)):
                raise InputError(
                    "names", found=repr(number), expected="names by label number", fix='give {1: "liver", 2: "spleen"}'
                )
        return LabelTable((Label(int(n), str(name), distinct_color(int(n))) for n, name in names.items()), "names")
    return LabelTable.read(names if isinstance(names, str) else Path(names))


def _array_geometry(array: npt.NDArray[Any], what: str, axes: Axes | None) -> Geometry:
    if axes is None:
        raise InputError(
            what,
            found="an array without axes",
            expected="which way its axes run, and its spacing: an array does not know",
            fix='pass axes, such as keyslice.Axes(toward=("superior", "posterior", "left"), spacing=(dz, dy, dx))',
        )
    if array.dtype.kind not in "biuf":
        raise InputError(what, found=f"an array of {array.dtype}", expected="numbers", fix="convert it")
    check_one_volume(array.shape[::-1], 1, what)
    return axes.geometry(array.shape)


def _check_kind(image: object, what: str, axes: Axes | None) -> None:
    """Raise InputError unless it is a path or an image, which know their axes."""
    if not isinstance(image, (str, os.PathLike, sitk.Image)):
        raise InputError(
            what,
            found=f"a {type(image).__name__}",
            expected="a path, a SimpleITK image or a NumPy array",
            fix="convert it, for example with numpy.asarray",
        )
    if axes is not None:
        raise InputError(
            "axes",
            found=f"axes beside {'an image' if isinstance(image, sitk.Image) else 'a file'}",
            expected="axes for arrays alone: a file or image knows its own",
            fix="leave axes out",
        )


def _pair(label: int | str, extent: object) -> tuple[int, int]:
    try:
        first, last = (int(z) for z in extent)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise InputError(
            "extents", found=f"{extent!r} for {label!r}", expected="(first, last) slice", fix="give two slice numbers"
        ) from None
    return first, last
