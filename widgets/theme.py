"""Dark and light theme: one palette, and colours that mean one thing each."""

from __future__ import annotations

from dataclasses import dataclass

from PyQt6.QtGui import QColor, QPalette
from PyQt6.QtWidgets import QApplication


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
    app.setStyleSheet(
        f"QToolTip {{ color: {c.text}; background: {c.raised}; border: 1px solid {c.border}; "
        "padding: 3px; }"
        f"QHeaderView::section {{ background: {c.raised}; color: {c.text}; border: 0; "
        f"border-right: 1px solid {c.border}; padding: 3px 6px; }}"
        f"QSplitter::handle {{ background: {c.border}; }}"
        "QSplitter::handle:horizontal { width: 3px; } QSplitter::handle:vertical { height: 3px; }"
    )
