"""The rule for ends, played through by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from propagation_module.confidence import Evidence
from tools.benchmark.confidence.ends import Step, play

SEEN = Evidence(
    label=1, z=0, found=True, certain=False, expected_dice=0.9, agreement=None, follows=0.9, shape=0.9, sharpness=0.9,
    area=100.0, expected_area=100.0, distance=3.0, presence=0.9,
)  # fmt: skip


def _steps(*true: float, spacing: float = 3.0) -> list[Step]:
    return [Step("case", 1, replace(SEEN, z=z), area, spacing) for z, area in enumerate(true)]


def test_what_is_labelled_beyond_and_what_is_missed() -> None:
    steps, sure = _steps(100, 100, 0, 0), np.array([0.9, 0.4, 0.9, 0.1])
    found = play(steps, sure, 0.5)
    assert (found.beyond, found.missed) == (0.5, 0.5), "the second is given up, the third labelled wrongly"
    assert play(steps, sure, 0.0).beyond == 0.5 and play(steps, sure, 0.0).missed == 0.0
    assert play(steps, sure, 1.0) == (1.0, 0.0, 1.0, 0.0)


def test_it_starts_again_after_a_gap_but_not_after_a_long_one() -> None:
    short = play(_steps(100, 0, 0, 100), np.array([0.9, 0.1, 0.1, 0.9]), 0.5)
    assert short.missed == 0.0 and short.beyond == 0.0 and short.overlap == pytest.approx(1.0)
    long = play(_steps(100, 0, 0, 0, 0, 100), np.array([0.9, 0.1, 0.1, 0.1, 0.1, 0.9]), 0.5)
    assert long.missed == 0.5


def test_runs_do_not_run_into_each_other() -> None:
    steps = [*_steps(100, 0, 0, 0, 0), *(step._replace(run=2) for step in _steps(100))]
    assert play(steps, np.array([0.9, 0.1, 0.1, 0.1, 0.1, 0.9]), 0.5).missed == 0.0
