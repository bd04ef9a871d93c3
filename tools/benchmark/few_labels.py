"""Few cases with labels, many without: who keeps labels and who is reported on, the same in all benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tools.files import write_json
from volumes.datasets import DataCase, DataSet, read_dataset, split
from volumes.errors import InputError
from volumes.integrity import check_dataset

FINDINGS = "dataset.json"
"""In the folder of the results: what a look into the data set has found."""


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Who has labels, and who is reported on.

    Attributes:
        labelled: training cases that keep their labels; all other training cases are unlabelled.
        seed: of the draw.
        require: structures that a labelled case, and a case of the report, must all contour; none: any case will do.
            Their mean is the figure that results are compared by; without any it is that of all structures.
        smallest: so many of the structures, the smallest of the report's cases, have a mean of their own.
    """

    labelled: int
    seed: int
    require: tuple[str, ...] = ()
    smallest: int = 2


@dataclass(frozen=True, kw_only=True)
class PhantomSettings:
    """Phantoms (`volumes.phantom`) in place of patients.

    Attributes:
        seed: of the first one; every next one has the next seed.
        training, validation: how many.
        shape: (D, H, W).
        spacing: (dz, dy, dx) in mm.
    """

    seed: int
    training: int
    validation: int
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]


@dataclass(frozen=True)
class Drawn:
    """A data set of which most labels are hidden.

    Attributes:
        dataset: labelled, unlabelled and validation cases of the trainings; none of the latter is reported on.
        hidden: the unlabelled cases with the labels that the trainings do not see, those that have them.
        report_on: the cases of the report.
    """

    dataset: DataSet
    hidden: Mapping[str, DataCase]
    report_on: tuple[DataCase, ...]


def draw(data: Path, settings: DataSettings, out: Path) -> Drawn:
    """Draw who has labels and who is reported on, after a look into the data, whose findings go into `out`.

    Raises:
        InputError: too few cases of a kind, or data that cannot be used.
    """
    whole = read_dataset(data)
    required = [whole.table.resolve(name) for name in settings.require]
    drawn = split(whole, settings.labelled, settings.seed, required)
    report_on = tuple(case for case in whole.validation if all(map(case.contours, required)))
    if not report_on:
        raise InputError(
            data,
            found="no validation case that contours all required structures",
            expected="imagesVal and labelsVal to report on",
            fix="add such cases, or require fewer structures",
        )
    others = tuple(case for case in whole.validation if case not in report_on)
    if not (out / FINDINGS).exists():
        findings = check_dataset(replace(drawn, validation=whole.validation))
        write_json(out / FINDINGS, findings.as_dict())
    unlabelled = {case.name for case in drawn.unlabelled}
    hidden = {case.name: case for case in whole.training if case.name in unlabelled}
    return Drawn(replace(drawn, validation=others), hidden, report_on)


def data_or_phantoms(data: Path | None, phantom: PhantomSettings | None, folder: Path, name: str) -> Path:
    """`data`, or without it the phantoms of configuration `name`, made in `folder`.

    Raises:
        InputError: neither.
    """
    if data is not None:
        return data
    if phantom is None:
        raise InputError(
            "--data",
            found="nothing",
            expected=f"a data set: the configuration '{name}' has no phantoms",
            fix="give its folder",
        )
    from tools.benchmark.phantom_set import make_phantom_set

    return make_phantom_set(folder, phantom)
