"""The running mean of a network's weights."""

from __future__ import annotations

import pytest
from torch import nn

from networks.training.averaging import averaged


def test_the_average_forgets_the_start_and_follows() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 100.0)
    model = averaged(network, 0.9)
    assert model is not None and averaged(network, 0.0) is None
    nn.init.constant_(network.weight, 1.0)
    for _ in range(60):
        model.update_parameters(network)
    assert model.module.weight.item() == pytest.approx(1.0, abs=0.1)  # type: ignore[union-attr]
    nn.init.constant_(network.weight, 2.0)
    model.update_parameters(network)
    assert model.module.weight.item() == pytest.approx(1.1, abs=0.1)  # type: ignore[union-attr]
