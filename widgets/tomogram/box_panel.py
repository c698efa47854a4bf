"""The numbers of the box that is cut out of a tomogram."""

from __future__ import annotations

from dataclasses import replace

from PyQt6.QtCore import pyqtSignal
from PyQt6.QtWidgets import (
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from tiltwright.widgets.tomogram.specimen_box import SpecimenBox

_EDGES = ("x0", "x1", "y0", "y1", "z0", "z1")


class BoxPanel(QWidget):
    """From and to in x, y and z (from 1), x-axis tilt, and what they amount to.

    Signals
    -------
    box_edited : (SpecimenBox)
        A person typed a number.
    crop_requested : (SpecimenBox)
        A person wants the tomogram cropped to it.
    """

    box_edited = pyqtSignal(object)
    crop_requested = pyqtSignal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._box: SpecimenBox | None = None
        rows = QVBoxLayout(self)
        rows.setContentsMargins(6, 3, 6, 3)
        rows.setSpacing(3)
        row, second = QHBoxLayout(), QHBoxLayout()
        for line in (row, second):
            line.setSpacing(4)
            rows.addLayout(line)
        self.edges: dict[str, QSpinBox] = {}
        for name in _EDGES:
            if name[1] == "0":
                row.addWidget(QLabel(name[0], self))
            spin = QSpinBox(self)
            spin.setKeyboardTracking(False)
            spin.setToolTip(f"{'First' if name[1] == '0' else 'Last'} voxel kept in {name[0]}")
            spin.valueChanged.connect(self._typed)
            self.edges[name] = spin
            row.addWidget(spin)
            row.addWidget(QLabel("–", self)) if name[1] == "0" else row.addSpacing(8)
        row.addWidget(QLabel("x-axis tilt", self))
        self.tilt = QDoubleSpinBox(self)
        self.tilt.setKeyboardTracking(False)
        self.tilt.setRange(-45, 45)
        self.tilt.setDecimals(2)
        self.tilt.setSingleStep(0.1)
        self.tilt.setSuffix("°")
        self.tilt.setToolTip("Inclination of the slab along y: to be added to the x-axis tilt")
        self.tilt.valueChanged.connect(self._typed)
        row.addWidget(self.tilt)
        row.addStretch()
        self.words = QLabel(self)
        second.addWidget(self.words, 1)
        self.crop_button = QPushButton("Crop…", self)
        self.crop_button.setToolTip("Open the form of a crop with these numbers")
        self.crop_button.clicked.connect(self._crop)
        second.addWidget(self.crop_button)

    def set_box(self, box: SpecimenBox | None) -> None:
        """Show a box."""
        self._box = None
        if box is not None:
            for name, spin in self.edges.items():
                spin.setRange(1, box.shape[2 - "xyz".index(name[0])])
                spin.setValue(getattr(box, name) + 1)
            self.tilt.setValue(box.x_tilt_deg)
            x, y, _ = box.size_nm
            self.words.setText(
                f"thickness {box.thickness_px} = {box.thickness_nm:.0f} nm,  "
                f"{x:.0f} × {y:.0f} nm,  middle {box.z_shift_px:+.1f}"
            )
            self.words.setToolTip(
                "Thickness across the slab in voxels and nm, extent in x and y, and how far its "
                "middle lies above the middle of the volume, voxels"
            )
        self._box = box

    def _crop(self) -> None:
        if self._box is not None:
            self.crop_requested.emit(self._box)

    def _typed(self) -> None:
        if self._box is None:
            return
        edges = {name: spin.value() - 1 for name, spin in self.edges.items()}
        box = replace(self._box, **edges, x_tilt_deg=self.tilt.value()).valid()  # type: ignore[arg-type]
        self.set_box(box)
        self.box_edited.emit(box)
