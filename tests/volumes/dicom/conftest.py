"""A small series, and labels of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="DICOM labels need keyslice[dicom]")

from tests.volumes.dicom.series_writer import SeriesWriter  # noqa: E402
from volumes import Label, LabelMap, LabelTable, Volume, read_volume  # noqa: E402


@pytest.fixture
def series(tmp_path: Path) -> SeriesWriter:
    return SeriesWriter(tmp_path)


@pytest.fixture
def volume(series: SeriesWriter) -> Volume:
    return read_volume(series.classic())


@pytest.fixture
def labels_of() -> Callable[..., LabelMap]:
    """Random labels 2, 5 and 9 (liver, left kidney and a name of our own) of a volume."""

    def make(volume: Volume, seed: int = 0) -> LabelMap:
        array = np.random.default_rng(seed).choice([0, 0, 2, 5, 9], volume.shape).astype(np.uint8)
        table = LabelTable(
            [
                Label(2, "liver", (181, 98, 66)),
                Label(5, "left kidney", (134, 142, 36)),
                Label(9, "Läsion №1", (0, 255, 9)),
            ]
        )
        return LabelMap(array, volume.geometry, table, volume.name, volume.source)

    return make
