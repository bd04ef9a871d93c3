"""What the weights file of a pair says of itself, beside the tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from networks.configurations import settings_of
from networks.metadata import plain_table, read_metadata, read_table
from volumes.errors import InputError
from volumes.labels import LabelTable

WEIGHTS_FOLDER = Path(__file__).with_name("weights")
"""Where the weights of the pairs that ship are."""


@dataclass(frozen=True)
class InputSettings:
    """What a pair's slices look like.

    Attributes:
        pixel: side of a pixel in mm to which slices are resampled; None leaves them as the file has them.
        windows: `three` (abdomen, chest and spine as channels) or `one` (the abdomen window in all three).
    """

    pixel: float | None = None
    windows: Literal["three", "one"] = "three"

    def __post_init__(self) -> None:
        if self.pixel is not None and not self.pixel > 0:
            raise InputError("input.pixel", found=str(self.pixel), expected="a length in mm, or null", fix="correct it")


@dataclass(frozen=True)
class Description:
    """Networks, classes and input of a pair.

    Attributes:
        network: the `network` section that the pair was built from.
        table: its n-th label is class n; class 0 is background.
        settings: what its slices look like.
    """

    network: dict[str, Any]
    table: LabelTable
    settings: InputSettings

    @property
    def classes(self) -> int:
        """Background included."""
        return len(self.table) + 1

    def metadata(self) -> dict[str, str]:
        """As a weights file keeps it; `read` takes it back."""
        return {
            "network": json.dumps(self.network),
            "classes": str(self.classes),
            "labels": json.dumps(plain_table(self.table)),
            "input": json.dumps(asdict(self.settings)),
        }

    @classmethod
    def read(cls, path: Path) -> Description:
        """The description in a weights file.

        Raises:
            InputError: no such file, none of ours, or a description that is incomplete or contradicts itself.
        """
        metadata = read_metadata(path)
        network = _entry(metadata, "network", path)
        table = read_table(_entry(metadata, "labels", path), path)
        settings = settings_of(_entry(metadata, "input", path), InputSettings, f"{path}: input")
        found = cls(network, table, settings)
        if metadata.get("classes") != str(found.classes):
            raise InputError(
                path,
                found=f"weights of {metadata.get('classes', 'unknown')} classes and a table of {len(table)} labels",
                expected="a class for each label, and background",
                fix="choose another file, or train again",
            )
        return found


_MEANING = {
    "network": "a description of their networks",
    "labels": "a label table",
    "input": "what their slices look like",
}


def _entry(metadata: Mapping[str, str], key: str, path: Path) -> dict[str, Any]:
    """A part of the metadata, which is JSON."""
    try:
        content = json.loads(metadata[key])
    except (KeyError, ValueError):
        content = None
    if not isinstance(content, dict):
        raise InputError(
            path,
            found=f"weights without {_MEANING[key]}",
            expected="weights of a reference pair, as keyslice train reference writes them",
            fix="choose another file, or train again",
        )
    return content
