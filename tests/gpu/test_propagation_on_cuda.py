"""The same propagation on a GPU: the CPU's labels, with memory and features that stay on the device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from propagation_module.propagator import Propagator
from volumes.key_slices import KeySlices
from volumes.metrics import dice
from volumes.phantom import make_phantom

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: GPU tests did not run"),
]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_gpu_labels_what_the_cpu_labels(precision: str) -> None:
    phantom = make_phantom(5, shape=(24, 96, 128), spacing=(4.0, 3.0, 3.0), missing=())
    truth = phantom.labels.array
    keys = KeySlices(truth.shape)
    for z in (4, 12, 20):
        keys.add(z, truth[z], complete=True)
    on_cpu = Propagator.load("small", precision="float32").propagate(phantom.volume, keys).labels
    propagator = Propagator.load("small", device="cuda", precision=precision)
    session = propagator.open(phantom.volume)
    for z in keys.slices():
        session.annotate(z, keys.mask(z), complete=True)
    for _ in session.propagate():
        pass
    for label in keys.labels:
        assert dice(on_cpu == label, session.labels == label) > (0.995 if precision == "float32" else 0.97), label
    assert np.array_equal(session.labels[12], truth[12])
    assert session._stepper is not None
    _, features = session._stepper.tracker.features(10)
    assert features.key.is_cuda, "features stay on the device"
