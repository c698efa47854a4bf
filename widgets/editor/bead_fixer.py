"""The Bead Fixer: its four operations and their controls."""

from __future__ import annotations

from enum import Enum

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from tiltwright.widgets.icons import drawn_icon
from tiltwright.widgets.styled import Heading


class Operation(Enum):
    """What the Bead Fixer is used for."""

    SEED = "Make seed"
    GAPS = "Fill gaps"
    RESIDUALS = "Fix big residuals"
    CONTOURS = "Look at contours"


class Command(Enum):
    """What its buttons ask for: words, key, tooltip."""

    NEXT_GAP = ("Go to Next Gap", "Space", "Attach to the point before the next gap")
    PREVIOUS_GAP = ("Go to Previous Gap", "Shift+Space", "Attach to the gap before")
    REATTACH = ("Reattach to Gap Point", "", "Attach again to the point beside the gap")
    FROM_BEGINNING = ("Start from Beginning", "", "Search again from the first contour")
    FROM_CURRENT = ("Start from Current Point", "", "Search on from the current point")
    ACCEPT = (
        "Accept Prediction", "Return", "Add the point where the geometry expects the bead, centred",
    )  # fmt: skip
    FILL_ALL = (
        "Fill All Gaps", "Ctrl+G", "Centre all missing points; list those with weak evidence",
    )  # fmt: skip
    NEXT_RESIDUAL = ("Go to Next Big Residual", "'", "Attach to the next point that fits badly")
    BACK_UP = ("Back Up to Last Point", '"', "Return to the point before")
    MOVE_POINT = ("Move Point by Residual", ";", "Put the point where the solution wants it")
    UNDO_MOVE = ("Undo Move", "U", "Put the moved point back")
    MOVE_ALL = ("Move All by Residual…", "", "Move all points with big residuals")
    CLEAR_EXAMINED = ("Clear Examined List", "", "Show points again that have been examined")
    NEXT_CONTOUR = ("Next Contour", "'", "The contour with the next lower mean residual")
    BACK_UP_CONTOUR = ("Back Up to Last Contour", '"', "Return to the contour before")
    DELETE_CONTOUR = ("Delete Contour", "Shift+D", "Delete the current contour")

    @property
    def words(self) -> str:
        """On the button."""
        return self.value[0]

    @property
    def key(self) -> str:
        """Its key, while the operation is chosen."""
        return self.value[1]

    @property
    def tip(self) -> str:
        """What it does, with the key."""
        return self.value[2] + (f" ({self.key})" if self.key else "")


