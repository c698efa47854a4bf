"""Where everything stands in the editor's window."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from PyQt6.QtCore import Qt
from PyQt6.QtGui import QPalette
from PyQt6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QSplitter,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from tiltwright.widgets.actions import button
from tiltwright.widgets.editor.floating import Floating
from tiltwright.widgets.editor.hand import Mode
from tiltwright.widgets.editor.notice import Notice
from tiltwright.widgets.editor.numbers_panel import change_words
from tiltwright.widgets.editor.two_part_bar import TwoPartBar
from tiltwright.widgets.styled import ElidedLabel, Rule, follow_theme

if TYPE_CHECKING:
    from tiltwright.widgets.editor.editor_window import EditorWindow

RAW, OPENED, NOW, FULL = "Raw", "Coarse-aligned", "Aligned as now", "Raw, full stack"
_LOG_LINES = 1000


class EditorLayout:
    """Lays out the window's parts and holds the few that only it knows."""

    def __init__(self, window: EditorWindow) -> None:
        self._window = window
        w = window
        self.change = QLabel(w)
        self.change.setToolTip("What the last edit did; less is better")
        self.position = QLabel(w)
        self.position.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.position.setMinimumWidth(
            w.fontMetrics().horizontalAdvance("x 00000.0  y 00000.0  value 00000.0")
        )
        self.notice = Notice(w.session, w)
        self.messages = QPlainTextEdit(w)
        self.messages.setReadOnly(True)
        self.messages.setMaximumBlockCount(_LOG_LINES)
        self.messages.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.messages.setMinimumHeight(36)
        self.messages.setToolTip("Messages")
        follow_theme(self.messages, lambda c: f"QPlainTextEdit {{ background: {c.base};"
                     " border: 0; padding: 1px 4px; }")  # fmt: skip

        left = QSplitter(Qt.Orientation.Vertical, w)
        left.setChildrenCollapsible(False)
        left.addWidget(w.zap)
        left.addWidget(w.strip)
        bottom = QWidget(left)
        bottom.setAutoFillBackground(True)
        bottom.setBackgroundRole(QPalette.ColorRole.Base)
        row, side = QHBoxLayout(bottom), QVBoxLayout()
        row.setContentsMargins(0, 0, 8, 2)
        row.addWidget(self.messages, 1)
        row.addLayout(side)
        right = Qt.AlignmentFlag.AlignRight
        side.setSpacing(0)
        side.setContentsMargins(0, 4, 0, 0)
        side.addWidget(self.change, 0, right)
        side.addStretch(1)
        side.addWidget(self.position, 0, right)
        left.addWidget(bottom)
        left.setStretchFactor(0, 1)
        left.setSizes([640, 108, 52])

        self.tabs = QTabWidget(w)
        self.tabs.setDocumentMode(True)
        for widget, title, tip in (
            (w.worklist, "Worklist", "Everything worth a look, worst first"),
            (w.model_view, "Model view", "Tracks in 3-D (V)"),
            (w.slab, "Live slab", "XZ slices through the current bead"),
            (w.versions, "Versions", "Every save is a version that stays"),
        ):
            k = self.tabs.addTab(widget, title)
            self.tabs.setTabToolTip(k, tip)
        self.tabs.currentChanged.connect(lambda _: w.followers.refresh_slab())

        right = QWidget(w)
        column = QVBoxLayout(right)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        for part in (w.info, Rule(right), w.bead_fixer, Rule(right), w.numbers, Rule(right)):
            column.addWidget(part)
        column.addWidget(self.tabs, 1)
        self.floating = Floating(w.bead_fixer, column, w, "Bead Fixer")
        w.bead_fixer.float_asked.connect(self.floating.toggle)
        self.splitter = QSplitter(w)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.addWidget(left)
        # In a low window all of it can still be reached.
        scroll = QScrollArea(w)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setMinimumWidth(right.minimumSizeHint().width())
        scroll.setWidget(right)
        self.tabs.setMinimumHeight(180)
        self.splitter.addWidget(scroll)
        self.splitter.setStretchFactor(0, 1)
        self.splitter.setSizes([1000, 460])

        whole = QVBoxLayout(w)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addWidget(self._bar())
        whole.addWidget(self.notice)
        whole.addWidget(self.splitter, 1)
        self.show_mode(Mode.MODEL)

    # ---- bars ----------------------------------------------------------------------------------

    def _bar(self) -> TwoPartBar:
        w = self._window
        self.pictures = QComboBox(w)
        series = w.session.series
        self.pictures.addItem(f"Raw, binned by {series.binning}" if series.binning > 1 else RAW)
        if series.alignment is not None:
            self.pictures.addItem(OPENED)
        self.pictures.addItem(NOW)
        if series.work is not None and series.binning > 1:
            self.pictures.addItem(FULL)
        self.pictures.setMinimumContentsLength(8)
        self.pictures.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.pictures.setToolTip("Which pictures are shown; the model is the same on all of them")
        self.pictures.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.pictures.activated.connect(lambda _: self._choose_pictures())
        self.arrows = QDoubleSpinBox(w)
        self.arrows.setPrefix("Arrows × ")
        self.arrows.setRange(0, 200)
        self.arrows.setDecimals(0)
        self.arrows.setValue(w.zap.shown.residual_scale)
        self.arrows.setSpecialValueText("No arrows")
        self.arrows.setToolTip("Residual arrows are drawn so much longer; 0 hides them")
        self.arrows.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.arrows.valueChanged.connect(self._scale_arrows)
        self.mode = QLabel(w)
        self.name = ElidedLabel("", w)
        self.zoom = QLabel(w)
        self.zoom.setMinimumWidth(w.fontMetrics().horizontalAdvance("zoom 0.3333"))
        self.save_button = QPushButton("Save version", w)
        self.realign_button = QPushButton("Rerun alignment", w)
        self.save_button.setToolTip("Write a new version (S)")
        self.realign_button.setToolTip(
            "Save, then run Fiducial alignment and what follows with this model (Ctrl+R)"
        )
        for made in (self.save_button, self.realign_button):
            made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.save_button.clicked.connect(lambda: w.save())
        self.realign_button.clicked.connect(w.realign)
        bar = TwoPartBar(w)
        row = bar.left
        row.addWidget(self.mode)
        row.addWidget(self.zoom)
        row.addWidget(self.pictures)
        for action in (w.keys.model, w.keys.ghosts, w.keys.invert):
            row.addWidget(button(action, w))
        row.addWidget(self.arrows)
        row.addStretch(1)
        row = bar.right
        row.addWidget(self.name, 1)
        for action in (w.keys.undo, w.keys.redo):
            row.addWidget(button(action, w))
        row.addWidget(self.save_button)
        row.addWidget(self.realign_button)
        w.zap.view.viewport_changed.connect(self._show_zoom)
        self._show_zoom()
        return bar

    # ---- reactions -----------------------------------------------------------------------------

    def show_mode(self, mode: Mode) -> None:
        """Say what clicks mean."""
        self.mode.setText(f"<b>{mode.value}</b>")
        self.mode.setToolTip("Model: clicks edit; Movie: clicks look (M)")

    def _show_zoom(self) -> None:
        self.zoom.setText(f"zoom {self._window.zap.view.viewport.zoom:.3g}")

    def show_modified(self) -> None:
        """Say whether there is something to save."""
        session = self._window.session
        mark = " •" if session.modified else ""
        model = session.model
        self.name.setText(
            f"{session.series.name}{mark}   {model.n_tracks} contours, {model.n_points} points"
        )
        self.save_button.setEnabled(session.modified)

    def show_change(self, mean_px: float, leave_one_out_px: float) -> None:
        """What the last edit did to the two numbers that judge the model."""
        parts = []
        for name, change in (("mean", mean_px), ("leave-one-out", leave_one_out_px)):
            text, colour = change_words(change)
            parts.append(f"{name} <span style='color: {colour}'>{text}</span>" if text else "")
        self.change.setText("&nbsp;&nbsp;".join(filter(None, parts)))

    def _scale_arrows(self, scale: float) -> None:
        self._window.zap.set_shown(residuals=scale > 0, residual_scale=scale)

    def _choose_pictures(self) -> None:
        w, chosen = self._window, self.pictures.currentText()
        series, snapshot = w.session.series, w.session.snapshot
        if chosen == NOW:
            if snapshot is None:
                w.say("The alignment is still being chosen; one moment")
                self.pictures.setCurrentIndex(0)
                return
            w.show_pictures(replace(series, alignment=snapshot.alignment()), True)
        elif chosen == FULL:
            w.show_pictures(replace(series, work=None, work_path=None, binning=1), False)
        else:
            w.show_pictures(series, chosen == OPENED)
        w.zap.view.setFocus()

    def show_tab(self, widget: QWidget) -> None:
        """Bring a tab to the front."""
        self.tabs.setCurrentWidget(widget)

    def log(self, words: str) -> None:
        """A line in the message log."""
        self.messages.appendPlainText(words)
        bar = self.messages.verticalScrollBar()
        if bar is not None:
            bar.setValue(bar.maximum())
