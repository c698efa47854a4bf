"""Small parts that the other widgets are made of: labels that elide, mute and follow the theme."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PyQt6.QtCore import QEvent, QObject, QSize, Qt
from PyQt6.QtGui import QColor, QPainter, QPaintEvent, QResizeEvent
from PyQt6.QtWidgets import (
    QFrame,
    QGridLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from tiltwright.widgets.theme import Colours, colours

LABEL_LEAST, LABEL_MOST = 120, 230
"""Width of the labels of a form, from a narrow dock to a wide window."""
_THEME_EVENTS = (QEvent.Type.PaletteChange, QEvent.Type.StyleChange)


class _Follower(QObject):
    """Applies a style sheet again when the theme is another one."""

    def __init__(self, widget: QWidget, sheet_for: Callable[[Colours], str]) -> None:
        super().__init__(widget)
        self._widget, self._sheet_for = widget, sheet_for
        self._styled_for: Colours | None = None
        self._apply()
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if event is not None and event.type() in _THEME_EVENTS:
            self._apply()
        return False

    def _apply(self) -> None:
        # Setting a style sheet sends these events itself, so only a new theme counts.
        if self._styled_for is not colours():
            self._styled_for = colours()
            self._widget.setStyleSheet(self._sheet_for(self._styled_for))


def follow_theme(widget: QWidget, sheet_for: Callable[[Colours], str]) -> None:
    """Give ``widget`` the style sheet that ``sheet_for`` makes of the colours, now and later."""
    _Follower(widget, sheet_for)


def mix(a: str, b: str, share: float) -> QColor:
    """Colour between ``a`` (share 0) and ``b`` (share 1)."""
    first, second = QColor(a), QColor(b)
    return QColor.fromRgbF(
        *(
            x + (y - x) * share
            for x, y in zip(first.getRgbF()[:3], second.getRgbF()[:3], strict=True)
        )
    )


class MutedLabel(QLabel):
    """Secondary text, wrapped."""

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        follow_theme(self, lambda c: f"color: {c.muted};")


class Heading(QLabel):
    """Name of a section, in bold."""

    def __init__(self, text: str = "", parent: QWidget | None = None, scale: float = 1.0) -> None:
        super().__init__(text, parent)
        font = self.font()
        font.setBold(True)
        font.setPointSizeF(font.pointSizeF() * scale)
        self.setFont(font)


class Rule(QFrame):
    """A quiet horizontal line."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFixedHeight(1)
        follow_theme(self, lambda c: f"background: {c.border}; border: 0;")


class ElidedLabel(QLabel):
    """One line that is shortened with … where it does not fit; the tooltip holds all of it."""

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.setTextFormat(Qt.TextFormat.PlainText)

    def minimumSizeHint(self) -> QSize:
        return QSize(40, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        super().resizeEvent(event)
        fits = self.fontMetrics().horizontalAdvance(self.text()) <= self.width()
        self.setToolTip("" if fits else self.text())

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        text = self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, self.width())
        painter.drawText(self.rect(), int(self.alignment()), text)


