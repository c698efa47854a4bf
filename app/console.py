"""A Python console inside the window, with the project at hand."""

from __future__ import annotations

from typing import Any

from PyQt6.QtWidgets import QVBoxLayout, QWidget

from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source

BANNER = """Tiltwright console. Names at hand:
  project          the open project (project.runs, project.item(Source(run, port), name), ...)
  run, item()      the selected run, and an object of its outputs: item(port, series)
  engine           the numerics:  engine.recon, engine.solve, engine.fiducials, ...
  np               numpy
Examples:
  run.outputs.keys();  ts = item('tilt_series');  ts.alignment.fit.mean_residual_px
  np.asarray(ts.images[20]).mean()
"""


def names(project: Project | None, number: int | None) -> dict[str, Any]:
    """What the console knows when this run is selected."""
    import numpy as np

    from tiltwright import engine

    def item(port: str = "", name: str = "") -> Any:
        """An object of the selected run: of its first output and first series by default."""
        if project is None or number not in project.runs:
            raise LookupError("select a run first")
        outputs = project.runs[number].outputs
        if not outputs:
            raise LookupError("the run has no results yet")
        port = port or next(iter(outputs))
        return project.item(Source(number, port), name or next(iter(outputs[port])))

    run = project.runs.get(number) if project is not None and number is not None else None
    return {
        "project": project, "engine": engine, "np": np, "Source": Source, "run": run, "item": item,
    }  # fmt: skip


class Console(QWidget):
    """An in-process qtconsole; the kernel starts with the widget."""

    def __init__(self, names: dict[str, Any], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        from qtconsole.inprocess import QtInProcessKernelManager
        from qtconsole.rich_jupyter_widget import RichJupyterWidget

        from tiltwright.widgets.theme import is_dark

        self.manager = QtInProcessKernelManager()
        self.manager.start_kernel(show_banner=False)
        self.manager.kernel.gui = "qt"
        client = self.manager.client()
        client.start_channels()
        self.widget = RichJupyterWidget()
        self.widget.banner = BANNER
        self.widget.set_default_style("linux" if is_dark() else "lightbg")
        self.widget.kernel_manager, self.widget.kernel_client = self.manager, client
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.widget)
        self.push(names)

    def push(self, names: dict[str, Any]) -> None:
        """Make names known."""
        self.manager.kernel.shell.push(names)

    def shutdown(self) -> None:
        """End the kernel, with the thread that writes its history."""
        history = self.manager.kernel.shell.history_manager
        self.widget.kernel_client.stop_channels()
        self.manager.shutdown_kernel()
        writer = getattr(history, "save_thread", None)
        if writer is not None:
            writer.stop()
