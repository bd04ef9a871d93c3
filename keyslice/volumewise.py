"""A whole volume in one call: from key slices, or without a person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from keyslice.models import one_line, ready_propagator, ready_segmenter
from keyslice.sources import read_ct, read_names
from tools.propagate import check_marks, check_untouched
from volumes.key_slices import KeySlices

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import SimpleITK as sitk

    from keyslice.axes import Axes
    from keyslice.models import Segmenter
    from keyslice.results import Result
    from keyslice.sources import Image, Marks, Names
    from propagation_module.propagator import Propagator
    from tools.automatic import AutomaticSettings

Progress = Callable[[int, int], None]


@overload
def propagate(
    ct: npt.NDArray[Any],
    keys: npt.NDArray[Any],
    *,
    axes: Axes,
    key_slices: Sequence[int] | None = None,
    complete: bool = False,
    extents: Marks | None = None,
    names: Names | None = None,
    model: str | Path | Propagator = "small",
    device: str = "auto",
    progress: Progress | None = None,
) -> Result[npt.NDArray[np.uint8]]: ...
@overload
def propagate(
    ct: Image,
    keys: Image,
    *,
    axes: None = None,
    key_slices: Sequence[int] | None = None,
    complete: bool = False,
    extents: Marks | None = None,
    names: Names | None = None,
    model: str | Path | Propagator = "small",
    device: str = "auto",
    progress: Progress | None = None,
) -> Result[sitk.Image]: ...
def propagate(
    ct: Image | npt.NDArray[Any],
    keys: Image | npt.NDArray[Any],
    *,
    axes: Axes | None = None,
    key_slices: Sequence[int] | None = None,
    complete: bool = False,
    extents: Marks | None = None,
    names: Names | None = None,
    model: str | Path | Propagator = "small",
    device: str = "auto",
    progress: Progress | None = None,
) -> Result[Any]:
    """Carry the labels of a few key slices to every slice of a CT, as `keyslice propagate` does.

    Args:
        ct: Hounsfield units: a file (NIfTI, NRRD, MetaImage, DICOM folder or zip), a SimpleITK image, or an array.
        keys: labels 1 to 255 on the CT's grid, of the same kind as the CT. A key slice speaks for the labels that are
            on it; others are unknown there.
        axes: how the array lies in the patient; for arrays alone, and arrays need them.
        key_slices: which slices of `keys` count; None takes every slice with a label. Slices count as in the array,
            for files and images from 0 at the most inferior one.
        complete: labels that are missing on a key slice are absent there.
        extents: first and last slice of labels for which they are known, both inside: `{"liver": (12, 88)}`, or a
            JSON file, which counts from the most inferior slice.
        names: names and colours: a built-in table, a YAML file, or `{1: "liver"}`; None takes those in `keys`.
        model: a name (see `load`), or what `load` gave.
        device: where a model that is not loaded yet runs, see `load`.
        progress: called with steps done and steps in all.

    Returns:
        Labels in the kind and on the grid of `ct`, and their confidence. Key slices are in it byte for byte.

    Raises:
        InputError: what is wrong with the input, in one line.
    """
    source = read_ct(ct, axes)
    given = source.label_map(keys, "keys", read_names(names))
    order, table = source.order, given.table
    chosen = None if key_slices is None else [order.slice(z) for z in key_slices]
    marks = source.extents(extents, table)
    with order.told():
        speaking = KeySlices.from_label_map(given, chosen, complete=complete)
        warnings = check_marks(marks, "extents", speaking, table)
        del given  # the propagation has a label map of its own
        propagator = ready_propagator(model, device)
        with one_line(source.volume.name):
            found = propagator.propagate(source.volume, speaking, extents=marks, progress=progress)
    check_untouched(found.labels, speaking)
    return source.result(found.labels, found.confidence, speaking, table, warnings)


@overload
def segment(
    ct: npt.NDArray[Any],
    model: str | Path | Segmenter,
    *,
    axes: Axes,
    propagation: str | Path | Propagator = "small",
    settings: AutomaticSettings | None = None,
    alone: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> Result[npt.NDArray[np.uint8]]: ...
@overload
def segment(
    ct: Image,
    model: str | Path | Segmenter,
    *,
    axes: None = None,
    propagation: str | Path | Propagator = "small",
    settings: AutomaticSettings | None = None,
    alone: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> Result[sitk.Image]: ...
def segment(
    ct: Image | npt.NDArray[Any],
    model: str | Path | Segmenter,
    *,
    axes: Axes | None = None,
    propagation: str | Path | Propagator = "small",
    settings: AutomaticSettings | None = None,
    alone: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> Result[Any]:
    """Label every slice of a CT without a person, as `keyslice segment` does.

    Args:
        ct, axes: as for `propagate`.
        model: a pair of networks or a 3D network: a name (`head-neck`), a `.safetensors` file, or what
            `load_segmenter` gave.
        propagation: what carries the pair's key slices: a name, or what `load` gave. Not asked by a 3D network.
        settings: how far the machine goes by itself, see `tools.automatic.AutomaticSettings`.
        alone: the pair segments every slice, without propagation: no confidence then.
        device: where models that are not loaded yet run, see `load`.
        progress: called with what is done and all there is, of one stage after the other.

    Returns:
        Labels in the kind and on the grid of `ct`, and their confidence.

    Raises:
        InputError: what is wrong with the input, in one line.
    """
    from baseline3d.segmenter import VolumeSegmenter
    from tools.automatic import segment_alone, segment_volume

    source = read_ct(ct, axes)
    networks = ready_segmenter(model, device)
    with one_line(source.volume.name):
        if alone or isinstance(networks, VolumeSegmenter):
            found = segment_alone(source.volume, networks, progress)
        else:
            carrier = ready_propagator(propagation, "auto" if not isinstance(propagation, (str, Path)) else device)
            found = segment_volume(source.volume, networks, carrier, settings, progress)
    check_untouched(found.labels, found.key_slices)
    warnings = list(found.warnings)
    if source.order.reversed:
        warnings.append("slice numbers in these sentences and in the report count from the inferior end")
    return source.result(
        found.labels, found.confidence, found.key_slices, networks.table, warnings, report=found.report
    )
