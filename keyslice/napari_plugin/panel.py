"""What the widget looks like: its fields and buttons, and what a person has chosen in them."""

from __future__ import annotations

from typing import get_args

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QGridLayout,
    QGroupBox,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from keyslice.axes import Axes, Side
from volumes.errors import InputError

CHOOSE = "choose …"


class Panel(QWidget):
    """Fields and buttons; what they do is up to who makes one."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.labels = QComboBox(), QComboBox()
        layers = QFormLayout()
        layers.addRow("CT", self.image)
        layers.addRow("Key slices", self.labels)
        self.complete = QCheckBox("A label missing on a key slice is absent there")
        self.go, self.stop = QPushButton("Propagate"), QPushButton("Cancel")
        self.next, self.take = QPushButton("Go to the suggested slice"), QPushButton("Copy proposals here to correct")
        self.absent = QPushButton("Selected label is not on this slice")
        self.first, self.last = QPushButton("Selected label starts here"), QPushButton("ends here")
        self.progress, self.status = QProgressBar(), QLabel()
        self.status.setWordWrap(True)
        self.status.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        column = QVBoxLayout(self)
        column.addLayout(layers)
        column.addWidget(self._lying())
        column.addWidget(self.complete)
        column.addLayout(self._buttons())
        column.addWidget(self.progress)
        column.addWidget(self.status)
        column.addStretch()

    def axes(self) -> Axes:
        """How the CT lies in the patient.

        Raises:
            InputError: that was not said of each axis.
        """
        chosen = [side.currentText() for side in self.toward]
        if CHOOSE in chosen:
            raise InputError(
                "How the CT lies in the patient",
                found=f"axis {chosen.index(CHOOSE)} not said",
                expected="the side of the patient towards which each axis grows",
                fix="choose it; for an axial CT as screens show it: superior, posterior, left",
            )
        spacing = tuple(step.value() for step in self.spacing)
        return Axes(toward=tuple(chosen), spacing=spacing)  # type: ignore[arg-type]  # there are three of each

    def say(self, text: str) -> None:
        """Show a line."""
        self.status.setText(text)

    def _lying(self) -> QGroupBox:
        self.toward = [QComboBox() for _ in range(3)]
        self.spacing = [QDoubleSpinBox() for _ in range(3)]
        axes = QGridLayout()
        for column, text in enumerate(("axis", "grows towards the patient's", "mm")):
            axes.addWidget(QLabel(text), 0, column)
        for axis, (side, step) in enumerate(zip(self.toward, self.spacing, strict=True)):
            side.addItems([CHOOSE, *get_args(Side)])
            step.setDecimals(4)
            step.setRange(0.01, 100.0)
            step.setMinimumWidth(120)  # napari's style puts buttons on both sides of the number
            for column, part in enumerate((QLabel(str(axis)), side, step)):
                axes.addWidget(part, axis + 1, column)
        lying = QGroupBox("How the CT lies in the patient")
        lying.setLayout(axes)
        return lying

    def _buttons(self) -> QGridLayout:
        buttons = QGridLayout()
        rows = ((self.go, self.stop), (self.next,), (self.take,), (self.absent,), (self.first, self.last))
        for row, parts in enumerate(rows):
            for column, part in enumerate(parts):
                buttons.addWidget(part, row, column, 1, 2 // len(parts))
        return buttons
