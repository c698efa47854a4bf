"""Object, contour, point and position; contrast and mode: the words of the information window."""

from __future__ import annotations

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QRadioButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from tiltwright.widgets.editor.hand import Mode
from tiltwright.widgets.image.levels_bar import LevelsBar


class InfoPanel(QWidget):
    """Says where one is, and goes elsewhere.

    Signals
    -------
    contour_chosen, point_chosen, view_chosen : (index)
        From 0.
    mode_chosen : (Mode)
    float_toggled : (on)
        Contrast of each view, or the same for all.
    auto_asked : ()
    levels_dragged : (black, white)
    """

    contour_chosen = pyqtSignal(int)
    point_chosen = pyqtSignal(int)
    view_chosen = pyqtSignal(int)
    mode_chosen = pyqtSignal(object)
    float_toggled = pyqtSignal(bool)
    auto_asked = pyqtSignal()
    levels_dragged = pyqtSignal(float, float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(6)
        grid.setVerticalSpacing(2)
        self.object, self.contour, self.point = (QSpinBox(self) for _ in range(3))
        self.at_x, self.at_y = QLabel(self), QLabel(self)
        self.z = QSpinBox(self)
        rows = (
            ("Object", self.object, "X", self.at_x),
            ("Contour", self.contour, "Y", self.at_y),
            ("Point", self.point, "Z", self.z),
        )
        for k, (name, spin, axis, place) in enumerate(rows):
            self._usual(spin)
            grid.addWidget(QLabel(name, self), k, 0)
            grid.addWidget(spin, k, 1)
            grid.addWidget(QLabel(axis, self), k, 2)
            grid.addWidget(place, k, 3)
        self._usual(self.z)
        self.object.setSpecialValueText("")
        self.object.setRange(1, 1)
        self.object.setSuffix(" / 1")
        self.at_x.setMinimumWidth(self.fontMetrics().horizontalAdvance("0000.00 / 0000"))
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 1)

        self.levels = LevelsBar(self)
        self.float = QCheckBox("Float", self)
        self.float.setToolTip("Black and white follow each view; else they are the same for all")
        self.float.setChecked(True)
        self.float.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        auto = QPushButton("Auto", self)
        auto.setToolTip("Automatic contrast (Shift+A)")
        auto.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.auto = auto
        self._modes = QButtonGroup(self)
        self.modes: dict[Mode, QRadioButton] = {}
        for mode in (Mode.MOVIE, Mode.MODEL):
            radio = QRadioButton(mode.value, self)
            radio.setToolTip("Movie: look; Model: edit (M)")
            radio.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            radio.clicked.connect(lambda _, mode=mode: self.mode_chosen.emit(mode))
            self._modes.addButton(radio)
            self.modes[mode] = radio

        contrast = QHBoxLayout()
        contrast.addWidget(QLabel("Black / White", self))
        contrast.addWidget(self.levels, 1)
        last = QHBoxLayout()
        last.addWidget(self.float)
        last.addWidget(auto)
        last.addStretch(1)
        last.addWidget(QLabel("Mode", self))
        last.addWidget(self.modes[Mode.MOVIE])
        last.addWidget(self.modes[Mode.MODEL])
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 6, 8, 4)
        column.setSpacing(3)
        column.addLayout(grid)
        column.addLayout(contrast)
        column.addLayout(last)

        self.contour.valueChanged.connect(lambda k: self.contour_chosen.emit(k - 1))
        self.point.valueChanged.connect(lambda k: self.point_chosen.emit(k - 1))
        self.z.valueChanged.connect(lambda k: self.view_chosen.emit(k - 1))
        self.float.toggled.connect(self.float_toggled)
        auto.clicked.connect(lambda: self.auto_asked.emit())
        self.levels.levels_dragged.connect(self.levels_dragged)
        self.levels.auto_asked.connect(self.auto_asked)
        self.set_mode(Mode.MODEL)

    def _usual(self, spin: QSpinBox) -> None:
        spin.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        spin.setKeyboardTracking(False)
        spin.setSpecialValueText("--x--")
        spin.setMinimumWidth(self.fontMetrics().horizontalAdvance("000 / 000") + 34)

    def set_mode(self, mode: Mode) -> None:
        """Show the mode."""
        self.modes[mode].setChecked(True)

    def set_place(
        self, contour: int, n_contours: int, point: int, n_points: int, view: int, n_views: int
    ) -> None:
        """Show contour, point and view (from 0, -1 none) with their totals."""
        for spin, value, total in (
            (self.contour, contour, n_contours), (self.point, point, n_points),
            (self.z, view, n_views),
        ):  # fmt: skip
            spin.blockSignals(True)
            # Zero stands for none.
            spin.setRange(0, max(0, total))
            spin.setSuffix(f" / {total}")
            # The special text has no suffix, so the total is in the tooltip too.
            spin.setToolTip(f"of {total}")
            spin.setValue(value + 1)
            spin.blockSignals(False)

    def set_position(self, x: float, y: float, size: tuple[int, int], where: str) -> None:
        """Show a position in raw pixels, from 1 as 3dmod counts; ``where`` it comes from."""
        for label, value, total in ((self.at_x, x, size[0]), (self.at_y, y, size[1])):
            number = f"{value:.2f}" if value == value else "–"
            label.setText(f"{number} / {total}")
            label.setToolTip(where)
