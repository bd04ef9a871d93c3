"""What confidence is made of, and how it is kept beside the weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from propagation_module.checkpoints import load_calibration, load_network, read_metadata, save_weights
from propagation_module.confidence import BY_PRESENCE, FEATURES, UNCALIBRATED, Calibration, Ending, Evidence
from volumes.errors import InputError

SEEN = Evidence(
    label=3, z=7, found=True, certain=False, expected_dice=0.8, agreement=0.7, follows=0.9, shape=0.6, sharpness=0.5,
    area=400.0, expected_area=500.0, distance=12.0, presence=0.4,
)  # fmt: skip


def test_every_feature_is_finite_whatever_is_seen() -> None:
    for seen in (
        SEEN,
        replace(SEEN, agreement=None, presence=None),
        replace(SEEN, expected_dice=1.0, agreement=0.0, follows=0.0, area=0.0, expected_area=0.0, distance=0.0),
        replace(SEEN, area=1e6, expected_area=0.0, distance=1e4, presence=0.0),
    ):
        vector = seen.vector()
        assert vector.shape == (len(FEATURES),) and np.isfinite(vector).all()
        assert np.abs(vector).max() < 60
        assert 0.0 <= UNCALIBRATED(seen) <= 1.0


def test_uncalibrated_it_is_the_expected_dice() -> None:
    assert UNCALIBRATED(SEEN) == pytest.approx(0.8)
    assert UNCALIBRATED(replace(SEEN, found=False, expected_dice=0.3)) == pytest.approx(0.3)


def test_found_and_lost_have_their_own_weights() -> None:
    found = tuple(float(name == "constant") * 2 for name in (*FEATURES, "constant"))
    lost = tuple(float(name == "constant") * -2 for name in (*FEATURES, "constant"))
    calibration = Calibration(found, lost)
    assert calibration(SEEN) == pytest.approx(0.8808, abs=1e-4)
    assert calibration(replace(SEEN, found=False)) == pytest.approx(0.1192, abs=1e-4)


def test_it_has_ended_where_the_network_says_so_or_says_nothing() -> None:
    assert BY_PRESENCE(SEEN) and not BY_PRESENCE(replace(SEEN, presence=0.6))
    assert not BY_PRESENCE(replace(SEEN, presence=None)), "who cannot say does not end it"


def test_both_come_back_with_the_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    calibration = Calibration(*(tuple(rng.normal(size=len(FEATURES) + 1).round(3)) for _ in range(2)))
    ending = Ending(tuple(rng.normal(size=len(FEATURES) + 1).round(3)), 0.35)
    path = tmp_path / "mine.safetensors"
    save_weights(load_network("small"), path, {"calibration": calibration.to_json(), "ending": ending.to_json()})
    assert load_calibration("small", path) == (calibration, ending)
    assert set(read_metadata(path)) == {"calibration", "ending"}
    bare = tmp_path / "bare.safetensors"
    save_weights(load_network("small"), bare, {})
    assert load_calibration("small", bare) == (UNCALIBRATED, BY_PRESENCE)


@pytest.mark.parametrize("text", ["{", "[]", '{"found": {}}', '{"found": {"taste": 1}, "lost": {}}', '{"found": 3}'])
def test_another_calibration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.safetensors"
    save_weights(load_network("small"), path, {"calibration": text})
    with pytest.raises(InputError, match="odd.safetensors.*a calibration that does not fit.*calibrate again"):
        load_calibration("small", path)
