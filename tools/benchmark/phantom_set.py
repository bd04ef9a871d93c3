"""Phantoms as a data set in nnU-Net raw layout: all labelled, most labels are then hidden."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from networks.locks import locked
from tools.benchmark.few_labels import PhantomSettings
from tools.benchmark.stages import check_made_with
from tools.demo import save_volume
from tools.files import write_json
from volumes.formats import write_label_map
from volumes.labels import LabelTable
from volumes.phantom import make_phantom

Tell = Callable[[str], None]


def make_phantom_set(folder: Path, settings: PhantomSettings, tell: Tell = lambda line: None) -> Path:
    """Make what is missing of the phantoms in `folder`, 2 s each at 56 x 128 x 128 voxels; returns it.

    Raises:
        InputError: the folder holds phantoms of other settings.
    """
    with locked(folder, tell):
        check_made_with(folder, asdict(settings))
        for place in range(settings.training + settings.validation):
            part = "Tr" if place < settings.training else "Val"
            _make(folder, part, settings.seed + place, settings)
        table = LabelTable.read("flare22")
        labels = {"background": 0, **{label.name: value for value, label in table.items()}}
        described = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": settings.training}
        write_json(folder / "dataset.json", {**described, "file_ending": ".nii.gz"})
    return folder


def _make(folder: Path, part: str, seed: int, settings: PhantomSettings) -> None:
    name = f"phantom_{seed:04d}"
    image, labels = folder / f"images{part}" / f"{name}_0000.nii.gz", folder / f"labels{part}" / f"{name}.nii.gz"
    if image.exists() and labels.exists():
        return
    for path in (image, labels):
        path.parent.mkdir(exist_ok=True)
    phantom = make_phantom(seed, shape=settings.shape, spacing=settings.spacing)
    part_of_it = image.with_name(f".{image.name}")
    save_volume(phantom.volume, part_of_it)
    os.replace(part_of_it, image)
    write_label_map(phantom.labels, labels, overwrite=True)
