"""Dark and light theme: one palette, and colours that mean one thing each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PyQt6.QtGui import QColor, QPalette
from PyQt6.QtWidgets import QApplication

import tiltwright.resources


@dataclass(frozen=True)
class Colours:
    """Colours by what they mean; ``#rrggbb``. Data views are always on black."""

    window: str
    base: str
    raised: str
    border: str
    text: str
    muted: str
    accent: str
    done: str
    running: str
    failed: str
    stale: str
    interactive: str
    new: str
    surface_bottom: str = "#35c759"
    surface_top: str = "#ff4fd8"
    current: str = "#ffe600"
    residual: str = "#ff4436"
    axis: str = "#38b6ff"
    erased: str = "#ff9d3b"


DARK = Colours(
    window="#1e2126", base="#16181c", raised="#2a2e35", border="#3b414b", text="#e4e7eb",
    muted="#97a0ad", accent="#4c9df0", done="#3f9e5d", running="#d9932b", failed="#d9534f",
    stale="#7d8590", interactive="#9a6fe0", new="#55606e",
)  # fmt: skip
LIGHT = Colours(
    window="#f3f4f6", base="#ffffff", raised="#e8eaee", border="#c5cad3", text="#1d2129",
    muted="#5c6674", accent="#1f6fc9", done="#2f8f4e", running="#b8730f", failed="#c23b37",
    stale="#8b939e", interactive="#7a4fc4", new="#9aa4b1",
)  # fmt: skip

_current = DARK


def colours() -> Colours:
    """The colours in force."""
    return _current


def is_dark() -> bool:
    """Whether the dark theme is in force."""
    return _current is DARK


def apply_theme(app: QApplication, dark: bool = True) -> None:
    """Set style, palette and style sheet of the application."""
    global _current
    _current = c = DARK if dark else LIGHT
    app.setStyle("Fusion")
    palette = QPalette()
    role = QPalette.ColorRole
    for which, value in (
        (role.Window, c.window), (role.WindowText, c.text), (role.Base, c.base),
        (role.AlternateBase, c.window), (role.Text, c.text), (role.Button, c.raised),
        (role.ButtonText, c.text), (role.ToolTipBase, c.raised), (role.ToolTipText, c.text),
        (role.Highlight, c.accent), (role.HighlightedText, "#ffffff"), (role.Link, c.accent),
        (role.PlaceholderText, c.muted), (role.Mid, c.border), (role.Dark, c.border),
        (role.Light, c.raised), (role.Midlight, c.raised), (role.Shadow, "#000000"),
        (role.BrightText, c.failed),
    ):  # fmt: skip
        palette.setColor(which, QColor(value))
    disabled = QPalette.ColorGroup.Disabled
    for which in (role.Text, role.ButtonText, role.WindowText):
        palette.setColor(disabled, which, QColor(c.stale))
    app.setPalette(palette)
    app.setStyleSheet("".join(sheet(c) for sheet in (_frames, _tabs, _buttons, _inputs, _checks)))


def _drawing(name: str) -> str:
    """A drawing of the resources as a style sheet names it."""
    path = Path(tiltwright.resources.__file__).with_name(f"{name}.svg")
    return f'image: url("{path.as_posix()}");'


def _frames(c: Colours) -> str:
    return (
        f"QToolTip {{ color: {c.text}; background: {c.raised}; border: 1px solid {c.border};"
        " padding: 3px; }"
        f"QHeaderView::section {{ background: {c.raised}; color: {c.text}; border: 0;"
        f" border-right: 1px solid {c.border}; padding: 3px 6px; }}"
        f"QSplitter::handle {{ background: {c.border}; }}"
        "QSplitter::handle:horizontal { width: 3px; } QSplitter::handle:vertical { height: 3px; }"
        f"QToolBar {{ border: 0; border-bottom: 1px solid {c.border}; padding: 2px 4px;"
        " spacing: 1px; }"
        f"QToolBar::separator {{ background: {c.border}; width: 1px; margin: 5px 6px; }}"
    )


