"""What a training run depends on, for its record (`networks.run_record`): all but the code and where files lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from networks.run_record import digest_of
from networks.training.pseudo_label import PseudoLabel
from networks.training.settings import RunSettings
from volumes.datasets import DataCase, DataSet
from volumes.fingerprints import fingerprint

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

OF_NO_CONSEQUENCE = ("workers", "checkpoint_every", "log_every", "validate_every", "validation_cases")
"""Settings that may change while a run is under way: the weights do not depend on them."""


def made_with(
    whole: DictConfig,
    settings: RunSettings,
    inputs: DataclassInstance,
    dataset: DataSet,
    *,
    start_from: str | Path | None,
    pseudo: Mapping[str, str | Path | PseudoLabel] | None = None,
    with_unlabelled: bool = False,
) -> dict[str, Any]:
    """Plain values. Reads the ends of the cases' files and the start weights, no volume.

    Args:
        whole: the configuration, for its name and networks.
        inputs: the settings of the `input` section.
        dataset: the data.
        pseudo: label maps that unlabelled cases are given, by case name.
        with_unlabelled: the unlabelled cases are trained on too.
        start_from: weights that the run begins with.

    Raises:
        InputError: start weights that cannot be read.
    """
    joining = {name: PseudoLabel.of(given) for name, given in (pseudo or {}).items()}
    cases = {case.name: _case("labelled", case.image, case) for case in dataset.training}
    for case in dataset.unlabelled:
        if case.name in joining:
            cases[case.name] = _case("pseudo-labelled", case.image, joining[case.name])
        elif with_unlabelled:
            cases[case.name] = {"as": "unlabelled", "image": _fingerprint(case.image)}
    return {
        "name": whole.name,
        "network": OmegaConf.to_container(whole.network, resolve=True),
        "input": asdict(inputs),
        "training": {name: value for name, value in asdict(settings).items() if name not in OF_NO_CONSEQUENCE},
        "structures": {str(number): label.name for number, label in dataset.table.items()},
        "cases": cases,
        "start_from": digest_of(start_from),
    }


def _case(kind: str, image: Path, labels: DataCase | PseudoLabel) -> dict[str, Any]:
    path = labels.label if isinstance(labels, DataCase) else labels.path
    return {
        "as": kind,
        "image": _fingerprint(image),
        "labels": _fingerprint(path) if path is not None else None,
        "contours": "all" if labels.contoured is None else sorted(labels.contoured),
    }


def _fingerprint(path: Path) -> str:
    try:
        return fingerprint(path)
    except OSError as error:
        return f"not readable ({error.strerror})"  # what prepares the volumes says it better
