"""What the theme and the drawings are for: that things can be seen and told apart."""

from __future__ import annotations

import pytest
from PyQt6.QtCore import QSize
from PyQt6.QtGui import QColor, QIcon
from PyQt6.QtWidgets import QApplication, QCheckBox, QLabel, QLineEdit, QRadioButton, QSpinBox

from tiltwright.widgets.icons import drawn_icon
from tiltwright.widgets.styled import Reflow
from tiltwright.widgets.theme import apply_theme, colours, is_dark


@pytest.fixture(params=[True, False], ids=["dark", "light"])
def theme(request, qapp):
    before, style = is_dark(), qapp.styleSheet()
    apply_theme(qapp, request.param)
    yield colours()
    apply_theme(qapp, before)
    qapp.setStyleSheet(style)


def _colours_of(image):
    return {image.pixelColor(x, y).name() for x in range(image.width())
            for y in range(image.height())}  # fmt: skip


@pytest.mark.parametrize("make", [QLineEdit, QSpinBox, QCheckBox, QRadioButton])
def test_what_can_be_changed_has_an_outline(qtbot, theme, make):
    widget = make()
    qtbot.addWidget(widget)
    widget.resize(120, 30)
    widget.ensurePolished()
    outline = theme.muted if make in (QCheckBox, QRadioButton) else theme.border
    wanted = QColor(outline).getRgb()
    # A ring has softened edges, so nearly that colour is enough.
    assert any(
        max(abs(a - b) for a, b in zip(QColor(name).getRgb(), wanted, strict=True)) < 12
        for name in _colours_of(widget.grab().toImage())
    )


def test_a_checked_box_is_told_by_its_fill(qtbot, theme):
    box = QCheckBox()
    qtbot.addWidget(box)
    box.setChecked(True)
    assert theme.accent in _colours_of(box.grab().toImage())


def test_a_drawing_follows_the_theme_after_it_was_made(qapp):
    icon = drawn_icon("delete")
    seen = []
    for dark in (False, True):
        apply_theme(qapp, dark)
        seen.append(_colours_of(icon.pixmap(QSize(32, 32)).toImage()))
        assert QColor(colours().text).name() in seen[-1]
    assert seen[0] != seen[1]
    disabled = icon.pixmap(QSize(32, 32), QIcon.Mode.Disabled).toImage()
    assert _colours_of(disabled) != seen[1]
    assert drawn_icon("nothing of that name").isNull()
    QApplication.setStyle("Fusion")


def test_blocks_stand_beside_each_other_only_where_there_is_room(qtbot):
    first, second = QLabel("first"), QLabel("second")
    page = Reflow(
        300, {first: (0, 0, 1, 1), second: (0, 1, 1, 1)},
        {first: (0, 0, 1, 1), second: (1, 0, 1, 1)}, (1, 1),
    )  # fmt: skip
    qtbot.addWidget(page)
    page.resize(400, 200)
    page.show()
    qtbot.waitUntil(lambda: page.is_wide() and second.x() > first.x())
    page.resize(200, 200)
    qtbot.waitUntil(lambda: not page.is_wide() and second.y() > first.y())
    assert page.minimumSizeHint().width() < 300
