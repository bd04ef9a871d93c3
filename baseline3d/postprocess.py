"""What is done to a label map after a network has made it: the recipes' steps, kept with the weights they belong to.

What such a step has learnt from training cases (the least volume of an organ, say) is a field of it, so a weights file
carries it along, and nothing of it is in code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from networks.configurations import settings_of
from volumes.errors import InputError
from volumes.labels import LabelTable
from volumes.volume import Triple

KINDS = {
    "alves": ("baseline3d.postprocess_alves", "AlvesPostprocessing"),
    "components": ("baseline3d.postprocess_components", "ComponentRule"),
    "single_label": ("baseline3d.postprocess_single_label", "SmallPartsRemoved"),
}
"""Kinds of post-processing: where the class is, imported when it is needed."""


class Postprocessing(Protocol):
    """A frozen dataclass whose fields JSON can hold."""

    kind: ClassVar[str]

    def apply(self, labels: NDArray[np.uint8], spacing: Triple, table: LabelTable) -> NDArray[np.uint8]:
        """The label map with what is wrong in it put right.

        Args:
            labels: uint8 (D, H, W), canonical order; it may be changed in place.
            spacing: (dz, dy, dx) in mm.
            table: what the labels are.
        """

    def skipped(self, table: LabelTable) -> list[str]:
        """A line for each step that does not apply to the structures of `table`, which says why."""


def as_plain(given: Postprocessing | None) -> dict[str, Any] | None:
    """For a weights file; `from_plain` takes it back."""
    return None if given is None else {"kind": given.kind, **asdict(given)}  # type: ignore[call-overload]


def from_plain(content: Mapping[str, Any] | None, where: str) -> Postprocessing | None:
    """The post-processing that a weights file speaks of.

    Raises:
        InputError: none that there is, or settings that it does not have.
    """
    if content is None:
        return None
    settings = dict(content)
    kind = settings.pop("kind", None)
    if kind not in KINDS:
        raise InputError(
            where, found=f"post-processing '{kind}'", expected=f"one of {', '.join(KINDS)}", fix="choose another file"
        )
    module, name = KINDS[kind]
    found: Postprocessing = settings_of(settings, getattr(import_module(module), name), where)
    return found
