"""What a session says of a label on a slice: as given on key slices, as propagated elsewhere, on the file's pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from propagation_module.checkpoints import build_network
from propagation_module.propagator import Propagator
from propagation_module.session import Session
from volumes.volume import Geometry, Volume

SHAPE = (9, 40, 56)


@pytest.fixture
def session() -> Session:
    torch.manual_seed(3)
    array = np.random.default_rng(0).normal(40, 20, SHAPE).astype(np.int16)
    volume = Volume(array, Geometry.axial(SHAPE, (3.0, 1.5, 2.0)), "test")
    session = Propagator(build_network("small"), pixel=1.5).open(volume)
    plane = np.zeros(SHAPE[1:], np.uint8)
    plane[10:22, 16:30] = 3
    session.annotate(2, plane)
    session.annotate(6, plane)
    return session


def whole(session: Session, label: int, z: int) -> np.ndarray:
    out = np.zeros(SHAPE[1:], np.float32)
    if (found := session.probability(label, z)) is not None:
        out[found[1]] = found[0]
    return out


def test_a_key_slice_is_as_it_was_given(session: Session) -> None:
    np.testing.assert_array_equal(whole(session, 3, 2), session.key_slices.mask(2) == 3)
    assert session.probability(3, 4) is None, "nothing has been propagated"
    session.mark_absent(8, [3])
    assert session.probability(3, 8) is None and session.probability(7, 2) is None


def test_between_them_it_is_what_the_labels_come_from(session: Session) -> None:
    for _ in session.propagate(live=False):
        pass
    for z in range(SHAPE[0]):
        found = whole(session, 3, z)
        assert found.min() >= 0 and found.max() <= 1 + 1e-6
        np.testing.assert_array_equal(found > 0.5, session.labels[z] == 3)
    assert whole(session, 3, 4).any() and session.probability(5, 4) is None
