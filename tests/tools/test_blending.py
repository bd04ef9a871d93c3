"""Two opinions into one: the likelier class of their mean, key slices as given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from networks.upsampling import FilePixels
from propagation_module.propagator import Propagator
from propagation_module.session import Session
from reference_module.referencer import Referencer
from tests.tools.pairs import HU, SPACING, HounsfieldPair, ellipsoids, referencer
from tools.automatic import AutomaticSettings
from tools.blending import Offer, blended, likeliest
from tools.segment import Job, segment_command
from volumes.formats import read_label_map
from volumes.metrics import dice

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def propagator() -> Propagator:
    return Propagator.load("small", precision="float32")


def carried(propagator: Propagator, slices: tuple[int, ...] = (8, 16)) -> tuple[Session, np.ndarray]:
    volume, truth = ellipsoids()
    session = propagator.open(volume)
    for z in slices:
        session.annotate(z, truth[z], [1, 2])
    for _ in session.propagate(live=False):
        pass
    return session, truth


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 99),
    classes=st.integers(2, 40),
    share=st.floats(0, 0.9),
    grid=st.sampled_from([(6, 7), (9, 12), (4, 20)]),
)
def test_the_likeliest_of_the_mean(seed: int, classes: int, share: float, grid: tuple[int, int]) -> None:
    draw = np.random.default_rng(seed)
    pair = torch.from_numpy(draw.dirichlet(np.full(classes, 0.2), grid).astype(np.float32)).permute(2, 0, 1)
    pixels = FilePixels(grid, (9, 12), CPU)
    carried = np.zeros((classes, 9, 12), np.float32)
    offers: dict[int, Offer] = {}
    for number in draw.choice(np.arange(1, classes), min(3, classes - 1), replace=False).tolist():
        window = slice(2, 8), slice(1, 9)
        offers[number] = draw.random((6, 8), np.float32), window
        carried[(number, *window)] = offers[number][0]
    carried[0] = (1 - carried[1:]).prod(0)
    mean = (1 - share) * pixels.resampled(pair).numpy() + share * carried / carried.sum(0)
    found = likeliest(pair, pixels, offers, share)
    value = np.take_along_axis(mean, found[None].astype(int), 0)[0]
    np.testing.assert_allclose(value, mean.max(0), atol=1e-5)


def test_what_the_pair_misses_on_a_slice_is_carried_there(propagator: Propagator) -> None:
    session, truth = carried(propagator)
    blind = referencer(HounsfieldPair(24, lambda z, label: 0.1 if z == 12 else 1.0))
    found = blended(session, blind, 0.3).labels
    for label in HU:
        assert dice(truth[12] == label, found[12] == label) > 0.9, label
        assert dice(truth == label, found == label) > 0.9, label


def test_what_propagation_loses_the_pair_still_sees(propagator: Propagator) -> None:
    session, truth = carried(propagator, slices=(12,))
    for z in (9, 15):
        session.mark_absent(z, [2])  # wrongly: it is carried no farther
    for _ in session.propagate(live=False):
        pass
    found = blended(session, referencer(HounsfieldPair(24)), 0.3).labels
    assert not (session.labels[8] == 2).any() and dice(truth[8] == 2, found[8] == 2) > 0.75
    for z in (9, 15):
        assert not (found[z] == 2).any(), "it was said not to be there"


def test_key_slices_come_back_as_they_were_given(propagator: Propagator) -> None:
    session, truth = carried(propagator)
    cut = ((truth[12] == 1) & (np.arange(52) > 14)).astype(np.uint8)
    session.annotate(12, cut, [1])
    for _ in session.propagate(live=False):
        pass
    found = blended(session, referencer(HounsfieldPair(24)), 0.3).labels
    np.testing.assert_array_equal(found[12] == 1, cut == 1)
    np.testing.assert_array_equal(found[8], truth[8])


def test_a_structure_on_no_key_slice_is_on_no_other(propagator: Propagator) -> None:
    volume, truth = ellipsoids()
    session = propagator.open(volume)
    session.annotate(12, np.where(truth[12] == 1, 1, 0), [1])
    for _ in session.propagate(live=False):
        pass
    found = blended(session, referencer(HounsfieldPair(24)), 0.3).labels
    assert not (found == 2).any() and dice(truth == 1, found == 1) > 0.9


def test_progress_is_told(propagator: Propagator) -> None:
    session, _ = carried(propagator)
    steps: list[tuple[int, int]] = []
    blended(session, referencer(HounsfieldPair(24)), 0.3, lambda done, total: steps.append((done, total)))
    assert steps == [(z + 1, 24) for z in range(24)]


def test_how_far_the_members_agree_on_each_slice(propagator: Propagator) -> None:
    class Quarrel(HounsfieldPair):
        def forward(self, images, position):  # type: ignore[no-untyped-def]
            first, second = super().forward(images, position)
            here = (position * self.depth).round() == 11
            second[here] = second[here].roll((0, 200), (2, 3))  # elsewhere
            return first, second

    session, truth = carried(propagator)
    agreement = blended(session, referencer(Quarrel(24)), 0.3).agreement
    assert agreement.keys() == HU.keys()
    for label, one in agreement.items():
        rolled = np.roll(truth[11] == label, 200, 1)
        assert one[11] == pytest.approx(dice(truth[11] == label, rolled), abs=0.02) and one[11] < 0.9
        assert (np.delete(one, 11) == 1).all(), "also where neither sees it"


@pytest.mark.parametrize("share", [None, 0.6, 0.0])
def test_the_report_says_so(share: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, truth = ellipsoids(12, second=(3, 8))
    ct, out, report = tmp_path / "ct.nii.gz", tmp_path / "out.nii.gz", tmp_path / "report.json"
    image = sitk.GetImageFromArray(volume.array)
    image.SetSpacing(SPACING[::-1])
    sitk.WriteImage(image, str(ct))
    monkeypatch.setattr(Referencer, "load", lambda *_, **more: referencer(HounsfieldPair(12)))
    job = Job(ct=ct, output=out, model="eyes", report=report, blend=share, device="cpu", quiet=True)
    assert segment_command(job) == 0
    found = json.loads(report.read_text(encoding="utf-8"))
    expected = AutomaticSettings().blend if share is None else share
    assert found["settings"]["automatic"]["blend"] == expected
    if expected:
        assert found["blend"]["share"] == expected
        assert 0 < found["blend"]["seconds"] <= found["seconds"]["segment"]
    else:
        assert found["blend"] is None
    labels = read_label_map(out).array
    assert all(dice(truth == label, labels == label) > 0.9 for label in HU)
