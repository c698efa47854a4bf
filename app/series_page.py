"""A tilt series of a project in its viewer: exclusions are saved, alignments compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from PyQt6.QtCore import Qt, pyqtSignal

from tiltwright.app import lineage
from tiltwright.app.page_bar import Choice, Options, put_bar
from tiltwright.engine.errors import InputError, TiltwrightError
from tiltwright.engine.model.tilt_series import Bools, TiltSeries
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source
from tiltwright.widgets.actions import button, make_action
from tiltwright.widgets.icons import drawn_icon
from tiltwright.widgets.lane import Lane
from tiltwright.widgets.series.series_images import Comparison
from tiltwright.widgets.series.tilt_series_viewer import TiltSeriesViewer


class SeriesPage(TiltSeriesViewer):
    """Shows one series of an output, with the fiducial model of the same run.

    Excluded views are saved at once, as a change of this result or of the imported series: with
    the first only what depends on this result is out of date, with the second every branch.

    Signals
    -------
    views_excluded : ()
        Saved already.
    edit_asked : ()
        Edit the beads.
    ctf_asked : (Source)
        Look at the CTF of the series.
    said : (text)
        For the status bar.

    Raises
    ------
    InputError
        Its files are missing or damaged.
    """

    views_excluded = pyqtSignal()
    edit_asked = pyqtSignal()
    ctf_asked = pyqtSignal(object)
    said = pyqtSignal(str)

    def __init__(self, project: Project, source: Source, name: str, lane: Lane) -> None:
        super().__init__(lane=lane)
        self._project, self._source, self._name = project, source, name
        self._where, self._origin = source, source
        self._result: TiltSeries | None = None
        self._other: TiltSeries | None = None
        self.scope = Choice(
            self._scopes, "Whether excluding views changes this result, or the series as imported"
        )
        self.compare_with = Choice(
            self._others, "Another result of the same series, side by side or blinking"
        )
        edit = make_action(
            self, "Edit beads", ["E"], self.edit_asked, "Open the fiducial model in its editor"
        )
        edit.setIcon(drawn_icon("edit_beads"))
        self.edit_button = button(edit, self)
        self.edit_button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        ctf = make_action(
            self, "CTF", ["C"], lambda: self.ctf_asked.emit(self._ctf),
            "Power spectra, rings and defocus of the views",
        )  # fmt: skip
        self.ctf_button = button(ctf, self)
        self._ctf: Source | None = None
        self._ctf_um: Any = None
        self._scope_bar = put_bar(
            self,
            [
                ("Exclusions apply to", self.scope), ("Compare with", self.compare_with),
                ("", self.edit_button), ("", self.ctf_button),
            ],
        )  # fmt: skip
        self.scope.picked.connect(lambda _: self._scope_picked())
        self.compare_with.picked.connect(self._compare)
        self.exclusion_changed.connect(self._save)
        self.load()

    def _scopes(self) -> Options:
        if self._where == self._origin:
            return [(False, "the imported series")]
        return [(False, "this result"), (True, "the imported series")]

    def _others(self) -> Options:
        try:
            return [(None, "–"), *lineage.alternatives(self._project, self._where, self._name)]
        except KeyError:
            return [(None, "–")]

    def load(self) -> None:
        """Read the output anew; the view that is shown stays.

        Raises
        ------
        InputError
            A file is missing or damaged.
        """
        found = lineage.series_and_model(self._project, self._source, self._name)
        if found is None:
            raise InputError(f"{self._name}: the tilt series of this model is not there any more")
        self._where, self._result, model = found
        self._origin = lineage.imported(self._project, self._where.run, self._name) or self._where
        self.scope.fill()
        self.compare_with.fill()
        view = self.current_view if self.series is not None else None
        self.find_ctf()
        self.set_series(self._as_marked(), model, self._other, self._ctf_um)
        self._model = model
        self.edit_button.setEnabled(model is not None)
        if view is not None:
            self.show_view(view)

    def find_ctf(self) -> None:
        """Look for the run that has found the defocus of the views."""
        series = self._result
        assert series is not None
        self._ctf = lineage.ctf_of(self._project, self._where, self._name)
        action = self.ctf_button.defaultAction()
        assert action is not None
        action.setEnabled(self._ctf is not None)
        self._ctf_um = None
        if self._ctf is not None:
            try:
                self._ctf_um = self._project.item(self._ctf, self._name).mean_um_of(series)
            except TiltwrightError as exc:
                self.said.emit(str(exc))
        self.set_defocus(self._ctf_um)

    # -- exclusion ---------------------------------------------------------------------------

    @property
    def _target(self) -> Source:
        """Whose views are excluded."""
        return self._origin if self.scope.value() else self._where

    def _as_marked(self) -> TiltSeries:
        """The result with the exclusions of what they apply to."""
        result = self._result
        assert result is not None
        if self._target == self._where:
            return result
        other = self._project.item(self._target, self._name)
        return replace(
            result,
            excluded=_by_order(other.excluded, other.order, result.order),
            kept=_by_order(other.kept, other.order, result.order),
        )

    def _scope_picked(self) -> None:
        try:
            shown = self._as_marked()
        except TiltwrightError as exc:
            self.said.emit(str(exc))
            return
        # What was changed elsewhere cannot be undone from here.
        self.exclusion.reset(shown.excluded, shown.kept, shown.suspect)
        view = self.current_view
        self.set_series(shown, self._model, self._other, self._ctf_um)
        self.show_view(view)

    def _save(self, excluded: Bools, kept: Bools) -> None:
        result, project = self._result, self._project
        assert result is not None
        try:
            target = project.item(self._target, self._name)
            project.exclude(
                self._target, self._name,
                _by_order(excluded, result.order, target.order),
                _by_order(kept, result.order, target.order),
            )  # fmt: skip
        except TiltwrightError as exc:
            self.said.emit(str(exc))
            return
        self.views_excluded.emit()

    # -- comparison --------------------------------------------------------------------------

    def compare_to(self, source: Source) -> None:
        """Compare with another output of the series."""
        self.compare_with.fill()
        self.compare_with.choose(source)

    def _compare(self, source: Source | None) -> None:
        try:
            self._other = (
                None if source is None else self._project.item(source, self._name)
            )  # fmt: skip
        except TiltwrightError as exc:
            self.said.emit(str(exc))
            return
        view = self.current_view
        self.set_series(self.series, self._model, self._other, self._ctf_um)
        self.show_view(view)
        if self._other is not None:
            aligned = self._other.alignment is not None and self.interpolated_action.isEnabled()
            self.interpolated_action.setChecked(aligned)
            if self.compare.currentText() == Comparison.OFF.value:
                self.compare.setCurrentText(Comparison.SIDE.value)
        elif source is None:
            self.compare.setCurrentText(Comparison.OFF.value)


def _by_order(flags: Bools, order: Any, wanted: Any) -> Bools:
    """Flags of views by acquisition number, for views in another order."""
    chosen: Bools = np.isin(wanted, np.asarray(order)[np.asarray(flags, np.bool_)])
    return chosen
