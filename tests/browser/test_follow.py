"""Corrections carry on by themselves, where the person wants it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.browser.driving import Tab

pytestmark = pytest.mark.browser

KEYS, CORRECTED, FAR = (6, 18), 12, 4
LEFT, RIGHT = ((40, 30), (40, 50)), ((60, 30), (60, 50))


def test_nearby_slices_follow_a_correction(open_case: Callable[[str], Tab]) -> None:
    tab = open_case("follow")
    label = tab.add_label("liver")
    for z in KEYS:
        tab.go(z)
        tab.stroke(*LEFT)
    tab.page.check("#follow")
    tab.go(FAR)
    tab.stroke(*LEFT)
    assert tab.server_state()["running"] is None, "nothing has been propagated yet, so nothing follows"
    tab.propagate()
    before = tab.masks()[1]

    tab.go(CORRECTED)
    with tab.page.expect_response("**/propagate"):
        tab.stroke(*RIGHT)
    tab.until(lambda: tab.server_state()["running"] is None, "the end of propagation")

    after = tab.masks()[1]
    assert not np.array_equal(after[CORRECTED + 1] == label, before[CORRECTED + 1] == label)
    assert np.array_equal(after[FAR + 1], before[FAR + 1]), "between other key slices"
