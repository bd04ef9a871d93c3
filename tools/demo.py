"""`make demo`: the main job from end to end, on a CT that is made here.

A phantom's CT and three key slices a structure are written as files, `keyslice propagate` carries the labels
to every slice, `keyslice evaluate` compares them with the truth that the phantom knows.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tools.cli import app
from volumes.formats import check_output, write_label_map
from volumes.label_map import LabelMap
from volumes.phantom import Phantom, make_phantom
from volumes.volume import Volume

SEED = 22
SHAPE = (48, 192, 192)  # D, H, W: small enough for a minute on two cores
SPACING = (5.0, 2.1, 2.1)  # mm
KEYS_PER_STRUCTURE = 3


def run_demo(folder: Path) -> int:
    """Make the case in `folder`, propagate, evaluate. Returns the exit status."""
    print(f"Making a CT ({SHAPE[0]} slices of {SHAPE[1]} x {SHAPE[2]} pixels) ...", flush=True)
    ct, keys, truth = example_case(folder, overwrite=True)
    labels, montage, report = folder / "labels.nii.gz", folder / "montage.png", folder / "report.json"
    scores = folder / "scores.json"
    commands = (
        ["propagate", "-i", ct, "-k", keys, "-o", labels, "--labels", "flare22"]
        + ["--montage", montage, "--report", report, "--overwrite"],
        ["evaluate", "-r", truth, "-p", labels, "--labels", "flare22", "--json", scores],
    )
    for command in commands:
        words = [str(word) for word in command]
        print(f"\n$ keyslice {' '.join(words)}", flush=True)
        status = _run(words)
        if status:
            return status
    print(f"\nLabel map: {labels}\nPicture:   {montage}\nReport:    {report}\nScores:    {scores}")
    return 0


def example_case(
    folder: str | Path = ".",
    *,
    shape: tuple[int, int, int] | None = None,
    spacing: tuple[float, float, float] | None = None,
    overwrite: bool = False,
) -> tuple[Path, Path, Path]:
    """Write a made CT of the abdomen, three key slices of each of its 13 structures, and all their labels.

    Args:
        folder: it is made if need be.
        shape: (D, H, W); None for `SHAPE`.
        spacing: (dz, dy, dx) mm; None for `SPACING`.
        overwrite: replace files of these names.

    Returns:
        `ct.nii.gz`, `keys.nii.gz` and `truth.nii.gz`.

    Raises:
        InputError: one of them is there already; nothing has changed then.
    """
    folder = Path(folder)
    ct, keys, truth = paths = tuple(folder / f"{name}.nii.gz" for name in ("ct", "keys", "truth"))
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        check_output(path, overwrite)
    phantom = make_phantom(SEED, shape=shape or SHAPE, spacing=spacing or SPACING, phase="portal-venous", missing=())
    save_volume(phantom.volume, ct)
    write_label_map(phantom.labels, truth, overwrite=True)
    write_label_map(key_slice_map(phantom), keys, overwrite=True)
    return ct, keys, truth


def key_slice_map(phantom: Phantom) -> LabelMap:
    """Three slices of each structure, evenly spaced inside it, with that structure alone."""
    array = phantom.labels.array
    sparse = np.zeros_like(array)
    for value in phantom.labels.present():
        on = np.flatnonzero((array == value).any((1, 2)))
        for z in evenly_spaced(on, KEYS_PER_STRUCTURE):
            sparse[z][array[z] == value] = value
    return LabelMap(sparse, phantom.labels.geometry, phantom.labels.table, "key slices")


def evenly_spaced(slices: npt.NDArray[np.intp], count: int) -> list[int]:
    """`count` of the slices, each in the middle of one of as many equal parts."""
    return sorted({int(slices[int((part + 0.5) * len(slices) / count)]) for part in range(count)})


def save_volume(volume: Volume, path: Path) -> None:
    """Write a CT on its grid."""
    import SimpleITK as sitk

    from volumes.image_files import image_in_file_order

    geometry = volume.geometry
    sitk.WriteImage(image_in_file_order(geometry.to_file(volume.array), geometry), str(path), True)


def _run(words: list[str]) -> int:
    """A command of `keyslice`, in this process. Returns its exit status."""
    try:
        app(words)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


if __name__ == "__main__":
    sys.exit(run_demo(Path(sys.argv[1] if len(sys.argv) > 1 else "demo")))
