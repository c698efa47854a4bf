"""The defocus of one view as numbers that can be turned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtWidgets import QDoubleSpinBox, QGridLayout, QHBoxLayout, QLabel, QSlider, QWidget

if TYPE_CHECKING:
    from tiltwright.engine.ctf.model import Defocus

_STEP_UM = 0.005
_LEAST_TOP_UM = 8.0


class EditPanel(QWidget):
    """Mean defocus with a slider, astigmatism, its angle, and phase shift.

    Signals
    -------
    edited : (Defocus)
        A person turns a number.
    released : ()
        The hand is off the slider.
    """

    edited = pyqtSignal(object)
    released = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._quiet = False
        self.slider = QSlider(Qt.Orientation.Horizontal, self)
        self.slider.setMinimumWidth(80)
        self.slider.setPageStep(10)
        self.slider.setToolTip("Mean defocus; drag, or turn the wheel over it")
        self.mean = self._spin(-50, 100, 3, _STEP_UM, " µm", "Mean of U and V")
        self.astigmatism = self._spin(0, 50, 3, _STEP_UM, " µm", "U − V")
        self.angle = self._spin(
            -90, 90, 1, 1.0, "°", "Direction of U, counter-clockwise from x of the raw image"
        )
        self.angle.setWrapping(True)
        self.phase = self._spin(0, 180, 1, 1.0, "°", "Phase shift of a phase plate")
        rows = QGridLayout(self)
        rows.setContentsMargins(6, 3, 6, 3)
        rows.setHorizontalSpacing(6)
        rows.setVerticalSpacing(3)
        rows.addWidget(QLabel("Defocus", self), 0, 0)
        rows.addWidget(self.slider, 0, 1)
        rows.addWidget(self.mean, 0, 2)
        more = QHBoxLayout()
        more.setSpacing(6)
        named = ("Astig.", self.astigmatism), ("at", self.angle), ("Phase", self.phase)
        for text, spin in named:
            label = QLabel(text, self)
            label.setBuddy(spin)
            more.addWidget(label)
            more.addWidget(spin)
        more.addStretch(1)
        rows.addLayout(more, 1, 0, 1, 3)
        rows.setColumnStretch(1, 1)
        self.slider.valueChanged.connect(lambda k: self.mean.setValue(k * _STEP_UM))
        self.slider.sliderReleased.connect(self.released)
        for spin in (self.mean, self.astigmatism, self.angle, self.phase):
            spin.valueChanged.connect(self._turned)
        self.set_range(_LEAST_TOP_UM)

    def _spin(
        self, low: float, high: float, decimals: int, step: float, unit: str, tip: str
    ) -> QDoubleSpinBox:
        out = QDoubleSpinBox(self)
        out.setRange(low, high)
        out.setDecimals(decimals)
        out.setSingleStep(step)
        out.setSuffix(unit)
        out.setKeyboardTracking(False)
        out.setToolTip(tip)
        return out

    def set_range(self, top_um: float) -> None:
        """How far the slider goes."""
        self.slider.blockSignals(True)
        self.slider.setRange(0, round(max(top_um, _LEAST_TOP_UM) / _STEP_UM))
        self.slider.blockSignals(False)

    def show_defocus(self, defocus: Defocus | None) -> None:
        """Show a defocus; nothing can be turned without one."""
        self.setEnabled(defocus is not None)
        if defocus is None:
            return
        self._quiet = True
        mean = defocus.components[0] / 1e4
        # What has the focus may be just now being turned: the same number is not set again.
        for spin, value in (
            (self.mean, mean), (self.astigmatism, (defocus.u_a - defocus.v_a) / 1e4),
            (self.angle, defocus.angle_deg), (self.phase, defocus.phase_shift_deg),
        ):  # fmt: skip
            if round(value, spin.decimals()) != spin.value():
                spin.setValue(value)
        self._place_slider()
        self._quiet = False

    def _place_slider(self) -> None:
        """The slider is coarser than the number, which it must not round."""
        if not self.slider.isSliderDown():
            self.slider.blockSignals(True)
            self.slider.setValue(round(self.mean.value() / _STEP_UM))
            self.slider.blockSignals(False)

    def _turned(self) -> None:
        if self._quiet:
            return
        from tiltwright.engine.ctf.model import Defocus

        mean, half = self.mean.value() * 1e4, self.astigmatism.value() * 5e3
        found = Defocus(mean + half, mean - half, self.angle.value(), self.phase.value())
        self._place_slider()
        self.edited.emit(found)