def _tabs(c: Colours) -> str:
    """Tabs that are told apart by a line, and close by a quiet cross."""
    return (
        f"QTabBar::tab {{ background: transparent; color: {c.muted}; border: 0;"
        " border-bottom: 2px solid transparent; padding: 5px 10px 4px 10px; }"
        f"QTabBar::tab:selected {{ color: {c.text}; border-bottom: 2px solid {c.accent}; }}"
        f"QTabBar::tab:hover:!selected {{ color: {c.text}; background: {c.raised}; }}"
        f"QTabBar::tab:focus {{ background: {c.raised}; }}"
        f"QTabBar::close-button {{ {_drawing('close')} subcontrol-position: right; }}"
        f"QTabBar::close-button:hover {{ {_drawing('close-hover')} }}"
    )


def _buttons(c: Colours) -> str:
    return (
        f"QPushButton {{ background: {c.raised}; color: {c.text}; border: 1px solid {c.border};"
        " border-radius: 4px; padding: 4px 12px; }"
        f"QPushButton:hover {{ border: 1px solid {c.muted}; }}"
        f"QPushButton:pressed {{ background: {c.border}; }}"
        f"QPushButton:disabled {{ color: {c.stale}; }}"
        f"QToolButton:focus, QPushButton:focus {{ border: 1px solid {c.accent};"
        " border-radius: 3px; }"
    )


def _inputs(c: Colours) -> str:
    """Outlines of what can be typed into, which Fusion loses on dark ground."""
    steps = "".join(
        f"QAbstractSpinBox::{way}-button {{ subcontrol-origin: border; border: 0; width: 16px;"
        f" subcontrol-position: {side} right; }}"
        f"QAbstractSpinBox::{way}-button:hover {{ background: {c.raised}; }}"
        f"QAbstractSpinBox::{way}-arrow {{ {_drawing(way)} width: 8px; height: 5px; }}"
        for way, side in (("up", "top"), ("down", "bottom"))
    )
    return (
        f"QLineEdit, QAbstractSpinBox {{ background: {c.base}; color: {c.text};"
        f" border: 1px solid {c.border}; border-radius: 3px; padding: 2px 5px;"
        f" selection-background-color: {c.accent}; }}"
        "QAbstractSpinBox { padding: 1px 16px 1px 2px; }"
        f"QLineEdit:focus, QAbstractSpinBox:focus {{ border: 1px solid {c.accent}; }}"
        f"QLineEdit:disabled, QAbstractSpinBox:disabled {{ color: {c.stale}; }}"
        "QAbstractSpinBox QLineEdit, QComboBox QLineEdit { border: 0; padding: 0 2px;"
        f" background: transparent; }} {steps}"
        f"QListWidget {{ border: 1px solid {c.border}; border-radius: 3px; }}"
        f"QListWidget:focus {{ border: 1px solid {c.accent}; }}"
    )


def _checks(c: Colours) -> str:
    return (
        "QRadioButton, QCheckBox { spacing: 5px; border: 1px solid transparent;"
        " border-radius: 3px; padding: 1px 3px; }"
        f"QRadioButton:focus, QCheckBox:focus {{ border: 1px solid {c.accent}; }}"
        "QRadioButton::indicator, QCheckBox::indicator { width: 12px; height: 12px;"
        f" border: 1px solid {c.muted}; background: {c.base}; }}"
        "QRadioButton::indicator { border-radius: 7px; }"
        "QCheckBox::indicator { border-radius: 3px; }"
        f"QCheckBox::indicator:checked {{ border: 1px solid {c.accent}; background: {c.accent};"
        f" {_drawing('check')} }}"
        f"QRadioButton::indicator:checked {{ border: 1px solid {c.accent};"
        " background: qradialgradient(cx: 0.5, cy: 0.5, radius: 0.5, fx: 0.5, fy: 0.5,"
        f" stop: 0 {c.accent}, stop: 0.55 {c.accent}, stop: 0.65 {c.base}, stop: 1 {c.base}); }}"
        f"QRadioButton:disabled, QCheckBox:disabled {{ color: {c.stale}; }}"
    )
