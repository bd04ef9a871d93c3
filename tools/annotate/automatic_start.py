"""Key slices from a reference model, in the document's labels: a start that a person corrects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from tools.annotate.given import GivenSlice
from tools.annotate.merging import LabelMerge, is_unnamed, merge_labels
from volumes.labels import name_key

if TYPE_CHECKING:
    from reference_module.referencer import Progress, Referencer
    from volumes.labels import LabelTable
    from volumes.volume import Volume

STRATEGY = "consistent"  # what `keyslice segment` takes by itself


@dataclass(frozen=True)
class AvailableModel:
    """A reference model that ships.

    Attributes:
        name: as `Engine.automatic` takes it.
        structures: all that it knows.
        shared: those of them that the document has a label for.
    """

    name: str
    structures: tuple[str, ...]
    shared: tuple[str, ...]


def available_models(names: Iterable[str]) -> list[AvailableModel]:
    """Models that know a structure of the document's, or all where no label has a name yet.

    Args:
        names: of the document's labels.
    """
    wanted = {name_key(name) for name in names if not is_unnamed(name)}
    found = []
    for model, table in _shipped():
        shared = tuple(
            label.name
            for label in table.values()
            if not wanted.isdisjoint(name_key(text) for text in (label.name, *label.aliases))
        )
        if shared or not wanted:
            found.append(AvailableModel(model, table.names(), shared))
    return found


@cache
def _shipped() -> list[tuple[str, LabelTable]]:
    """Names of the models and what they know."""
    from reference_module.description import WEIGHTS_FOLDER, Description

    return [(path.stem, Description.read(path).table) for path in sorted(WEIGHTS_FOLDER.glob("*.safetensors"))]


def find_key_slices(
    referencer: Referencer, volume: Volume, names: Mapping[int, str], progress: Progress
) -> tuple[dict[int, GivenSlice], LabelMerge]:
    """Key slices of every structure that the model finds, with marks just beyond its ends, where it is absent.

    Args:
        names: of the document's labels.
        progress: called with slices done and slices in all, of those that are looked at first.
    """
    from reference_module.keying import key_slices

    keyed = key_slices(referencer, volume, STRATEGY, progress=progress)
    keys = keyed.key_slices
    merge = merge_labels(names, referencer.table, keys.labels, "reference model")
    absent: dict[int, set[int]] = {}
    for label, slices in keyed.absent.items():
        for z in slices if label in merge.values else ():
            absent.setdefault(z, set()).add(label)
    found = {}
    for z in sorted({*keys.slices(), *absent}):
        mask = keys.mask(z) if z in keys else np.zeros(volume.shape[1:], np.uint8)
        spoken = (keys.named(z) if z in keys else frozenset()) | absent.get(z, set())
        speaks = frozenset(merge.values[label] for label in spoken)
        found[z] = GivenSlice(merge.applied(mask), speaks, False, "automatic")
    return found, merge
