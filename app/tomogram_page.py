"""A tomogram of a project in its viewer, with the beads of its alignment and a mask to correct."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PyQt6.QtCore import pyqtSignal

from tiltwright.app import lineage
from tiltwright.app.page_bar import Choice, Options, put_bar
from tiltwright.app.scene_row import SceneRow
from tiltwright.engine.errors import InputError, TiltwrightError
from tiltwright.engine.model.tomogram import Tomogram
from tiltwright.engine.project.edited_mask import EditedMask
from tiltwright.engine.project.mask_journal import MaskJournal
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source
from tiltwright.widgets.actions import button, make_action
from tiltwright.widgets.lane import Lane
from tiltwright.widgets.tomogram.plane_set import Beads
from tiltwright.widgets.tomogram.tomogram_viewer import TomogramViewer
from tiltwright.widgets.wording import plain_words

if TYPE_CHECKING:
    from tiltwright.engine.project.versions import Version
    from tiltwright.engine.volume.mask_edit import Stroke


class TomogramPage(TomogramViewer):
    """Shows one tomogram of an output; a mask is shown over the tomogram that it was made of.

    Strokes on a mask are kept in a journal at once; saving makes a new version of it the result of
    its run.

    Signals
    -------
    said : (text)
        For the status bar.
    mask_saved : ()
        What depends on the mask is out of date.
    denoise_asked : (voxel)
        Choose how to denoise it, beginning at this voxel.

    Raises
    ------
    InputError
        Its file is missing or damaged.
    """

    said = pyqtSignal(str)
    mask_saved = pyqtSignal()
    denoise_asked = pyqtSignal(object)

    def __init__(self, project: Project, source: Source, name: str, lane: Lane) -> None:
        super().__init__(lane=lane)
        self._project, self._source, self._name = project, source, name
        self._where = source
        self._bead_list: Beads | None = None
        self._edited: EditedMask | None = None
        self._journal: MaskJournal | None = None
        self.compare_with = Choice(
            self._others, "Another tomogram of the same series, with one cursor"
        )
        self.mask_of = Choice(self._masks, "A mask of the same series, to be seen and corrected")
        denoise = make_action(
            self, "Denoise…", ["N"], lambda: self.denoise_asked.emit(self.first.cursor_voxel),
            "Raw and denoised side by side, while you choose the parameters",
        )  # fmt: skip
        put_bar(
            self,
            [
                ("Compare with", self.compare_with), ("Mask", self.mask_of),
                ("", button(denoise, self)),
            ],
        )  # fmt: skip
        self.scene = SceneRow(self)
        self.scene.said.connect(self.said)
        column = self.layout()
        assert column is not None
        column.addWidget(self.scene)
        self.compare_with.picked.connect(self._compare)
        self.mask_of.picked.connect(self._mask_picked)
        self.masks.stroked.connect(self._note)
        self.masks.save_asked.connect(self.save_mask)
        lane.failed.connect(self._failed)
        self.load()

    @property
    def where(self) -> Source:
        """The output whose tomogram is shown: not that of the page when this is a mask."""
        return self._where

    def _others(self) -> Options:
        try:
            return [(None, "–"), *lineage.alternatives(self._project, self._where, self._name)]
        except KeyError:
            return [(None, "–")]

    def _masks(self) -> Options:
        return [(None, "–"), *lineage.masks(self._project, self._name)]

    def load(self) -> None:
        """Read the output anew; unsaved strokes on its mask stay.

        Raises
        ------
        InputError
            Its file is missing or damaged.
        """
        self._where = lineage.below_mask(self._project, self._source, self._name)
        tomogram: Tomogram = self._project.item(self._where, self._name)
        _ = tomogram.data  # opened here, so that what is wrong is said here
        first = self.tomogram is None
        cursor, other = self.first.cursor_voxel, self.second.tomogram
        self.first.title = self._project.runs[self._where.run].label
        self.compare_with.fill()
        self.mask_of.fill()
        self.set_tomogram(tomogram, other, self._beads_of())
        if not first:
            self.set_cursor(*cursor)
        mask = lineage.mask_of(self._project, self._source, self._name)
        if first and mask is not None:
            self.mask_of.choose(mask)
        else:
            self._mask_picked(self.mask_of.value())
        self.scene.set_script(lineage.script_of(self._project, self._source, self._name))

    def _beads_of(self) -> Beads | None:
        try:
            self._bead_list = lineage.beads(self._project, self._where, self._name)
        except TiltwrightError as exc:
            self.said.emit(str(exc))
            self._bead_list = None
        return self._bead_list

    def compare_to(self, source: Source) -> None:
        """Show another tomogram of the series beside it."""
        self.compare_with.fill()
        self.compare_with.choose(source)

    def _compare(self, source: Source | None) -> None:
        try:
            other = None if source is None else self._project.item(source, self._name)
            _ = other.data if other is not None else None
        except TiltwrightError as exc:
            self.said.emit(str(exc))
            return
        cursor, box = self.first.cursor_voxel, self.box
        editor, surface = self.masks.editor, self.surface_action.isChecked()
        self.second.title = "" if source is None else self._project.runs[source.run].label
        self.set_tomogram(self.tomogram, other, self._bead_list)
        self.set_cursor(*cursor)
        if editor is not None:
            self.set_mask(editor, editable=self._locked() == "")
            self.surface_action.setChecked(surface)
        if box is not None:
            self.set_box(box)
            self.box_action.setChecked(True)

    # -- the mask ----------------------------------------------------------------------------

    def _locked(self) -> str:
        """Why the mask cannot be changed, or nothing."""
        owner = self._project.read_only
        return f"read-only: {owner}" if owner is not None else ""

    def _mask_picked(self, source: Source | None) -> None:
        from tiltwright.engine.volume.mask_edit import MaskEditor, open_mask

        self._edited = self._journal = None
        if source is None or self.tomogram is None:
            self.set_mask(None)
            return
        try:
            edited = EditedMask(self._project, source, self._name)
            mask = edited.load()
            editor = MaskEditor(open_mask(mask.path, self.tomogram.shape))
            journal = MaskJournal(edited.folder / "strokes.journal", mask.path)
            locked = self._locked()
            count = 0 if locked else journal.recover(editor)
        except TiltwrightError as exc:
            self.set_mask(None)
            self.mask_of.blockSignals(True)
            self.mask_of.setCurrentIndex(0)
            self.mask_of.blockSignals(False)
            self._complain(str(exc))
            return
        self._edited, self._journal = edited, journal
        words = locked or (
            f"{count} changes from before are not saved; Ctrl+Z takes them back" if count else ""
        )
        self.message.setText("")
        self.set_mask(editor, words, editable=not locked)

    def _complain(self, text: str) -> None:
        self.message.setText(plain_words(text))
        self.said.emit(text)

    def _note(self, stroke: Stroke) -> None:
        if self._journal is None:
            return
        try:
            self._journal.note(stroke)
        except InputError as exc:
            self._complain(str(exc))

    def save_mask(self) -> None:
        """Write the mask as a new version, in the background."""
        edited, editor = self._edited, self.masks.editor
        if edited is None or editor is None:
            return
        try:
            edited.check_free()
        except InputError as exc:
            self._complain(str(exc))
            return
        self.masks.set_saving(True)
        self.message.setText("Saving the mask …")
        self.lane.request(
            (id(self), "save"), lambda: edited.write(editor.mask, ""),
            lambda version: self._saved(edited, version),
        )  # fmt: skip

    def _saved(self, edited: EditedMask, version: Version) -> None:
        self.masks.set_saving(False)
        self.message.setText("")
        try:
            edited.use(version)
            if self._journal is not None:
                self._journal.clear()
            self._journal = MaskJournal(edited.folder / "strokes.journal", edited.load().path)
        except InputError as exc:
            self._complain(str(exc))
            return
        self.masks.mark_saved(f"Saved as version {version.number}")
        self.said.emit(f"{self._name}: mask saved as version {version.number}")
        self.mask_saved.emit()
        self.message.setText("Making the mesh of the mask …")
        # of the file, so that painting and looking go on
        self.lane.request(
            (id(self), "mesh"), lambda: edited.mesh(version),
            lambda _: self.message.setText(""), later=True,
        )  # fmt: skip

    def _failed(self, key: Any, text: str) -> None:
        if key == (id(self), "save"):
            self.masks.set_saving(False)
            self._complain(text.partition(": ")[2] or text)
        elif key == (id(self), "mesh"):
            self._complain(f"mesh: {text.partition(': ')[2] or text}")
