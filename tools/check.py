"""`keyslice check`: the look into a data set that every training begins with, by itself and to its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.console import progress_bar, say
from tools.errors import BAD_INPUT, show

if TYPE_CHECKING:
    from volumes.datasets import DataSet
    from volumes.errors import InputError
    from volumes.integrity import Findings


def check_command(data: Path, *, as_json: bool = False, quiet: bool = False) -> int:
    """Print what a data set holds and every fault of it.

    Args:
        data: folder of a data set in nnU-Net raw layout or FLARE22's own.
        as_json: print `{"trainable", "faults": [{"where", "found", "expected", "fix"}], "findings"}`; findings are
            null where no image could be read.
        quiet: no progress bar, no table; faults are printed all the same.

    Returns:
        The exit status: 0, or 2 if training would refuse the data set.

    Raises:
        InputError: no data set there.
    """
    from volumes.datasets import read_dataset
    from volumes.integrity import examine

    dataset = read_dataset(data)
    with progress_bar("looking at the data", quiet=quiet or as_json) as progress:
        findings, faults = examine(dataset, progress)
    if as_json:
        print(json.dumps(_as_dict(findings, faults), indent=2, ensure_ascii=False))
        return BAD_INPUT if faults else 0
    if findings is not None and not quiet:
        say(findings.table())
    for fault in faults:
        show(fault)
    if not quiet:
        say(_verdict(dataset, faults))
    return BAD_INPUT if faults else 0


def _as_dict(findings: Findings | None, faults: list[InputError]) -> dict[str, Any]:
    return {
        "trainable": not faults,
        "faults": [{name: getattr(one, name) for name in ("where", "found", "expected", "fix")} for one in faults],
        "findings": None if findings is None else findings.as_dict(),
    }


def _verdict(dataset: DataSet, faults: list[InputError]) -> str:
    if faults:
        return f"{len(faults)} fault{'' if len(faults) == 1 else 's'}: keyslice train refuses this data set"
    if not dataset.unlabelled:
        return "keyslice train reference takes it; cps and rounds need cases without labels besides"
    if not dataset.validation:
        return "keyslice train takes it; without validation cases no score says when rounds should end"
    return "keyslice train takes it"
