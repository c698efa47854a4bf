"""What a person does before the editor, and where its files lie."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PyQt6.QtCore import QEvent, QPoint, QPointF, Qt
from PyQt6.QtGui import QMouseEvent
from PyQt6.QtWidgets import QApplication

from tiltwright.engine.conventions import image_centre
from tiltwright.engine.errors import InputError
from tiltwright.engine.execution.chain import process
from tiltwright.engine.model.edits import DeletePoints, MovePoints
from tiltwright.engine.model.fiducial_model import FiducialModel
from tiltwright.engine.model.files import read_foreign, read_model
from tiltwright.engine.model.tilt_series import TiltSeries, load_tilt_series
from tiltwright.engine.project.versions import list_versions, open_version, save_version
from tiltwright.engine.protocols import KEYS
from tiltwright.engine.protocols.base import Context
from tiltwright.engine.simulate.series import SeriesSpec, write_series
from tiltwright.widgets.editor.current import Current
from tiltwright.widgets.editor.editor_window import EditorWindow

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "exosome_position14"
DIAMETER_A = 100.0


HAVE_REAL = (REAL / "position14.mrc").exists() and "EDITOR_SIMULATED" not in os.environ
"""Without the real series the editor is tried on a simulated one."""
needs_real = pytest.mark.skipif(not HAVE_REAL, reason="needs ../shared/data/exosome_position14")


@functools.cache
def folder_of_files() -> Path:
    """Where the series and its model lie while the tests run."""
    folder = Path(tempfile.mkdtemp(prefix="editor-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def stack() -> Path:
    """The real series, or a simulated one of its size, with its ``.rawtlt`` beside it."""
    if HAVE_REAL:
        return REAL / "position14.mrc"
    spec = SeriesSpec(seed=14, n_views=31, n_beads=60, n_vesicles=5, shift_step_sd_px=3.0)
    return write_series(spec, folder_of_files(), "simulated")["stack"]


def open_series(path: Path) -> TiltSeries:
    """The series of a stack, with its images in memory."""
    series = load_tilt_series(
        path, tilt_angles=path.with_suffix(".rawtlt"), axis_deg=-84.5, pixel_size_a=11.04
    )
    return replace(series, stack=np.array(series.stack))


@functools.cache
def automatic_model() -> FiducialModel:
    """What the automatic steps make of the real series; of the simulated one nearly the truth."""
    folder, series = folder_of_files(), open_series(stack())
    if not HAVE_REAL:
        return _simulated_model(series)
    process(series, {}, folder, Context(), steps=KEYS[:4])
    return read_model(
        folder / "position14.fid", series.n_views, series.size, DIAMETER_A / series.pixel_size_a
    )


def all_beads(model: FiducialModel, view: int) -> npt.NDArray[np.float64]:
    """Where beads are known to lie on a view ``(n, 2)``, whether the model has them or not."""
    if HAVE_REAL:
        known = model.xy[:, view]
        return known[np.isfinite(known).all(1)]
    truth = json.loads(stack().with_suffix(".truth.json").read_text())
    return np.array(truth["raw_xy"])[view] - image_centre(*model.size_px)


def _simulated_model(series: TiltSeries) -> FiducialModel:
    truth = json.loads(stack().with_suffix(".truth.json").read_text())
    rng = np.random.default_rng(14)
    xy = np.moveaxis(np.array(truth["raw_xy"]), 0, 1) - image_centre(*series.size)
    inside = (np.abs(xy) < np.array(series.size) / 2 - 12).all(-1)
    usual = np.flatnonzero(inside.sum(1) > 24)[:44]
    seen = inside & (rng.random(inside.shape) > 0.02)
    whole = usual[inside[usual].all(1)][:16]
    seen[whole] = True
    xy = np.where(seen[..., None], xy + rng.normal(0, 0.1, xy.shape), np.nan)[usual]
    return FiducialModel.from_tracks(
        xy, series.size, DIAMETER_A / series.pixel_size_a,
        surface=(np.array(truth["beads"])[usual, 2] > 0).astype(int),
        sigma_px=np.full(xy.shape[:2], 0.1),
    )  # fmt: skip


@dataclass
class Folder:
    """The files of a model in a folder."""

    folder: Path
    series: TiltSeries
    fails: bool = False
    saved: list = field(default_factory=list)

    closed = ""

    @property
    def journal(self):
        return self.folder / "edits.journal"

    def read(self, path):
        return read_foreign(path, self.series, DIAMETER_A / self.series.pixel_size_a)

    def save(self, model, note, numbers):
        if self.fails:
            raise InputError("disk: no space left")
        made = save_version(self.folder, "P14", model, self.series, note=note, numbers=numbers)
        self.saved.append(made)
        return made

    def versions(self):
        return list_versions(self.folder)

    def open(self, version):
        return open_version(version, self.series)


class Person:
    """What a person does with mouse and keys."""

    def __init__(self, qtbot, window: EditorWindow) -> None:
        self.qtbot, self.window = qtbot, window

    @property
    def session(self):
        return self.window.session

    @property
    def model(self) -> FiducialModel:
        return self.window.session.model

    @property
    def log(self) -> str:
        return self.window.layout_.messages.toPlainText()

    def wait(self, what) -> None:
        self.qtbot.waitUntil(what, timeout=60_000)

    def settle(self) -> None:
        """Until the numbers are those of the model and the picture that of the view."""
        w = self.window
        self.wait(lambda: w.session.up_to_date and w.session.live_lane.idle)
        self.wait(lambda: w.zap.view_shown == w.session.current.view)

    def key(self, key, modifiers=Qt.KeyboardModifier.NoModifier) -> None:
        self.qtbot.keyClick(self.window.zap.view, key, modifiers)
        self.wait(lambda: self.window.zap.view_shown == self.window.session.current.view)

    def screen(self, contour: int, view: int | None = None) -> QPointF:
        """Where a point lies on the screen."""
        view = self.window.session.current.view if view is None else view
        return QPointF(*self.window.zap.screen_of(contour, view))

    def at_raw(self, xy) -> QPointF:
        """Where a raw position about the centre lies on the screen."""
        zap = self.window.zap
        x, y = zap.images.source.from_raw(zap.view_shown, np.asarray(xy, float))
        return zap.view.to_screen(float(x), float(y))

    def raw_at(self, at: QPointF):
        zap = self.window.zap
        return zap.images.source.to_raw(zap.view_shown, zap.view.to_image(at))

    def press(self, at: QPointF, button, modifiers=Qt.KeyboardModifier.NoModifier) -> None:
        self._mouse(QEvent.Type.MouseButtonPress, at, button, button, modifiers)

    def move(self, at: QPointF, held=Qt.MouseButton.NoButton) -> None:
        none, plain = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier
        self._mouse(QEvent.Type.MouseMove, at, none, held, plain)

    def release(self, at: QPointF, button, modifiers=Qt.KeyboardModifier.NoModifier) -> None:
        none = Qt.MouseButton.NoButton
        self._mouse(QEvent.Type.MouseButtonRelease, at, button, none, modifiers)

    def click(
        self, at: QPointF, button=Qt.MouseButton.LeftButton,
        modifiers=Qt.KeyboardModifier.NoModifier,
    ) -> None:  # fmt: skip
        self.press(at, button, modifiers)
        self.release(at, button, modifiers)

    def _mouse(self, kind, at, button, buttons, modifiers) -> None:
        # QTest rounds to whole pixels; positions of beads are fractions.
        view = self.window.zap.view
        event = QMouseEvent(kind, at, QPointF(view.mapToGlobal(at.toPoint())), button, buttons,
                            modifiers)  # fmt: skip
        QApplication.sendEvent(view, event)

    def go(self, contour: int, view: int) -> None:
        """Begin at a point."""
        self.window.session.go(Current(view, contour, view))
        self.settle()


def nudge(person, n: int, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for contour in rng.integers(0, 40, n):
        view = int(np.flatnonzero(person.model.flag[contour])[3])
        person.session.go(Current(view, int(contour), view))
        x, y = person.model.xy[contour, view] + rng.normal(size=2)
        person.session.do(MovePoints(((int(contour), view, float(x), float(y)),)))


def send_move(widget, at: QPoint, button) -> None:
    """Move the pointer with a button held down; QTest moves it without."""
    event = QMouseEvent(
        QEvent.Type.MouseMove, QPointF(at), QPointF(widget.mapToGlobal(at)),
        Qt.MouseButton.NoButton, button, Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    QApplication.sendEvent(widget, event)


def spoil(person, places) -> None:
    person.session.do(DeletePoints(tuple(places)))
    person.settle()


def displaced(person, contour=5, view=10, by=(5.0, -4.0)):
    x, y = person.model.xy[contour, view]
    person.session.do(MovePoints(((contour, view, x + by[0], y + by[1]),)))
    person.settle()
    return contour, view
