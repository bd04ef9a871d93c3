"""What the weights file of a 3D network says of itself, beside the tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from baseline3d.heads import channels_of
from baseline3d.intensity import Figures
from baseline3d.postprocess import Postprocessing, as_plain, from_plain
from baseline3d.preparation import InputSettings
from baseline3d.sliding import WindowSettings
from networks.configurations import settings_of
from networks.metadata import plain_table, read_metadata, read_table
from volumes.errors import InputError
from volumes.labels import LabelTable

SIDE = "baseline3d"
"""What weights of this side have under `side`; those of a reference pair have nothing there."""


@dataclass(frozen=True)
class Description:
    """Network, classes and input.

    Attributes:
        network: the `network` section that it was built from.
        table: its n-th label is class n; class 0 is background.
        settings: what the network sees of a volume.
        windows: how it goes through one.
        figures: HU learnt from the training cases, for rules that need them.
        postprocessing: what is done to its label maps.
        coarse: of the network in the same file that finds the box for this one, if there is one (Zhang 2.1).
    """

    network: dict[str, Any]
    table: LabelTable
    settings: InputSettings
    windows: WindowSettings
    figures: Figures | None
    postprocessing: Postprocessing | None = None
    coarse: Description | None = None

    @property
    def channels(self) -> int:
        """Of the network."""
        return channels_of(self.network["head"], len(self.table))

    def metadata(self) -> dict[str, str]:
        """As a weights file keeps it; `read` takes it back."""
        return {
            "side": SIDE,
            "network": json.dumps(self.network),
            "channels": str(self.channels),
            "labels": json.dumps(plain_table(self.table)),
            "input": json.dumps(asdict(self.settings)),
            "inference": json.dumps(asdict(self.windows)),
            "figures": json.dumps(None if self.figures is None else self.figures.as_dict()),
            "postprocessing": json.dumps(as_plain(self.postprocessing)),
            "coarse": json.dumps(None if self.coarse is None else self.coarse.metadata()),
        }

    @classmethod
    def read(cls, path: Path) -> Description:
        """The description in a weights file.

        Raises:
            InputError: no such file, none of this side, or a description that is incomplete or contradicts itself.
        """
        return cls._parsed(read_metadata(path), path)

    @classmethod
    def _parsed(cls, metadata: Mapping[str, str], path: Path) -> Description:
        if metadata.get("side") != SIDE:
            raise _bad(path, "weights that are not those of a 3D network")
        try:
            coarse = json.loads(metadata.get("coarse", "null"))
            content = {
                name: json.loads(metadata[name]) for name in ("network", "labels", "input", "inference", "figures")
            }
            postprocessing = json.loads(metadata.get("postprocessing", "null"))
        except (KeyError, ValueError) as error:
            raise _bad(path, f"a description that cannot be read ({error})") from error
        network, figures = content["network"], content["figures"]
        if not isinstance(network, Mapping) or network.get("head") not in ("softmax", "sigmoid"):
            raise _bad(path, "a description without a network")
        found = cls(
            dict(network),
            read_table(content["labels"], path),
            settings_of(content["input"], InputSettings, f"{path}: input"),
            settings_of(content["inference"], WindowSettings, f"{path}: inference"),
            None if figures is None else settings_of(figures, Figures, f"{path}: figures"),
            from_plain(postprocessing, f"{path}: postprocessing"),
            cls._parsed(coarse, path) if isinstance(coarse, Mapping) else None,
        )
        if metadata.get("channels") != str(found.channels):
            raise _bad(path, f"{metadata.get('channels', 'unknown')} channels for a table of {len(found.table)} labels")
        if found.settings.intensity.rule == "percentiles" and found.figures is None:
            raise _bad(path, "no figures for the intensity rule")
        return found


def is_of_this_side(path: Path) -> bool:
    """Whether a weights file says that it is a 3D network's; False for what is no weights file."""
    try:
        return read_metadata(path).get("side") == SIDE
    except InputError:
        return False


def _bad(path: Path, found: str) -> InputError:
    return InputError(
        path,
        found=found,
        expected="weights of a 3D network, as keyslice train baseline3d writes them",
        fix="choose another file, or train again",
    )
