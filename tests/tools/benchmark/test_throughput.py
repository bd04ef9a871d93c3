"""The benchmark of runs over many volumes: its model, and what it measures of the run itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.benchmark.throughput.model import Terms, predicted
from tools.benchmark.throughput.overhead import cost_of_the_run


def test_workers_share_the_volumes_until_the_run_itself_is_the_bound() -> None:
    terms = Terms(start=60, files=2, gap=1, own=0.01, report=0.001)
    one, eight, many = predicted(terms, network=5)
    assert one["hours"] == pytest.approx((60 + 10_000 * 8 + 10) / 3600, abs=1e-3)
    assert eight["hours"] == pytest.approx((60 + 1250 * 8 + 10) / 3600, abs=1e-3)
    assert many["hours"] == pytest.approx((60 + 157 * 8 + 10) / 3600, abs=1e-3)
    assert one["used"] == pytest.approx(7 / 8, abs=0.01) and many["used"] < one["used"]
    slow = Terms(start=60, files=2, gap=1, own=1, report=0.001)
    assert predicted(slow, network=5)[2]["per_hour"] == pytest.approx(10_000 / 10_070 * 3600, abs=0.1)


def test_the_run_itself_is_measured_by_a_real_run(tmp_path: Path) -> None:
    cost = cost_of_the_run(tmp_path / "idle", 20)
    assert 0 < cost["run"] < 5 and 0 < cost["report"] < 5
    assert not (tmp_path / "idle").exists()
