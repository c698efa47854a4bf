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

from tiltwright.widgets.runs.log_view import LogView
from tiltwright.widgets.runs.run_box import STALE, STATUSES
from tiltwright.widgets.runs.run_summary import VERDICTS, KeyNumber, OutputLine, RunSummary
from tiltwright.widgets.styled import (
    ElidedLabel,
    ErrorLabel,
    Heading,
    LinkButton,
    MutedLabel,
    Reflow,
    follow_theme,
)
from tiltwright.widgets.theme import Colours

THUMBNAIL = QSize(108, 72)
WIDE = 700
"""Width from which numbers stand beside what to inspect."""
_SHOWN_ITEMS, _SHOWN_SERIES = 6, 8
_NAME_WIDTH = 150
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_ENDED = ("finished", "failed", "aborted")


class SummaryPage(QScrollArea):
    """Inputs and outputs, key numbers, pictures, failures, and what to look at next."""

    output_opened = pyqtSignal(str, str, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
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
        # The links in their order, whatever stands above what.
        flow = _block(*self._failures(summary), *self._flow(summary))
        numbers, inspect, pictures = (
            _block(*parts) if parts else None
            for parts in (self._numbers(summary), self._inspect(summary), self._pictures(summary))
        )
        # What judges the run comes first, then what went in and out.
        rows = [[numbers, inspect], [flow], [pictures]]
        if numbers is None:
            rows = [[flow], [inspect], [pictures]]
        wide = {}
        for k, row in enumerate(rows):
            blocks = [block for block in row if block is not None]
            for column, block in enumerate(blocks):
                wide[block] = (k, column, 1, 3 - len(blocks))
        order = [block for block in (numbers, flow, inspect, pictures) if block is not None]
        narrow = {block: (k, 0, 1, 1) for k, block in enumerate(order)}
        outer.addWidget(Reflow(WIDE, wide, narrow, (0, 1)))
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

    def _failures(self, summary: RunSummary) -> list[QWidget]:
        """Each reason once, with the series that it holds for."""
        if not summary.failed:
            return []
        n = len(summary.failed)
        shown: list[QWidget] = [Heading(f"Left out: {n} series")]
        names: dict[str, list[str]] = {}
        for item in summary.failed:
            names.setdefault(item.reason, []).append(item.name)
        for reason, who in names.items():
            error = ErrorLabel()
            error.set_reason(f"{', '.join(who)}: {reason}")
            shown.append(error)
        return shown

    def _flow(self, summary: RunSummary) -> list[QWidget]:
        """What went in and what came out, a line each."""
        table = QWidget()
        grid = QGridLayout(table)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(1)
        grid.setColumnStretch(2, 1)
        row = 0
        for line in summary.inputs:
            link = self._link(line.name, line.run_id, line.output, "", f"of {line.source}")
            _row(grid, row, "Input" if not row else "", link, f"{line.source} · {line.text}")
            row += 1
        if not summary.inputs:
            _row(grid, row, "Input", MutedLabel("none"), "")
            row += 1
        for i, out in enumerate(summary.outputs):
            title = out.title or out.name
            link = self._link(title, summary.run_id, out.name, "")
            _row(grid, row, "" if i else "Output", link, out.text)
            if out.items:
                grid.addWidget(self._items(summary.run_id, out), row + 1, 1, 1, 2)
            row += 2
        if not summary.outputs:
            word = "none" if summary.status in _ENDED else "nothing yet"
            _row(grid, row, "Output", MutedLabel(word), "")
        return [table]

    def _items(self, run_id: str, out: OutputLine) -> QWidget:
        line = QWidget()
        row = QHBoxLayout(line)
        row.setContentsMargins(10, 0, 0, 2)
        row.setSpacing(2)
        for item in out.items[:_SHOWN_ITEMS]:
            row.addWidget(self._link(item, run_id, out.name, item))
        if len(out.items) > _SHOWN_ITEMS:
            more = MutedLabel(f"and {len(out.items) - _SHOWN_ITEMS} more")
            more.setWordWrap(False)
            row.addWidget(more)
        row.addStretch()
        return line

    def _link(self, text: str, run_id: str, output: str, item: str, of: str = "") -> LinkButton:
        link = LinkButton(text)
        link.setToolTip(f"Open {text} {of}".rstrip())
        link.clicked.connect(lambda: self.output_opened.emit(run_id, output, item))
        self.links.append(link)
        return link

    def _numbers(self, summary: RunSummary) -> list[QWidget]:
        """A row for each series, the numbers under their names."""
        if not summary.numbers:
            return []
        table = QWidget()
        grid = QGridLayout(table)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(14)
        grid.setVerticalSpacing(2)
        alone = [n for n in summary.numbers if not n.series]
        series = list(dict.fromkeys(n.series for n in summary.numbers if n.series))
        labels = list(dict.fromkeys(n.label for n in summary.numbers if n.series))
        for column, text in enumerate(labels, 1):
            head = MutedLabel(text.replace(" ", "\n", 1))
            head.setAlignment(_RIGHT)
            head.setWordWrap(False)
            grid.addWidget(head, 0, column)
        for row, name in enumerate(series[:_SHOWN_SERIES], 1):
            title = ElidedLabel(name)
            title.setMinimumWidth(min(title.sizeHint().width(), _NAME_WIDTH))
            grid.addWidget(title, row, 0)
            for number in summary.numbers:
                if number.series == name:
                    grid.addWidget(_value(number), row, 1 + labels.index(number.label))
        last = min(len(series), _SHOWN_SERIES) + 1
        if len(series) > _SHOWN_SERIES:
            text = f"and {len(series) - _SHOWN_SERIES} more series: open the output for all"
            grid.addWidget(MutedLabel(text), last, 0, 1, 1 + len(labels))
        for row, number in enumerate(alone, last + 1):
            grid.addWidget(MutedLabel(number.label), row, 0)
            grid.addWidget(_value(number), row, 1)
        grid.setColumnStretch(len(labels) + 1, 1)
        return [Heading("Key numbers"), table]

    def _inspect(self, summary: RunSummary) -> list[QWidget]:
        lines: list[QWidget] = [_wrapped(f"☐ {text}") for text in summary.inspect]
        return [Heading("What to inspect next"), *lines] if lines else []

    def _pictures(self, summary: RunSummary) -> list[QWidget]:
        if not summary.thumbnails:
            return []
        line = QWidget()
        row = QHBoxLayout(line)
        row.setContentsMargins(0, 0, 0, 0)
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
            button.setToolTip(f"Open {picture.item}")
            button.setAutoRaise(True)
            button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            button.clicked.connect(
                lambda _, p=picture: self.output_opened.emit(summary.run_id, p.output, p.item)
            )
            self.links.append(button)
            row.addWidget(button)
        row.addStretch()
        return [line]


def _block(*parts: QWidget) -> QWidget:
    block = QWidget()
    column = QVBoxLayout(block)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(1)
    for part in parts:
        column.addWidget(part)
    column.addStretch()
    return block


def _row(grid: QGridLayout, row: int, caption: str, what: QWidget, text: str) -> None:
    grid.addWidget(Heading(caption), row, 0)
    grid.addWidget(what, row, 1)
    said = _wrapped(text)
    said.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    grid.addWidget(said, row, 2)


def _value(number: KeyNumber) -> QLabel:
    symbol = VERDICTS.get(number.verdict, ("", ""))[0]
    value = QLabel(f"{number.text} {symbol}".rstrip())
    value.setAlignment(_RIGHT)
    value.setToolTip(number.reason)
    follow_theme(value, partial(_verdict_sheet, number.verdict))
    return value


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