class BeadFixer(QWidget):
    """Controls only; what they do is up to those who listen.

    Signals
    -------
    operation_changed : (Operation)
    asked : (Command)
        A button was pressed.
    centring_changed : ()
        Light or the diameter.
    overlay_changed : ()
    search_changed : ()
        What is skipped and what counts as big.
    float_asked : ()
        Out of the window, or back.
    """

    operation_changed = pyqtSignal(object)
    asked = pyqtSignal(object)
    centring_changed = pyqtSignal()
    overlay_changed = pyqtSignal()
    search_changed = pyqtSignal()
    float_asked = pyqtSignal()

    def __init__(self, diameter_px: float, n_views: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.buttons: dict[Command, QPushButton] = {}
        self._n_views = n_views
        self._operations = QButtonGroup(self)
        self._pages = QStackedWidget(self)
        self._make_common(diameter_px)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 4, 8, 4)
        column.setSpacing(4)
        head = QHBoxLayout()
        head.addWidget(Heading("Bead Fixer", self), 1)
        self.float_button = QToolButton(self)
        self.float_button.setIcon(drawn_icon("float"))
        self.float_button.setAutoRaise(True)
        self.float_button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.float_button.setToolTip("A window of its own, or back into this one (B)")
        self.float_button.clicked.connect(lambda: self.float_asked.emit())
        head.addWidget(self.float_button)
        column.addLayout(head)
        row = QHBoxLayout()
        row.setSpacing(0)
        for k, operation in enumerate(Operation):
            choice = QPushButton(operation.value, self)
            choice.setCheckable(True)
            choice.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            choice.setToolTip(f"{operation.value} (F{k + 1})")
            choice.setStyleSheet("QPushButton { padding: 3px 1px; }"
                                 "QPushButton:checked { background: palette(highlight);"
                                 " color: palette(highlighted-text); }")  # fmt: skip
            self._operations.addButton(choice, k)
            row.addWidget(choice)
        column.addLayout(row)
        column.addWidget(self._common)
        for page in (self._seed(), self._gaps(), self._residuals(), self._contours()):
            self._pages.addWidget(page)
        column.addWidget(self._pages)
        self._operations.idClicked.connect(lambda k: self.set_operation(list(Operation)[k]))
        self.operation = Operation.GAPS
        self.set_operation(Operation.GAPS)

    # ---- what is chosen ------------------------------------------------------------------------

    def set_operation(self, operation: Operation) -> None:
        """Show the controls of an operation."""
        self.operation = operation
        k = list(Operation).index(operation)
        choice = self._operations.button(k)
        assert choice is not None
        choice.setChecked(True)
        self._pages.setCurrentIndex(k)
        for j in range(self._pages.count()):
            page = self._pages.widget(j)
            assert page is not None
            policy = QSizePolicy.Policy.Preferred if j == k else QSizePolicy.Policy.Ignored
            page.setSizePolicy(QSizePolicy.Policy.Preferred, policy)
        self._common.setVisible(operation in (Operation.SEED, Operation.GAPS))
        self.operation_changed.emit(operation)

    @property
    def ignored_views(self) -> frozenset[int]:
        """Views (from 0) at which gaps are ignored."""
        if not self.ignore.isChecked():
            return frozenset()
        return views_of_text(self.ignore_list.text(), self._n_views)

    def show_progress(self, done: int, total: int) -> None:
        """How many of the big residuals have been examined."""
        self.progress.setRange(0, max(1, total))
        self.progress.setValue(done if total else 1)
        self.progress.setFormat(
            f"{done} of {total} examined (%p %)" if total else "No big residuals"
        )

    def set_working(self, command: Command, working: bool) -> None:
        """A long command is at work."""
        self.buttons[command].setEnabled(not working)

    # ---- controls ------------------------------------------------------------------------------

    def _make_common(self, diameter_px: float) -> None:
        self._common = QWidget(self)
        row = QHBoxLayout(self._common)
        row.setContentsMargins(0, 0, 0, 0)
        self.autocentre = _check("Autocenter", "Middle click snaps to the centre of the bead", True)
        self.light = _check("Light", "Beads are lighter than the background", False)
        self.diameter = QDoubleSpinBox(self._common)
        self.diameter.setRange(1.0, 400.0)
        self.diameter.setDecimals(1)
        self.diameter.setValue(diameter_px)
        self.diameter.setSuffix(" px")
        self.diameter.setToolTip("Of the beads, raw pixels; from the data: diameter / pixel size")
        self.diameter.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.diameter.setKeyboardTracking(False)
        row.addWidget(self.autocentre)
        row.addWidget(self.light)
        row.addStretch(1)
        row.addWidget(QLabel("Diameter", self._common))
        row.addWidget(self.diameter)
        self.light.toggled.connect(lambda _: self.centring_changed.emit())
        self.diameter.valueChanged.connect(lambda _: self.centring_changed.emit())

    def _button(self, command: Command) -> QPushButton:
        made = QPushButton(command.words, self)
        made.setToolTip(command.tip)
        made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        made.setStyleSheet("padding: 3px 4px;")
        made.clicked.connect(lambda: self.asked.emit(command))
        self.buttons[command] = made
        return made

    def _page(self, *commands: Command) -> tuple[QWidget, QGridLayout]:
        page = QWidget(self)
        grid = QGridLayout(page)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 1)
        for k, command in enumerate(commands):
            grid.addWidget(self._button(command), k // 2, k % 2)
        return page, grid

    def _seed(self) -> QWidget:
        page, grid = self._page()
        self.auto_contour = _check(
            "Automatic new contour",
            "A new contour when the current one has a point on this view, or lies farther away "
            "than two diameters",
            True,
        )
        self.overlay = _check(
            "Overlay of another view",
            "This view magenta, the other green: shows on which surface a bead lies (/)",
            False,
        )
        self.overlay_step = QSpinBox(page)
        self.overlay_step.setRange(-20, 20)
        self.overlay_step.setValue(5)
        self.overlay_step.setPrefix("± views: ")
        self.overlay_step.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.reverse = _check("Reverse", "Exchange black and white of the overlay", False)
        grid.addWidget(self.auto_contour, 0, 0)
        grid.addWidget(self.reverse, 0, 1)
        grid.addWidget(self.overlay, 1, 0)
        grid.addWidget(self.overlay_step, 1, 1)
        for signal in (self.overlay.toggled, self.overlay_step.valueChanged, self.reverse.toggled):
            signal.connect(lambda _: self.overlay_changed.emit())
        return page

    def _gaps(self) -> QWidget:
        c = Command
        page, grid = self._page(
            c.NEXT_GAP, c.PREVIOUS_GAP, c.ACCEPT, c.FILL_ALL, c.FROM_BEGINNING, c.FROM_CURRENT,
            c.REATTACH,
        )  # fmt: skip
        row = QHBoxLayout()
        self.ignore = _check("Ignore gaps at views", "Numbers or ranges: 1,3,39-41", True)
        self.ignore_list = QLineEdit(page)
        self.ignore_list.setPlaceholderText("1, 39-41")
        self.ignore_list.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        row.addWidget(self.ignore)
        row.addWidget(self.ignore_list)
        grid.addLayout(row, 3, 1)
        self.ignore.toggled.connect(lambda _: self.search_changed.emit())
        self.ignore_list.textChanged.connect(lambda _: self.search_changed.emit())
        return page

    def _residuals(self) -> QWidget:
        c = Command
        page, grid = self._page(
            c.NEXT_RESIDUAL, c.BACK_UP, c.MOVE_POINT, c.UNDO_MOVE, c.MOVE_ALL, c.CLEAR_EXAMINED
        )
        self.skip_low = _check("Skip low weights", "Leave out what the solution does not use", True)
        self.threshold = _number(0.0, 0.9, 0.05, 0.10, "Lowest weight of a point to examine")
        self.once = _check("Examine points once", "Do not return to a point", True)
        self.criterion = _number(0.5, 20.0, 0.5, 3.0, "A residual is big from so many SDs on")
        self.criterion.setSuffix(" SD")
        self.progress = QProgressBar(page)
        self.progress.setMaximumHeight(16)
        left, right = QHBoxLayout(), QHBoxLayout()
        left.addWidget(self.skip_low)
        left.addWidget(self.threshold)
        right.addWidget(QLabel("Big from", page))
        right.addWidget(self.criterion, 1)
        grid.addLayout(left, 3, 0)
        grid.addLayout(right, 3, 1)
        grid.addWidget(self.once, 4, 0)
        grid.addWidget(self.progress, 4, 1)
        for signal in (
            self.skip_low.toggled, self.threshold.valueChanged, self.once.toggled,
            self.criterion.valueChanged,
        ):  # fmt: skip
            signal.connect(lambda _: self.search_changed.emit())
        return page

    def _contours(self) -> QWidget:
        c = Command
        page, grid = self._page(c.NEXT_CONTOUR, c.BACK_UP_CONTOUR, c.DELETE_CONTOUR)
        self.contour_words = QLabel("Highest mean residual first", page)
        grid.addWidget(self.contour_words, 1, 1)
        return page


def views_of_text(text: str, n_views: int) -> frozenset[int]:
    """Views from 0 of a list such as ``1, 3, 39-41``; what is no number is left out."""
    out: set[int] = set()
    for part in text.replace(";", ",").replace(" ", ",").split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit() and (last.isdigit() or not last):
            out |= set(range(int(first) - 1, int(last or first)))
    return frozenset(v for v in out if 0 <= v < n_views)


def _check(words: str, tip: str, on: bool) -> QCheckBox:
    out = QCheckBox(words)
    out.setToolTip(tip)
    out.setChecked(on)
    out.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return out


def _number(low: float, high: float, step: float, value: float, tip: str) -> QDoubleSpinBox:
    out = QDoubleSpinBox()
    out.setRange(low, high)
    out.setSingleStep(step)
    out.setDecimals(2 if step < 0.1 else 1)
    out.setValue(value)
    out.setToolTip(tip)
    out.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
    return out
