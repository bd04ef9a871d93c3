"""The napari plugin: its manifest, and the widget in a viewer without a window."""

from __future__ import annotations

import ast
import os
import time
from collections.abc import Iterator
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import keyslice
from tests.keyslice.conftest import AXES, Case

PLUGIN = Path(keyslice.__file__).parent / "napari_plugin"
MISSING = "napari is not installed: pip install '.[napari]'"
needs_napari = pytest.mark.skipif(find_spec("napari") is None, reason=MISSING)
LIMIT_S = 300  # a machine that does other things, too


def test_the_manifest_names_what_is_there() -> None:
    manifest = yaml.safe_load((PLUGIN / "napari.yaml").read_text(encoding="utf-8"))
    commands = {one["id"]: one["python_name"] for one in manifest["contributions"]["commands"]}
    for widget in manifest["contributions"]["widgets"]:
        module, name = commands[widget["command"]].split(":")
        tree = ast.parse((PLUGIN.parents[1] / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert "keyslice.napari_plugin:napari.yaml" in (PLUGIN.parents[1] / "setup.py").read_text(encoding="utf-8")
    assert manifest["name"] in {one.metadata["Name"] for one in distributions()}, "napari finds it by this name"


@needs_napari
def test_npe2_takes_the_manifest() -> None:
    from npe2 import PluginManifest

    manifest = PluginManifest.from_file(PLUGIN / "napari.yaml")
    manifest.validate_imports()
    assert [one.display_name for one in manifest.contributions.widgets or []] == ["Propagate labels"]


@pytest.fixture
def widget(case: Case, model: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The widget beside a CT and an empty labels layer; the network is loaded already."""
    if find_spec("napari") is None:
        pytest.skip(MISSING)
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from napari.components import ViewerModel
    from qtpy.QtWidgets import QApplication

    from keyslice.napari_plugin import following
    from keyslice.napari_plugin.widget import KeysliceWidget

    open_session = following.open_session
    monkeypatch.setattr(
        following, "open_session", lambda image, *, axes, model: open_session(image, axes=axes, model=loaded)
    )
    loaded = model
    app = QApplication.instance() or QApplication([])
    viewer = ViewerModel()
    viewer.add_image(case.hu, name="ct", scale=AXES.spacing)
    viewer.add_labels(np.zeros(case.hu.shape, np.int32), name="keys", scale=AXES.spacing)
    made = KeysliceWidget(viewer)  # type: ignore[arg-type]  # all of a viewer but its window
    made.process = app.processEvents  # type: ignore[attr-defined]
    yield made
    made.cancel()
    waited(made)


def waited(widget: Any) -> None:
    end = time.monotonic() + LIMIT_S
    while widget._worker is not None and time.monotonic() < end:
        widget.process()
        time.sleep(0.005)
    assert widget._worker is None


def choose(widget: Any) -> None:
    for side, word in zip(widget.toward, AXES.toward, strict=True):
        side.setCurrentText(word)


@needs_napari
def test_from_painted_slices_to_proposals(widget: Any, case: Case, propagated: np.ndarray) -> None:
    assert [step.value() for step in widget.spacing] == list(AXES.spacing), "from the layer's scale"
    widget.viewer.layers["keys"].data = case.keys.astype(np.int32)
    widget.go.click()
    assert "axis 0 not said" in widget.status.text() and "proposals" not in widget.viewer.layers
    choose(widget)
    widget.go.click()
    assert widget.stop.isEnabled() and not widget.go.isEnabled()
    waited(widget)
    assert np.array_equal(widget.viewer.layers["proposals"].data, propagated)
    assert np.array_equal(widget.viewer.layers["keys"].data, case.keys), "what was painted stays"
    assert widget.viewer.layers.selection.active.name == "keys", "the person goes on painting"
    assert widget.status.text().startswith("Done. Look at slice")
    widget.next.click()
    z = widget._suggested
    assert widget.viewer.dims.point[0] == z * AXES.spacing[0]
    widget.take.click()
    assert np.array_equal(widget.viewer.layers["keys"].data[z], propagated[z]) and propagated[z].any()


@needs_napari
def test_cancel_keeps_what_is_there_and_propagate_goes_on(widget: Any, case: Case, propagated: np.ndarray) -> None:
    choose(widget)
    widget.viewer.layers["keys"].data = case.keys.astype(np.int32)
    widget.go.click()
    end = time.monotonic() + LIMIT_S
    while not widget.viewer.layers["proposals"].data.any() and time.monotonic() < end:
        widget.process()
    widget.stop.click()
    waited(widget)
    assert widget.status.text().startswith("Stopped") and widget.go.isEnabled()
    widget.go.click()
    waited(widget)
    assert np.array_equal(widget.viewer.layers["proposals"].data, propagated)


@needs_napari
def test_labels_that_are_absent_or_end(widget: Any, case: Case) -> None:
    choose(widget)
    keys = widget.viewer.layers["keys"]
    keys.data = case.keys.astype(np.int32)
    keys.selected_label = 2
    widget.viewer.dims.set_point(0, 6 * AXES.spacing[0])
    widget.absent.click()
    assert "label 2 painted there" in widget.status.text()
    widget.viewer.dims.set_point(0, 9 * AXES.spacing[0])
    widget.absent.click()
    keys.selected_label = 1
    for z, button in ((5, widget.first), (13, widget.last)):
        widget.viewer.dims.set_point(0, z * AXES.spacing[0])
        button.click()
    assert widget.status.text() == "Label 1 is on slices 5 to 13."
    widget.go.click()
    waited(widget)
    seen = widget.viewer.layers["proposals"].data
    assert not (seen[9] == 2).any() and (seen[6] == 2).any()
    assert set(np.flatnonzero((seen == 1).any((1, 2)))) <= set(range(5, 14))


@needs_napari
def test_what_is_wrong_is_said_in_the_widget(widget: Any, case: Case) -> None:
    choose(widget)
    widget.go.click()
    waited(widget)
    assert "labels layer: found no label" in widget.status.text()
    widget.viewer.layers.remove("keys")
    widget.go.click()
    assert "a labels layer with key slices" in widget.status.text()
    widget.take.click()
    assert "a labels layer with key slices" in widget.status.text()
