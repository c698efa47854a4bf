"""Summary, methods and logs of the selected run."""

from __future__ import annotations

from functools import partial

from PyQt6.QtCore import QSize, Qt, pyqtSignal
from PyQt6.QtGui import QGuiApplication, QIcon, QPixmap
from PyQt6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QScrollArea,
    QTabWidget,
    QTextEdit,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from tiltwright.widgets.log_view import LogView
from tiltwright.widgets.run_box import STALE, STATUSES
from tiltwright.widgets.run_summary import VERDICTS, RunSummary
from tiltwright.widgets.styled import (
    ErrorLabel,
    Heading,
    LinkButton,
    MutedLabel,
    follow_theme,
)
from tiltwright.widgets.theme import Colours

THUMBNAIL = QSize(132, 96)
_SHOWN_ITEMS = 6
_ENDED = ("finished", "failed", "aborted")


class SummaryPage(QScrollArea):
    """Inputs and outputs, key numbers, pictures, failures, and what to look at next."""

    output_opened = pyqtSignal(str, str, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self._summary: RunSummary | None = None
        self.links: list[LinkButton | QToolButton] = []
        self._fill()

    def set_summary(self, summary: RunSummary | None) -> None:
        """Show this run, or what to do when none is selected."""
        if summary == self._summary:
            return
        bar = self.verticalScrollBar()
        same = bool(summary and self._summary and summary.run_id == self._summary.run_id)
        place = bar.value() if bar is not None and same else 0
        self._summary = summary
        self._fill()
        if bar is not None:
            bar.setValue(place)

    def _fill(self) -> None:
        page = QWidget()
        self.links = []
        outer = QVBoxLayout(page)
        outer.setContentsMargins(12, 8, 12, 8)
        outer.setSpacing(6)
        summary = self._summary
        if summary is None:
            outer.addWidget(MutedLabel("Select a run to see what it took, made and found."))
            outer.addStretch()
            self.setWidget(page)
            return
        outer.addLayout(self._head(summary))
        columns, judged, right = QHBoxLayout(), QHBoxLayout(), QVBoxLayout()
        for row in (columns, judged):
            row.setSpacing(24)
        columns.addLayout(self._flow(summary), 6)
        if summary.numbers:
            judged.addLayout(self._numbers(summary), 1)
        if summary.inspect:
            judged.addLayout(self._inspect(summary), 1)
        right.addLayout(judged)
        if summary.thumbnails:
            right.addLayout(self._pictures(summary))
        right.addStretch()
        columns.addLayout(right, 5)
        outer.addLayout(columns)
        outer.addStretch()
        self.setWidget(page)

    def _head(self, summary: RunSummary) -> QLayout:
        row = QHBoxLayout()
        row.setSpacing(10)
        title = Heading(summary.title, scale=1.1)
        row.addWidget(title)
        status = STATUSES.get(summary.status, STATUSES["new"])
        state = QLabel(f"{status.symbol} {summary.status}")
        follow_theme(state, lambda c: f"color: {status.of(c)}; font-weight: bold;")
        row.addWidget(state)
        if summary.stale:
            row.addWidget(Heading(STALE))
        if summary.status_text:
            bad = summary.status in ("failed", "aborted", "interrupted")
            if bad:
                error = ErrorLabel()
                error.set_reason(summary.status_text)
                row.addWidget(error, 1)
            else:
                row.addWidget(MutedLabel(summary.status_text), 1)
        else:
            row.addStretch(1)
        return row

    def _flow(self, summary: RunSummary) -> QLayout:
        column = QVBoxLayout()
        column.setSpacing(1)
        column.addWidget(Heading("Input"))
        for line in summary.inputs:
            row = QHBoxLayout()
            row.setSpacing(4)
            row.addWidget(self._link(line.name, line.run_id, line.output, ""))
            row.addWidget(_wrapped(f"from {line.source}  ·  {line.text}"), 1)
            column.addLayout(row)
        if not summary.inputs:
            column.addWidget(MutedLabel("none"))
        column.addSpacing(4)
        column.addWidget(Heading("Output"))
        for out in summary.outputs:
            row = QHBoxLayout()
            row.setSpacing(6)
            row.addWidget(self._link(f"⇥ {out.title or out.name}", summary.run_id, out.name, ""))
            row.addWidget(_wrapped(out.text), 1)
            column.addLayout(row)
            if out.items:
                column.addLayout(self._items(summary.run_id, out.name, out.items))
        if not summary.outputs:
            column.addWidget(MutedLabel("none" if summary.status in _ENDED else "nothing yet"))
        if summary.failed:
            column.addSpacing(4)
            n = len(summary.failed)
            column.addWidget(Heading(f"Left out: {n} series" if n > 1 else "Left out: 1 series"))
            for item in summary.failed:
                error = ErrorLabel()
                error.set_reason(f"{item.name}: {item.reason}")
                column.addWidget(error)
        column.addStretch()
        return column

    def _items(self, run_id: str, output: str, items: tuple[str, ...]) -> QLayout:
        row = QHBoxLayout()
        row.setContentsMargins(18, 0, 0, 0)
        row.setSpacing(2)
        for item in items[:_SHOWN_ITEMS]:
            row.addWidget(self._link(item, run_id, output, item))
        if len(items) > _SHOWN_ITEMS:
            more = MutedLabel(f"and {len(items) - _SHOWN_ITEMS} more")
            more.setWordWrap(False)
            row.addWidget(more)
        row.addStretch()
        return row

    def _link(self, text: str, run_id: str, output: str, item: str) -> LinkButton:
        link = LinkButton(text)
        link.setToolTip(f"Open {item or output}")
        link.clicked.connect(lambda: self.output_opened.emit(run_id, output, item))
        self.links.append(link)
        return link

    def _numbers(self, summary: RunSummary) -> QLayout:
        column = QVBoxLayout()
        column.setSpacing(1)
        column.addWidget(Heading("Key numbers"))
        grid = QGridLayout()
        grid.setHorizontalSpacing(10)
        grid.setVerticalSpacing(2)
        for i, number in enumerate(summary.numbers):
            symbol = VERDICTS.get(number.verdict, ("", ""))[0]
            label = MutedLabel(number.label)
            value = QLabel(f"{number.text} {symbol}".rstrip())
            follow_theme(value, partial(_verdict_sheet, number.verdict))
            for widget in (label, value):
                widget.setToolTip(number.reason)
            grid.addWidget(label, i, 0)
            grid.addWidget(value, i, 1)
        grid.setColumnStretch(0, 1)
        column.addLayout(grid)
        column.addStretch()
        return column

    def _inspect(self, summary: RunSummary) -> QLayout:
        column = QVBoxLayout()
        column.setSpacing(1)
        column.addWidget(Heading("What to inspect next"))
        for text in summary.inspect:
            column.addWidget(_wrapped(f"☐ {text}"))
        column.addStretch()
        return column

    def _pictures(self, summary: RunSummary) -> QLayout:
        row = QHBoxLayout()
        row.setSpacing(8)
        for picture in summary.thumbnails:
            button = QToolButton()
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
            pixmap = QPixmap.fromImage(picture.image).scaled(
                THUMBNAIL, Qt.AspectRatioMode.KeepAspectRatio,
                Qt.TransformationMode.SmoothTransformation,
            )  # fmt: skip
            button.setIcon(QIcon(pixmap))
            button.setIconSize(pixmap.size())
            button.setText(picture.caption)
            button.setToolTip(f"Open {picture.item} of {picture.output}")
            button.setAutoRaise(True)
            button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            button.clicked.connect(
                lambda _, p=picture: self.output_opened.emit(summary.run_id, p.output, p.item)
            )
            self.links.append(button)
            row.addWidget(button)
        row.addStretch()
        return row


def _verdict_sheet(verdict: str, c: Colours) -> str:
    return f"color: {getattr(c, VERDICTS.get(verdict, ('', 'text'))[1])};"


def _wrapped(text: str) -> QLabel:
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    return label


class MethodsPage(QWidget):
    """Prose for a paper, its citations, and a button that copies them as BibTeX."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bibtex = ""
        self._shown: tuple[str, tuple[str, ...], str] | None = None
        self.text = QTextEdit()
        self.text.setReadOnly(True)
        self.text.setFrameShape(QFrame.Shape.NoFrame)
        self.text.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.copy_text_button = QPushButton("Copy text")
        self.copy_bibtex_button = QPushButton("Copy BibTeX")
        self.copied = MutedLabel()
        row = QHBoxLayout()
        row.setContentsMargins(8, 4, 8, 6)
        row.addWidget(self.copied, 1)
        row.addWidget(self.copy_text_button)
        row.addWidget(self.copy_bibtex_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.text, 1)
        layout.addLayout(row)
        self.copy_bibtex_button.clicked.connect(
            lambda: self._copy(self._bibtex, "BibTeX entries copied")
        )
        self.copy_text_button.clicked.connect(
            lambda: self._copy(self.text.toPlainText(), "Text copied")
        )
        self.set_methods("", (), "")

    def set_methods(self, prose: str, citations: tuple[str, ...], bibtex: str) -> None:
        """Show the prose and number the citations under it."""
        if (prose, citations, bibtex) == self._shown:
            return
        self._shown = (prose, citations, bibtex)
        parts = [prose] if prose else []
        if citations:
            parts.append(
                "References\n" + "\n".join(f"{i}. {c}" for i, c in enumerate(citations, 1))
            )
        self.text.setPlainText(
            "\n\n".join(parts) or "The methods of this run are written when it has finished."
        )
        self._bibtex = bibtex
        self.copied.setText("")
        self.copy_text_button.setEnabled(bool(parts))
        self.copy_bibtex_button.setEnabled(bool(bibtex))

    def _copy(self, text: str, done: str) -> None:
        board = QGuiApplication.clipboard()
        if board is not None:
            board.setText(text)
            self.copied.setText(done)


class SummaryView(QTabWidget):
    """Tabs Summary, Methods, Log and Project log; ``output_opened(run id, output, item)``."""

    output_opened = pyqtSignal(str, str, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setDocumentMode(True)
        self.summary, self.methods = SummaryPage(), MethodsPage()
        self.log, self.project_log = LogView(), LogView()
        for page, title in (
            (self.summary, "Summary"), (self.methods, "Methods"), (self.log, "Log"),
            (self.project_log, "Project log"),
        ):  # fmt: skip
            self.addTab(page, title)
        self.summary.output_opened.connect(self.output_opened)

    def set_summary(self, summary: RunSummary | None) -> None:
        """Show a run; its log is set apart, by :attr:`log`."""
        self.summary.set_summary(summary)
        if summary is None:
            self.methods.set_methods("", (), "")
        else:
            self.methods.set_methods(summary.methods, summary.citations, summary.bibtex)
