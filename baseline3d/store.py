"""Prepared volumes on disk, from which training draws its patches.

As the 2D side keeps slices (`reference_module.slices`): each volume is prepared once, as a plain array that the system
maps into memory where it is read, so what a run holds does not grow with the number of cases. HU are kept, not what
the network sees: figures of the training cases are learnt from what is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baseline3d.intensity import Figures, Histogram, IntensitySettings
from baseline3d.preparation import InputSettings, Plan, case_figures, plan, prepared_labels, prepared_slices
from reference_module.slices import (
    _GRID,
    StoredCase,
    _digest,
    _geometry,
    _identity,
    _mapping,
    _read_about,
    _write,
)
from volumes.datasets import DataCase
from volumes.errors import InputError
from volumes.formats import check_grid, read_label_map, read_volume
from volumes.labels import LabelTable

_FORMAT = 1  # raise it when what is stored changes


@dataclass(frozen=True)
class PreparedCase(StoredCase):
    """A volume in the store, int16 HU (d, h, w) and uint8 labels, as a network's settings want it.

    Attributes:
        figures: of the case itself, for intensity rules that need them.
    """

    figures: Figures | None


def open_prepared(
    cases: Sequence[DataCase],
    table: LabelTable,
    cache: Path,
    settings: InputSettings,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 0,
) -> list[PreparedCase]:
    """The cases as stored arrays; those that the cache lacks are made.

    Args:
        table: labels that may occur.
        cache: folder to keep them in.
        settings: how they are prepared; patch and percentiles are of no consequence.
        progress: called with cases done and cases in all.
        workers: processes that make them; 0: this one alone.

    Raises:
        InputError: a file that cannot be read, labels on another grid than their CT or not in the table, no space.
    """
    make = partial(_stored, table=table, cache=cache, settings=settings)
    stored: list[PreparedCase] = []
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Other processes take seconds to start: not for what is there already.
        lacking = workers and sum(_read_about(_image_file(case, cache, settings)) is None for case in cases)
        with _mapping(min(workers, lacking)) as mapped:
            for case in mapped(make, cases):
                assert isinstance(case, PreparedCase)
                stored.append(case)
                if progress is not None:
                    progress(len(stored), len(cases))
    except OSError as error:
        raise InputError(
            cache,
            found=f"an error while volumes were stored ({error.strerror or error})",
            expected="a folder with space for 3 bytes a voxel at the network's spacing",
            fix="free disk space, or choose another cache folder",
        ) from error
    return stored


def learnt_figures(cases: Sequence[StoredCase], settings: IntensitySettings) -> Figures | None:
    """HU figures of the structures' voxels in labelled cases, for rules that need them (nnU-Net's fingerprint).

    Read slice by slice; 20 cases of head-neck take 0.1 s.
    """
    if settings.rule != "percentiles":
        return None
    histogram = Histogram()
    for case in cases:
        image, labels = case.image, case.labels
        assert labels is not None
        for z in sorted({int(z) for where in case.slices_of.values() for z in where}):
            histogram.add(image[z][np.asarray(labels[z]) > 0])
    if histogram.empty:
        raise InputError(
            "the training data", found="no labelled voxel", expected="structures to learn from", fix="add some"
        )
    return histogram.learnt(settings.percentiles)


def _stored(case: DataCase, table: LabelTable, cache: Path, settings: InputSettings) -> PreparedCase:
    image_file, about = _image(case, cache, settings)
    made = _plan_of(about)
    label_file: Path | None = None
    slices_of: dict[int, NDArray[np.int64]] = {}
    if case.label is not None:
        label_file, slices_of = _labels(case, case.label, image_file, made, about)
        if unknown := sorted(set(slices_of) - set(table)):
            raise InputError(
                case.label,
                found=f"label {', '.join(map(str, unknown))}",
                expected=f"labels of {table.name}: {', '.join(map(str, table))}",
                fix="correct the label map, or add the label to the table",
            )
    contoured = None if case.contoured is None else tuple(sorted(case.contoured))
    figures = None if about["figures"] is None else Figures(**about["figures"])
    return PreparedCase(case.name, image_file, label_file, made.shape, made.spacing, contoured, slices_of, figures)


def _image(case: DataCase, cache: Path, settings: InputSettings) -> tuple[Path, dict[str, Any]]:
    """The stored CT and what is known about it."""
    target = _image_file(case, cache, settings)
    about = _read_about(target)
    if about is not None:
        return target, about
    volume = read_volume(case.image)
    made = plan(volume, settings)
    figures = case_figures(volume, made.box, settings.intensity)
    about = {
        "shape": made.shape,
        "spacing": made.spacing,
        "box": [(side.start, side.stop) for side in made.box],
        "figures": None if figures is None else figures.as_dict(),
        **{name: getattr(volume.geometry, name) for name in _GRID},
    }
    slices = (np.rint(one).astype(np.int16) for one in prepared_slices(volume.array, made))
    _write(target, slices, np.dtype("<i2"), about)
    return target, about


def _labels(
    case: DataCase, source: Path, image_file: Path, made: Plan, about: dict[str, Any]
) -> tuple[Path, dict[int, NDArray[np.int64]]]:
    """The stored label map, and where each label occurs in it."""
    target = image_file.with_name(f"{case.name}-{_digest(_identity(source), image_file.name)}.labels.npy")
    known = _read_about(target)
    if known is None:
        label_map = read_label_map(source)
        check_grid(source, label_map.geometry, _geometry(about), case.name)
        found: dict[int, list[int]] = {label: [] for label in label_map.present()}
        planes = list(prepared_labels(label_map.array, made))
        for z, plane in enumerate(planes):
            for label in np.flatnonzero(np.bincount(plane.ravel(), minlength=256)):
                if label:
                    found[int(label)].append(z)
        known = {"shape": made.shape, "slices_of": {str(label): where for label, where in found.items()}}
        _write(target, planes, np.dtype("u1"), known)
    occurs = {int(label): np.asarray(where, np.int64) for label, where in known["slices_of"].items()}
    return target, {label: where for label, where in occurs.items() if len(where)}


def _image_file(case: DataCase, cache: Path, settings: InputSettings) -> Path:
    made_by = {name: value for name, value in asdict(settings).items() if name not in ("patch", "intensity")}
    rule = settings.intensity
    limits = (rule.low, rule.high) if rule.rule == "clip" else None  # the case's own figures are kept beside it
    return cache / f"{case.name}-{_digest(_FORMAT, _identity(case.image), made_by, limits)}.volume.npy"


def _plan_of(about: dict[str, Any]) -> Plan:
    depth, height, width = (slice(start, stop) for start, stop in about["box"])
    native = _geometry(about).shape_dhw
    return Plan(native, (depth, height, width), tuple(about["shape"]), tuple(about["spacing"]))
