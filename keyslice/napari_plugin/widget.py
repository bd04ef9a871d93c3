"""The widget: takes what is painted in layers to a worker, and what comes of it into another layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.qt.threading import create_worker
from qtpy.QtWidgets import QComboBox

from keyslice.axes import Axes
from keyslice.napari_plugin.following import Ended, Following, Painted, Proposed
from keyslice.napari_plugin.mesa import load_triton_apart
from keyslice.napari_plugin.panel import Panel
from volumes.errors import InputError

if TYPE_CHECKING:
    from napari.viewer import Viewer

PROPOSALS = "proposals"


class KeysliceWidget(Panel):
    """Labels layer in, proposals out.

    Args:
        napari_viewer: the viewer, given by napari.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self._following: Following | None = None
        self._followed: tuple[Any, Axes] | None = None  # the image's data and axes that it was made for
        self._worker: Any = None
        self._target: Labels | None = None  # where the worker's proposals go
        self._suggested: int | None = None
        self._absent: dict[int, frozenset[int]] = {}
        self._marks: dict[int, dict[str, int]] = {}
        self.image.currentIndexChanged.connect(self._take_spacing)
        for button, action in (
            (self.go, self.propagate),
            (self.stop, self.cancel),
            (self.next, self.show_suggestion),
            (self.take, self.copy_proposals),
            (self.absent, self.mark_absent),
            (self.first, lambda: self.mark_end("first")),
            (self.last, lambda: self.mark_end("last")),
        ):
            button.clicked.connect(lambda _=False, action=action: self._told(action))
        self._show_running(False)
        self.viewer.layers.events.inserted.connect(self._list_layers)
        self.viewer.layers.events.removed.connect(self._list_layers)
        self._list_layers()

    # What a person does.

    def propagate(self) -> None:
        """Carry the labels of the key slices to all others, in a thread of its own."""
        if self._worker is not None:
            return
        following = self._follow()
        painted = Painted(
            np.array(self._layer(self.labels).data),
            complete=self.complete.isChecked(),
            absent=dict(self._absent),
            extents={label: (ends["first"], ends["last"]) for label, ends in self._marks.items() if len(ends) == 2},
        )
        self._target = self._proposals()
        self._worker = create_worker(_work, following, painted)
        self._worker.yielded.connect(self._take_update)
        self._worker.finished.connect(self._end)
        self._show_running(True)
        self.say("Loading the network …")
        self._worker.start()

    def cancel(self) -> None:
        """Stop between two slices; what was computed stays."""
        if self._worker is not None:
            self.say("Stopped; Propagate goes on.")
            self._worker.quit()

    def show_suggestion(self) -> None:
        """Go where annotation should help most."""
        if self._suggested is not None and self._followed is not None:
            self._show_slice(self._suggested, self._followed[1].axial)

    def copy_proposals(self) -> None:
        """What is proposed on this slice into the layer of key slices, to be corrected there."""
        layer, axes = self._layer(self.labels), self.axes()
        index = self._index(self._slice(axes.axial), axes.axial)
        if PROPOSALS not in self.viewer.layers:
            raise InputError("proposals", found="none", expected="a propagation", fix="press Propagate first")
        layer.data[index] = self.viewer.layers[PROPOSALS].data[index]
        layer.refresh()
        self.say(f"Slice {self._slice(axes.axial)} is a key slice now: correct it in the layer {layer.name}.")

    def mark_absent(self) -> None:
        """The selected label is not on this slice."""
        label, axial = self._selected(), self.axes().axial
        z = self._slice(axial)
        if (np.asarray(self._layer(self.labels).data[self._index(z, axial)]) == label).any():
            raise InputError(
                f"slice {z}", found=f"label {label} painted there", expected="none", fix="erase it there instead"
            )
        self._absent[z] = self._absent.get(z, frozenset()) | {label}
        self.say(f"Label {label} is absent on slice {z}.")

    def mark_end(self, end: str) -> None:
        """The selected label starts or ends on this slice; both together confine it."""
        label, z = self._selected(), self._slice(self.axes().axial)
        ends = self._marks.setdefault(label, {})
        ends[end] = z
        if len(ends) == 2:
            first, last = sorted(ends.values())
            self._marks[label] = {"first": first, "last": last}
            self.say(f"Label {label} is on slices {first} to {last}.")
        else:
            self.say(f"Label {label}: {end} slice {z}; mark the other end, too.")

    # What comes of it.

    def _take_update(self, update: Proposed | Ended) -> None:
        if isinstance(update, Ended):
            self._suggested = None if update.suggestion is None else update.suggestion.z
            if update.error is not None:
                self.say(update.error)
            elif update.suggestion is None:
                self.say("Done. Nothing is left to gain.")
            else:
                self.say(f"Done. Look at slice {update.suggestion.z} next: {update.suggestion.reason}")
            return
        assert self._followed is not None
        assert self._target is not None
        self._target.data[self._index(update.z, self._followed[1].axial)] = update.plane
        self._target.refresh()
        self.progress.setRange(0, update.total)
        self.progress.setValue(update.done)

    def _end(self) -> None:
        self._worker = None
        self._show_running(False)

    def _show_running(self, running: bool) -> None:
        self.go.setEnabled(not running)
        self.stop.setEnabled(running)
        self.next.setEnabled(not running and self._suggested is not None)

    # Layers.

    def _follow(self) -> Following:
        image, axes = self._layer(self.image).data, self.axes()
        if self._followed is None or self._followed[0] is not image or self._followed[1] != axes:
            if self._followed is not None:  # what was said of slices was said of another CT
                self._absent, self._marks = {}, {}
            self._following, self._followed = Following(np.asarray(image), axes), (image, axes)
            self._suggested = None
        assert self._following is not None
        return self._following

    def _layer(self, combo: QComboBox) -> Any:
        name = combo.currentText()
        if not name or name not in self.viewer.layers:
            what = "an image layer with the CT" if combo is self.image else "a labels layer with key slices"
            raise InputError("layers", found="none chosen", expected=what, fix="add one to the viewer")
        return self.viewer.layers[name]

    def _proposals(self) -> Labels:
        """The layer of proposals, made where it is missing or of another image."""
        image = self._layer(self.image)
        if PROPOSALS in self.viewer.layers:
            layer = self.viewer.layers[PROPOSALS]
            if layer.data.shape == image.data.shape:
                return layer
            self.viewer.layers.remove(PROPOSALS)
        empty = np.zeros(image.data.shape, np.uint8)
        layer = Labels(empty, name=PROPOSALS, scale=image.scale, translate=image.translate, opacity=0.4)
        active = self.viewer.layers.selection.active
        self.viewer.add_layer(layer)
        self.viewer.layers.selection.active = active  # the person goes on painting where they were
        return layer

    def _list_layers(self, event: object = None) -> None:
        for combo, kind in ((self.image, Image), (self.labels, Labels)):
            chosen = combo.currentText()
            names = [
                layer.name
                for layer in self.viewer.layers
                if isinstance(layer, kind) and layer.ndim == 3 and layer.name != PROPOSALS
            ]
            combo.blockSignals(True)
            combo.clear()
            combo.addItems(names)
            combo.setCurrentIndex(names.index(chosen) if chosen in names else len(names) - 1)
            combo.blockSignals(False)
            if combo is self.image and combo.currentText() != chosen:
                self._take_spacing()

    def _take_spacing(self) -> None:
        """What the layer's scale says; the person may correct it."""
        if self.image.currentText() in self.viewer.layers:
            for step, value in zip(self.spacing, self.viewer.layers[self.image.currentText()].scale, strict=True):
                step.setValue(float(value))

    def _selected(self) -> int:
        return int(self._layer(self.labels).selected_label)

    def _slice(self, axial: int) -> int:
        """The slice that is shown."""
        layer = self._layer(self.image)
        point: Sequence[float] = layer.world_to_data(self.viewer.dims.point)
        return int(np.clip(round(point[axial]), 0, layer.data.shape[axial] - 1))

    def _show_slice(self, z: int, axial: int) -> None:
        layer = self._layer(self.image)
        index, dims = [0.0, 0.0, 0.0], self.viewer.dims
        index[axial] = z
        at = axial + dims.ndim - 3  # other layers may have more axes
        if at in dims.displayed:
            dims.order = (at, *(axis for axis in range(dims.ndim) if axis != at))
        dims.set_point(at, layer.data_to_world(index)[axial])

    @staticmethod
    def _index(z: int, axial: int) -> tuple[Any, ...]:
        index: list[Any] = [slice(None)] * 3
        index[axial] = z
        return tuple(index)

    def _told(self, action: Any) -> None:
        """What is wrong with what the person chose is said in the widget."""
        try:
            action()
        except InputError as error:
            self.say(str(error))


def _work(following: Following, painted: Painted) -> Iterator[Proposed | Ended]:
    load_triton_apart()
    yield from following.propagate(painted)
