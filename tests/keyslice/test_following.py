"""What the napari plugin does, without napari: a session follows a layer."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import keyslice
from keyslice import napari_plugin
from keyslice.napari_plugin import mesa
from keyslice.napari_plugin.following import Ended, Following, Painted, Proposed
from tests.keyslice.conftest import AXES, Case
from tests.keyslice.test_axes import laid

if TYPE_CHECKING:
    from propagation_module.propagator import Propagator

TOWARD: Any = ("left", "inferior", "anterior")
TURNED = keyslice.Axes(toward=TOWARD, spacing=(2.0, 3.0, 2.0))


class Viewer:
    """Where proposals are seen."""

    def __init__(self, following: Following, shape: tuple[int, ...]) -> None:
        self.following, self.seen = following, np.zeros(shape, np.uint8)
        self.slices: list[int] = []

    def propagate(self, painted: Painted, most: int | None = None) -> Ended | None:
        """Up to `most` slices; how it ended."""
        self.slices = []
        for update in self.following.propagate(painted):
            if isinstance(update, Ended):
                return update
            assert isinstance(update, Proposed)
            index: list[Any] = [slice(None)] * 3
            index[self.following.axes.axial] = update.z
            self.seen[tuple(index)] = update.plane
            self.slices.append(update.z)
            if len(self.slices) == most:
                return None
        raise AssertionError("it did not say how it ended")


def test_painted_slices_in_proposals_out(case: Case, model: Propagator, propagated: np.ndarray) -> None:
    viewer = Viewer(Following(laid(case.hu, TOWARD), TURNED, model), laid(case.hu, TOWARD).shape)
    ended = viewer.propagate(Painted(laid(case.keys, TOWARD).astype(np.int64)))
    assert np.array_equal(viewer.seen, laid(propagated, TOWARD))
    assert ended is not None and ended.error is None and ended.suggestion is not None


def test_only_what_changed_is_computed_again_and_erased_slices_count(case: Case, model: Propagator) -> None:
    viewer = Viewer(Following(case.hu, AXES, model), case.hu.shape)
    viewer.propagate(Painted(case.keys))
    before = viewer.seen.copy()
    viewer.propagate(Painted(case.keys))
    assert viewer.slices == []
    corrected = case.keys.copy()
    corrected[20] = case.truth[20]
    viewer.propagate(Painted(corrected))
    assert viewer.slices and min(viewer.slices) > 6, "what lies below the other key slices stays"
    assert np.array_equal(viewer.seen[20], case.truth[20])
    viewer.propagate(Painted(case.keys))
    assert np.array_equal(viewer.seen, before)


def test_absent_labels_marks_and_complete_slices(case: Case, model: Propagator) -> None:
    viewer = Viewer(Following(case.hu, AXES, model), case.hu.shape)
    viewer.propagate(Painted(case.keys, absent={9: frozenset({2})}, extents={1: (6, 13)}))
    assert not (viewer.seen[9] == 2).any()
    assert set(np.flatnonzero((viewer.seen == 1).any((1, 2)))) <= set(range(6, 14))
    without = case.keys.copy()
    without[12][without[12] == 2] = 0
    viewer.propagate(Painted(without, complete=True))
    assert not (viewer.seen[12] == 2).any()
    fresh = Viewer(Following(case.hu, AXES, model), case.hu.shape)
    fresh.propagate(Painted(without, complete=True))
    assert np.array_equal(viewer.seen, fresh.seen), "what was said before is forgotten"


def test_cancelled_it_goes_on_where_it_was(case: Case, model: Propagator, propagated: np.ndarray) -> None:
    viewer = Viewer(Following(case.hu, AXES, model), case.hu.shape)
    assert viewer.propagate(Painted(case.keys), most=4) is None
    viewer.propagate(Painted(case.keys))
    assert np.array_equal(viewer.seen, propagated)


def test_bad_input_ends_it_with_a_line_and_the_next_is_right(
    case: Case, model: Propagator, propagated: np.ndarray
) -> None:
    viewer = Viewer(Following(case.hu, AXES, model), case.hu.shape)
    for painted, said in (
        (Painted(np.zeros_like(case.keys)), "no label"),
        (Painted(case.keys[:, :, :-1]), "shape (24, 40, 51)"),
        (Painted(case.keys.astype(np.int64) * 150), "label 300"),
        (Painted(case.keys, extents={1: (8, 13)}), "label 1 on key slice 6"),
    ):
        ended = viewer.propagate(painted)
        assert ended is not None and ended.error is not None and said in ended.error
    viewer.propagate(Painted(case.keys))
    assert np.array_equal(viewer.seen, propagated)
    ended = viewer.propagate(Painted(np.zeros_like(case.keys)))
    assert ended is not None and ended.error is not None and not viewer.seen.any(), "nothing painted, nothing proposed"


@pytest.mark.parametrize("part", ["following", "mesa"])
def test_the_logic_knows_neither_napari_nor_qt(part: str) -> None:
    tree = ast.parse((Path(napari_plugin.__file__).parent / f"{part}.py").read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names}
    assert imported and not {"napari", "qtpy"} & {str(module).split(".")[0] for module in imported}


@pytest.mark.skipif(not hasattr(os, "RTLD_DEEPBIND"), reason="no such way to load a library here")
def test_triton_looks_in_itself_first_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool]] = []
    before = sys.getdlopenflags()
    monkeypatch.delitem(sys.modules, "triton", raising=False)
    monkeypatch.setattr(mesa, "find_spec", lambda name: name)
    monkeypatch.setattr(
        mesa, "import_module", lambda name: seen.append((name, bool(sys.getdlopenflags() & os.RTLD_DEEPBIND)))
    )
    mesa.load_triton_apart()
    assert seen == [("triton", True)] and sys.getdlopenflags() == before
    monkeypatch.setattr(mesa, "find_spec", lambda name: None)
    mesa.load_triton_apart()
    assert len(seen) == 1, "nothing to load"
