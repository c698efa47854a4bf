"""Raw and denoised side by side while the parameters are chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from PyQt6.QtCore import Qt, QTimer, pyqtSignal
from PyQt6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from tiltwright.widgets.actions import make_action
from tiltwright.widgets.form.form import ParameterForm
from tiltwright.widgets.image.image_view import ImageView
from tiltwright.widgets.image.navigation import NavigationBar
from tiltwright.widgets.image.overlay import Box
from tiltwright.widgets.image.tiles import Tile, auto_levels, sample
from tiltwright.widgets.lane import Lane
from tiltwright.widgets.styled import MutedLabel, VerticalArea, follow_theme, primary_sheet
from tiltwright.widgets.theme import colours
from tiltwright.widgets.tomogram.tomogram_planes import read_plane, slab
from tiltwright.widgets.wording import plain_words

if TYPE_CHECKING:
    from tiltwright.engine.model.tomogram import Tomogram

FIELDS = (320, 640, 0)
"""Sides of the square that is denoised, voxels; 0 is the whole section."""
_THICKEST = 20
_SOON_MS = 150
_BOTH = "raw", "denoised"


class DenoisePreview(QWidget):
    """One section of a tomogram, raw and as the whole run with these parameters would make it.

    A click on either picture moves the part that is denoised.

    Parameters
    ----------
    tomogram : Tomogram
    values : mapping, optional
        Parameters of the protocol that differ from the defaults.
    voxel : (x, y, z), optional
        Where to begin; the middle by default.

    Signals
    -------
    run_asked : (values)
        The whole tomogram shall be denoised with these parameters.
    previewed : (seconds)
        A picture came in.
    """

    run_asked = pyqtSignal(object)
    previewed = pyqtSignal(float)

    def __init__(
        self,
        tomogram: Tomogram,
        values: Mapping[str, Any] | None = None,
        voxel: tuple[int, int, int] | None = None,
        threads: int = 2,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        from tiltwright.engine.protocols.denoise import Denoise

        self._protocol = Denoise
        self._tomogram, self._threads = tomogram, threads
        nz, ny, nx = tomogram.shape
        self._at = voxel or (nx // 2, ny // 2, nz // 2)
        # Of its own: planes of other pages must not wait for it.
        self.lane = Lane(self)
        self.lane.failed.connect(self._fail)
        self.destroyed.connect(self.lane.close)
        self._limits: dict[Any, list[float]] = {}
        self._linking = False
        self.form = ParameterForm(Denoise.Params, values)
        self.views = {name: ImageView(self) for name in _BOTH}
        self.navigation = NavigationBar(self, "section")
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_SOON_MS)
        self._soon.timeout.connect(self._ask)
        self._lay_out()
        self._connect()
        self.navigation.set_count(nz)
        self._show_field()
        self._go(self._at[2])

    def _lay_out(self) -> None:
        self.field = QComboBox(self)
        for side in FIELDS:
            self.field.addItem(f"{side} × {side} voxels" if side else "Whole section", side)
        self.field.setToolTip("The part that is denoised; click a picture to move it")
        self.slab = QSpinBox(self)
        self.slab.setRange(1, _THICKEST)
        self.slab.setKeyboardTracking(False)
        self.slab.setToolTip("Sections that are averaged for the eye, raw and denoised")
        self.same = QCheckBox("Same contrast", self)
        self.same.setToolTip("The grey values of the raw section for both pictures")
        self.words = MutedLabel("", self)
        self.run_button = QPushButton("Denoise the whole tomogram…", self)
        self.run_button.setToolTip("Open the form with these parameters (Ctrl+Return)")
        follow_theme(self.run_button, primary_sheet)
        make_action(self, "Denoise all", ["Ctrl+Return"], self.run_button.click, "Open the form")
        make_action(self, "Fit", ["Shift+R"], self._show_field, "Show the part that is denoised")
        top, pair = QHBoxLayout(), QHBoxLayout()
        top.setContentsMargins(6, 3, 6, 3)
        top.setSpacing(6)
        for words, widget in (("Part", self.field), ("Slab", self.slab), ("", self.same)):
            if words:
                top.addWidget(QLabel(words, self))
            top.addWidget(widget)
        top.addStretch(1)
        pair.setSpacing(3)
        for view in self.views.values():
            view.pixel_size_a = self._tomogram.pixel_size_a
            pair.addWidget(view)
        pictures, below = QWidget(self), QWidget(self)
        upper = QVBoxLayout(pictures)
        upper.setContentsMargins(0, 0, 0, 0)
        upper.setSpacing(0)
        upper.addLayout(top)
        upper.addLayout(pair, 1)
        upper.addWidget(self.navigation)
        foot = QHBoxLayout()
        foot.addWidget(self.words, 1)
        foot.addWidget(self.run_button)
        lower = QVBoxLayout(below)
        lower.setContentsMargins(10, 6, 10, 8)
        lower.addWidget(VerticalArea(self.form), 1)
        lower.addLayout(foot)
        split = QSplitter(Qt.Orientation.Vertical, self)
        split.setChildrenCollapsible(False)
        split.addWidget(pictures)
        split.addWidget(below)
        split.setStretchFactor(0, 1)
        split.setSizes([700, 190])
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(split)

    def _connect(self) -> None:
        self.form.values_changed.connect(self._changed)
        self.form.validity_changed.connect(self.run_button.setEnabled)
        self.run_button.clicked.connect(self._run)
        self.navigation.went.connect(self._go)
        self.field.currentIndexChanged.connect(lambda _: self._field_chosen())
        self.slab.valueChanged.connect(lambda _: self._go(self._at[2]))
        self.same.toggled.connect(lambda _: self._set_levels())
        for name, view in self.views.items():
            view.clicked.connect(self._clicked)
            view.viewport_changed.connect(partial(self._follow, name))

    # ---- what is shown -------------------------------------------------------------------------

    def bounds(self) -> tuple[int, int, int, int]:
        """First pixel and the one after the last of what is denoised, ``x0, y0, x1, y1``."""
        _, ny, nx = self._tomogram.shape
        side = self.field.currentData() or max(nx, ny)
        x0, x1 = slab(self._at[0], side, nx)
        y0, y1 = slab(self._at[1], side, ny)
        return x0, y0, x1, y1

    def values(self) -> dict[str, Any]:
        """The parameters; raises :class:`~tiltwright.widgets.form.form.InvalidForm`."""
        found: dict[str, Any] = self.form.values().model_dump(mode="json")
        return found

    def shutdown(self) -> None:
        """End the thread."""
        self._soon.stop()
        self.navigation.player.stop()
        self.lane.close()

    def _go(self, z: int) -> None:
        """To a section."""
        nz = self._tomogram.shape[0]
        self._at = self._at[0], self._at[1], min(max(z, 0), nz - 1)
        self.navigation.set_current(self._at[2])
        data = self._tomogram.data
        self.lane.request(
            "raw", partial(read_plane, data, "xy", self._at, self.slab.value()), self._have_raw
        )
        self._changed()

    def _clicked(self, x: float, y: float, _button: Any, _keys: Any) -> None:
        self._at = round(x), round(y), self._at[2]
        self._outline()
        self._changed()

    def _field_chosen(self) -> None:
        self._show_field()
        self._changed()

    def _show_field(self) -> None:
        """Bring the part that is denoised into sight."""
        x0, y0, x1, y1 = self.bounds()
        view = self.views["raw"]
        zoom = 0.96 * min(view.width() / (x1 - x0), view.height() / (y1 - y0))
        self._outline()
        for each in self.views.values():
            each.set_viewport(zoom, (x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2)

    def resizeEvent(self, event: Any) -> None:
        """The part stays in sight."""
        super().resizeEvent(event)
        QTimer.singleShot(0, self._show_field)

    def _outline(self) -> None:
        x0, y0, x1, y1 = (v - 0.5 for v in self.bounds())
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        self.views["raw"].set_layer("part", Box(corners, colours().interactive, width=1.2))

    def _follow(self, name: str) -> None:
        if self._linking:
            return
        port = self.views[name].viewport
        self._linking = True
        for other, view in self.views.items():
            if other != name:
                view.set_viewport(port.zoom, port.x, port.y)
        self._linking = False

    # ---- the work ------------------------------------------------------------------------------

    def _changed(self) -> None:
        self._soon.start()

    def _ask(self) -> None:
        if not self.form.is_valid():
            self.words.setText("")
            return
        params = self.form.values()
        how = self._protocol.denoising(params, self._tomogram.pixel_size_a)
        x0, y0, x1, y1 = self.bounds()
        z = slab(self._at[2], self.slab.value(), self._tomogram.shape[0])
        self.words.setText("Denoising …")
        self.lane.request(
            "denoised",
            partial(_work, self._tomogram.data, how, (z, (y0, y1), (x0, x1)), self._limits.get(how),
                    self._threads),
            partial(self._have_denoised, how, (x0, y0)),
        )  # fmt: skip

    def _have_raw(self, tile: Tile) -> None:
        view = self.views["raw"]
        _, ny, nx = self._tomogram.shape
        self._place(view, tile, (nx, ny))
        view.set_caption(f"raw   z {self._at[2] + 1}")
        self._outline()
        self._set_levels()

    def _have_denoised(self, how: Any, first: tuple[int, int], found: Any) -> None:
        mean, lams, seconds = found
        self._limits = {how: lams, **dict(list(self._limits.items())[:19])}
        _, ny, nx = self._tomogram.shape
        view = self.views["denoised"]
        self._place(view, Tile(mean, *first), (nx, ny))
        view.set_caption(f"denoised   {how.method}")
        self._set_levels()
        self.words.setText(
            f"Right: what the run on the whole tomogram gives here ({seconds:.1f} s for this part)"
        )
        self.previewed.emit(seconds)

    def _place(self, view: ImageView, tile: Tile, size: tuple[int, int]) -> None:
        """A tile whose coming does not move what is in sight."""
        first = view.tile is None
        port = self.views["raw"].viewport
        self._linking = True
        view.set_tile(tile, size)
        view.set_viewport(port.zoom, port.x, port.y)
        self._linking = False
        if first:
            self._show_field()

    def _set_levels(self) -> None:
        raw, denoised = (self.views[name] for name in _BOTH)
        if raw.tile is None:
            return
        levels = auto_levels(sample(raw.tile.data))
        raw.set_levels(*levels)
        if denoised.tile is not None:
            mine = levels if self.same.isChecked() else auto_levels(sample(denoised.tile.data))
            denoised.set_levels(*mine)

    def _fail(self, key: Any, text: str) -> None:
        self.words.setText(plain_words(text.partition(": ")[2] or text))
        if key == "denoised":
            self.views["denoised"].clear(self.words.text())

    def _run(self) -> None:
        if self.form.is_valid():
            self.run_asked.emit(self.values())


def _work(
    data: Any, how: Any, box: Any, known: list[float] | None, threads: int
) -> Iterator[tuple[Any, list[float], float] | None]:
    """Mean over the sections of a denoised box, its limits, and the seconds; in pieces."""
    from time import perf_counter

    from tiltwright.engine.volume.preview import denoise_box, limits

    start = perf_counter()
    lams = known
    if lams is None:
        for lams in limits(data, how):
            if lams is None:
                yield None
    assert lams is not None
    for part in denoise_box(data, how, box, lams, threads):
        if part is None:
            yield None
        else:
            yield part.mean(0, dtype=np.float32), lams, perf_counter() - start
