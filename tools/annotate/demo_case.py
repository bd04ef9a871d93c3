"""The phantom as a case to try the tool with: made once, kept in the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path

from volumes.labels import Label, LabelTable

SEED = 22
SHAPE = (80, 256, 256)  # D, H, W: made in some seconds
SPACING = (3.0, 1.6, 1.6)  # mm
LABELS = ("liver", "right_kidney", "spleen", "pancreas", "aorta", "left_kidney")


def demo_ct() -> Path:
    """The CT file of the phantom, made if it is not there yet."""
    folder = cache_folder() / "demo"
    path = folder / f"phantom-{SEED}.nii.gz"
    if not path.is_file():
        from tools.demo import save_volume
        from tools.files import whole_file
        from volumes.phantom import make_phantom

        folder.mkdir(parents=True, exist_ok=True)
        phantom = make_phantom(SEED, shape=SHAPE, spacing=SPACING, phase="portal-venous", missing=())
        with whole_file(path) as temporary:
            # The temporary file's name ends in .gz alone, which says nothing of the format.
            named = temporary.with_name(f"{temporary.name}.nii.gz")
            save_volume(phantom.volume, named)
            named.replace(temporary)
    return path


def demo_table() -> LabelTable:
    """Some of the phantom's organs."""
    flare = LabelTable.read("flare22")
    organs = [flare.by_name(name) for name in LABELS]
    return LabelTable([Label(value, one.name, one.color) for value, one in enumerate(organs, 1)], "demo")


def cache_folder() -> Path:
    """Where files may lie that can be made again."""
    base = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "keyslice"