class LabelledRow(QWidget):
    """Base of a row of a form: its label takes a share of the width, the same in every row."""

    def __init__(self, text: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.label = QLabel(text)
        self.label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.label.setWordWrap(True)
        self.label.setFixedWidth(LABEL_MOST)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        super().resizeEvent(event)
        self.label.setFixedWidth(min(max(round(0.38 * self.width()), LABEL_LEAST), LABEL_MOST))

    def minimumSizeHint(self) -> QSize:
        # The label can give way, so it counts with the least that it needs.
        hint = super().minimumSizeHint()
        return QSize(hint.width() - self.label.width() + LABEL_LEAST, hint.height())


class VerticalArea(QScrollArea):
    """Scrolls up and down only: never narrower than what it holds."""

    def __init__(self, content: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(content)

    def minimumSizeHint(self) -> QSize:
        content, bar = self.widget(), self.verticalScrollBar()
        if content is None or bar is None:
            return super().minimumSizeHint()
        return QSize(content.minimumSizeHint().width() + bar.sizeHint().width(), 120)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().eventFilter(watched, event)


class LinkButton(QPushButton):
    """A result that opens when clicked: looks like a link, is a button for the keyboard."""

    def __init__(self, text: str, parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setFlat(True)
        self.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        follow_theme(
            self,
            lambda c: (
                f"QPushButton {{ color: {c.accent}; background: transparent; text-align: left;"
                " border: 1px solid transparent; border-radius: 3px; padding: 1px 2px; }"
                "QPushButton:hover { text-decoration: underline; }"
                f"QPushButton:focus {{ border: 1px solid {c.accent}; }}"
            ),
        )


class Reflow(QWidget):
    """Blocks side by side where there is room, else below each other.

    ``wide`` and ``narrow`` give each block its ``(row, column, rows, columns)``.
    """

    Places = Mapping[QWidget, tuple[int, int, int, int]]

    def __init__(
        self,
        threshold: int,
        wide: Places,
        narrow: Places,
        stretches: tuple[int, ...],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._threshold, self._wide, self._narrow = threshold, wide, narrow
        self._stretches = stretches
        self._is_wide: bool | None = None
        self.grid = QGridLayout(self)
        self.grid.setContentsMargins(0, 0, 0, 0)
        self.grid.setHorizontalSpacing(22)
        self._place(False)

    def is_wide(self) -> bool:
        """Whether the blocks stand side by side."""
        return bool(self._is_wide)

    def _place(self, wide: bool) -> None:
        if wide == self._is_wide:
            return
        self._is_wide = wide
        places = self._wide if wide else self._narrow
        for block in self._wide:
            self.grid.removeWidget(block)
        for block, (row, column, rows, columns) in places.items():
            self.grid.addWidget(block, row, column, rows, columns)
        for column, stretch in enumerate(self._stretches):
            self.grid.setColumnStretch(column, stretch if wide else int(not column))

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        super().resizeEvent(event)
        self._place(self.width() >= self._threshold)

    def minimumSizeHint(self) -> QSize:
        # The narrow form must stay reachable from the wide one.
        width = max(block.minimumSizeHint().width() for block in self._wide)
        return QSize(width, super().minimumSizeHint().height())


class ErrorLabel(QLabel):
    """Why something is not right, with a mark that does not depend on the colour."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        follow_theme(self, lambda c: f"color: {c.failed};")
        self.hide()

    def set_reason(self, reason: str) -> None:
        """Show ``reason``; nothing when it is empty."""
        self.setText(f"⚠ {reason}" if reason else "")
        self.setVisible(bool(reason))


def primary_sheet(c: Colours) -> str:
    """Style of the one button on a page that does the thing."""
    return (
        f"QPushButton {{ background: {c.accent}; color: #ffffff; border: 1px solid {c.accent};"
        " border-radius: 4px; padding: 5px 14px; font-weight: bold; }"
        f"QPushButton:hover {{ background: {mix(c.accent, '#ffffff', 0.12).name()}; }}"
        f"QPushButton:focus {{ border: 2px solid {c.text}; padding: 4px 13px; }}"
        f"QPushButton:disabled {{ background: {c.raised}; color: {c.stale};"
        f" border-color: {c.border}; }}"
    )


class EmptyState(QWidget):
    """What stands where nothing is yet: a title, and how to get something there."""

    def __init__(self, title: str, sentence: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.addStretch()
        for label in (Heading(title, scale=1.2), MutedLabel(sentence)):
            label.setAlignment(Qt.AlignmentFlag.AlignCenter)
            label.setWordWrap(True)
            layout.addWidget(label)
        layout.addStretch()


class Grip(QWidget):
    """A narrow bar to drag a dock by, in place of a title that says what its tab says again."""

    def __init__(self, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFixedHeight(8)
        self.setToolTip(tip)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        painter.setPen(QColor(colours().stale))
        middle = self.width() // 2
        for x in range(middle - 12, middle + 13, 4):
            painter.drawPoint(x, 3)
            painter.drawPoint(x, 5)
