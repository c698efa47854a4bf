"""Forms of runs and the wizard in the workspace, wired to the project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PyQt6.QtCore import QObject
from PyQt6.QtWidgets import QPushButton, QWidget

from tiltwright.app import chain, describe
from tiltwright.app.estimate import estimate
from tiltwright.app.foresight import foresight
from tiltwright.app.proposed_inputs import proposed_inputs
from tiltwright.engine.errors import TiltwrightError
from tiltwright.engine.model.tilt_series import load_tilt_series
from tiltwright.engine.project.run import Run, Source
from tiltwright.engine.protocols import all_protocols
from tiltwright.engine.protocols.base import Protocol
from tiltwright.engine.protocols.import_tilt_series import ImportTiltSeries
from tiltwright.widgets.form.form_pickers import InputChoice
from tiltwright.widgets.form.protocol_form import FormState, ProtocolForm, RunSettings
from tiltwright.widgets.form.wizard import Wizard, WizardValues
from tiltwright.widgets.form.wizard_params import WizardParams
from tiltwright.widgets.tomogram.specimen_box import SpecimenBox

if TYPE_CHECKING:
    from tiltwright.app.main_window import MainWindow

_NEW = -1


class FormPages(QObject):
    """Opens forms, saves what they hold as runs, and starts them."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._window = window

    # -- opening -----------------------------------------------------------------------------

    def open_new(self, key: str, values: dict[str, Any] | None = None) -> None:
        """The form of a new run of a protocol; inputs are proposed from the selection."""
        protocol = all_protocols()[key]
        given = values if values is not None else self._window.settings.defaults(key)
        self._window.projects.with_project(
            lambda: self._open(f"form:new-{key}", protocol, None, given, self._proposed(protocol))
        )

    def open_run(self, number: int) -> None:
        """The form of a run."""
        project = self._window.project
        if project is None or number not in project.runs:
            return
        run = project.runs[number]
        try:
            protocol = project.protocol(run)
        except TiltwrightError as exc:
            self._window.complain(str(exc))
            return
        inputs = {p: describe.output_id(s.run, s.port) for p, s in run.inputs.items()}
        self._open(f"form:{number}", protocol, run, run.params, inputs)

    def open_crop(self, source: Source, box: SpecimenBox) -> None:
        """The form of a crop of a tomogram, filled from the box in its viewer."""
        edges = ("x0", "x1", "y0", "y1", "z0", "z1")
        values: dict[str, Any] = {
            f"{e[0]}_{'from' if e[1] == '0' else 'to'}": getattr(box, e) + 1 for e in edges
        }
        # A slab that rises by the angle along y lies flat when it is turned back by it.
        values["about_x_deg"] = -box.x_tilt_deg
        self._window.workspace.close_page("form:new-crop")
        protocol = all_protocols()["crop"]
        inputs = {"tomogram": describe.output_id(source.run, source.port)}
        self._open("form:new-crop", protocol, None, values, inputs)

    def open_denoise(self, source: Source, values: dict[str, Any]) -> None:
        """The form of denoising a tomogram, filled from its preview."""
        self._window.workspace.close_page("form:new-denoise")
        protocol = all_protocols()["denoise"]
        inputs = {"tomogram": describe.output_id(source.run, source.port)}
        self._open("form:new-denoise", protocol, None, values, inputs)

    def _proposed(self, protocol: type[Protocol]) -> dict[str, str | None]:
        project = self._window.project
        assert project is not None
        found = proposed_inputs(project, protocol, self._window.selected())
        return {name: describe.output_id(s.run, s.port) for name, s in found.items()}

    def _open(
        self,
        ident: str,
        protocol: type[Protocol],
        run: Run | None,
        values: dict[str, Any],
        inputs: Mapping[str, str | None],
    ) -> None:
        window, project = self._window, self._window.project
        assert project is not None

        def make() -> QWidget:
            below = run.id if run is not None else None
            others = [(str(k), f"{r.label} ({k})") for k, r in project.runs.items() if k != below]
            form = ProtocolForm(
                protocol.Params, protocol.title, help_text=protocol.__doc__ or "",
                citation=protocol.citation, values=values,
                settings=RunSettings(
                    run.label if run else protocol.title, run.comment if run else "",
                    inputs=inputs, wait_for=tuple(map(str, run.wait_for)) if run else (),
                ),
                inputs=[
                    InputChoice(
                        name, port.label, tuple(describe.input_options(project, port, below)),
                        not port.optional,
                    )
                    for name, port in protocol.inputs.items()
                ],
                runs=others, estimate=lambda state: estimate(project, protocol, state),
                read_only=self._locked(run),
            )  # fmt: skip
            form.saved.connect(lambda state: self._save(ident, protocol, run, state, False))
            form.executed.connect(lambda state: self._save(ident, protocol, run, state, True))
            form.closed.connect(lambda: window.workspace.close_page(ident))
            self._foresee(form, ident, protocol, run)
            self._add_default_button(form, protocol)
            if protocol.key == "denoise":
                self._add_preview_button(form)
            return form

        window.docks.workspace.show()
        window.workspace.show_page(ident, run.label if run else f"New: {protocol.title}", make)

    def _foresee(
        self, form: ProtocolForm, ident: str, protocol: type[Protocol], run: Run | None
    ) -> None:
        """Let the form say what the protocol would refuse, now and after each change."""
        background, key = self._window.background, ("foresee", ident)

        def ask() -> None:
            project = self._window.project
            if project is None or not form.is_valid():
                background.cancel(lambda k: k == key)
                return
            state, twin = form.state(), project.snapshot()
            sources = self._sources(run, state)

            def answer(reason: str) -> None:
                if form.is_valid() and form.state() == state:
                    form.show_foreseen(reason)

            background.request(
                key, lambda: foresight(twin, protocol, state.params, sources), answer, later=True
            )

        form.state_changed.connect(ask)
        form.destroyed.connect(lambda: background.cancel(lambda k: k == key))
        ask()

    def _sources(self, run: Run | None, state: FormState) -> dict[str, Source]:
        """The inputs that a form holds; a run for some series of its inputs stays one."""
        project = self._window.project
        assert project is not None
        before = project.runs[run.id].inputs if run is not None else {}
        return {
            name: replace(
                describe.parse_output(value), series=before[name].series if name in before else None
            )
            for name, value in state.inputs.items()
            if value
        }  # fmt: skip

    def _add_default_button(self, form: ProtocolForm, protocol: type[Protocol]) -> None:
        button = QPushButton("Save as default")
        button.setToolTip("New runs of this protocol begin with these parameters")

        def keep() -> None:
            values = form.parameters.values().model_dump(mode="json")
            values.pop("files", None)
            self._window.settings.save_defaults(protocol.key, values)
            self._window.say(f"{protocol.title}: saved as your default parameters")

        button.clicked.connect(keep)
        form.parameters.validity_changed.connect(button.setEnabled)
        form.add_button(button)

    def _add_preview_button(self, form: ProtocolForm) -> None:
        button = QPushButton("Preview…")
        button.setToolTip("Raw and denoised side by side, while you choose the parameters")

        def show() -> None:
            ident = form.pickers["tomogram"].ident()
            if ident is None or not form.parameters.is_valid():
                return
            values = form.parameters.values().model_dump(mode="json")
            try:
                self._window.outputs.open_denoise(describe.parse_output(ident), values=values)
            except TiltwrightError as exc:
                self._window.complain(str(exc))

        button.clicked.connect(show)
        form.add_button(button)

    def _locked(self, run: Run | None) -> str:
        """Why a form cannot be saved, or nothing."""
        project = self._window.project
        if project is not None and project.read_only is not None:
            return f"The project is read-only: {project.read_only}"
        if run is not None and run.status in ("running", "queued"):
            return f"This run is {run.status}; stop it to change it"
        return ""

    # -- saving ------------------------------------------------------------------------------

    def _save(
        self, ident: str, protocol: type[Protocol], run: Run | None, state: FormState, start: bool
    ) -> None:
        window, project = self._window, self._window.project
        assert project is not None
        params = state.params.model_dump(mode="json")
        inputs = self._sources(run, state)
        waits = [int(k) for k in state.wait_for]
        try:
            if run is None:
                run = project.add(
                    protocol.key, params, inputs, state.label, comment=state.comment, wait_for=waits
                )
            else:
                run = project.runs[run.id]
                run.params, run.inputs, run.wait_for = params, inputs, waits
                run.label, run.comment = state.label or protocol.title, state.comment
                project.save(run)
            if start:
                mode: Any = state.mode
                window.jobs.start(run.id, mode)
        except TiltwrightError as exc:
            window.complain(str(exc))
            return
        window.workspace.close_page(ident)
        window.refresh()
        window.runs.select([str(run.id)])
        window.say(f"{run.label}: {'queued' if start else 'saved'}")

    def run_ended(self, number: int) -> None:
        """A form that was locked while its run ran can be used again."""
        ident = f"form:{number}"
        if self._window.workspace.page(ident) is not None:
            self._window.workspace.close_page(ident)
            self.open_run(number)

    # -- the wizard --------------------------------------------------------------------------

    def open_wizard(self) -> None:
        """From tilt series to tomograms on one page."""
        self._window.projects.with_project(self._open_wizard)

    def _open_wizard(self) -> None:
        window = self._window

        def make() -> QWidget:
            page = Wizard(WizardParams, chain.preview, find_series=_series_in)
            page.accepted.connect(self._create_chain)
            page.cancelled.connect(lambda: window.workspace.close_page("page:wizard"))
            page.files_changed.connect(lambda files: self._describe_files(page, files))
            return page

        window.docks.workspace.show()
        window.workspace.show_page("page:wizard", "Wizard", make)

    def _describe_files(self, page: Wizard, files: tuple[Path, ...]) -> None:
        self._window.background.request(
            "wizard files", lambda: {f: _about(f) for f in files}, page.describe_files
        )

    def _create_chain(self, values: WizardValues) -> None:
        window, project = self._window, self._window.project
        assert project is not None
        try:
            runs = chain.create(project, values.files, values.params)
            for run in runs:
                window.jobs.start(run.id)
        except TiltwrightError as exc:
            window.complain(str(exc))
            return
        window.workspace.close_page("page:wizard")
        window.refresh()
        window.runs.select([str(runs[-1].id)])


def _series_in(folder: Path) -> list[Path]:
    try:
        found = ImportTiltSeries.sources(ImportTiltSeries.Params(files=(str(folder),)))
        return sorted(found.values())
    except TiltwrightError:
        return []


def _about(path: Path) -> str:
    """What a series' file says of itself."""
    try:
        series = load_tilt_series(path)
    except TiltwrightError as exc:
        return str(exc).removeprefix(f"{path}: ")
    tilt = series.tilt_deg
    return f"{series.describe()}, tilt {tilt.min():.1f} to {tilt.max():.1f}°"
