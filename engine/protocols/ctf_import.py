"""Import of CTF tables that other programs have made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.ctf_text import read_ctf
from tiltwright.engine.io.hashes import file_hash
from tiltwright.engine.model.ctf_table import CtfTable, table_of_rows
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, parameter

_ENDINGS = (".defocus", ".xml", ".star", ".txt")


class CtfImport(Protocol):
    """Take over defocus tables of Warp, CTFFIND, Gctf, RELION or IMOD; views by acquisition."""

    key = "ctf-import"
    title = "Import CTF"
    section = "CTF"
    inspect = "Defocus against tilt: smooth, in the expected range, the same number of views."
    inputs: ClassVar = {"tilt_series": Port(TiltSeries, "Tilt series")}
    outputs: ClassVar = {"ctf_table": Port(CtfTable, "Imported CTF")}

    class Params(base.Parameters):
        files: tuple[Path, ...] = parameter(
            (), label="Files or folders",
            help="Warp XML, CTFFIND text, Gctf or RELION star, IMOD .defocus; each is given to the "
            "series whose name its name begins with. Empty: beside the stack of each series.",
        )  # fmt: skip

    @classmethod
    def source_hashes(cls, params: Any) -> list[str]:
        """Identity of the files that were named."""
        return [f"{p.name}:{file_hash(p)}" for p in _all_files(params.files)]

    @classmethod
    def foresee(cls, inputs: Mapping[str, Any], params: Any) -> dict[str, Any]:
        """The table itself: reading it takes no time."""
        series: TiltSeries = inputs["tilt_series"]
        path = _file_of(series, params.files)
        return {"ctf_table": table_of_rows(read_ctf(path), series, path)}

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Read the table of one series."""
        series: TiltSeries = inputs["tilt_series"]
        path = _file_of(series, params.files)
        table = cls.foresee(inputs, params)["ctf_table"]
        context.say(f"{path.name}: {table.describe()}")
        missing = int((series.used & (table.row_of_view(series) < 0)).sum())
        if missing:
            context.note(f"{path.name} says nothing on {missing} views in use")
        return {"ctf_table": table}


def _all_files(given: tuple[Path, ...]) -> list[Path]:
    out: list[Path] = []
    for path in given:
        plain = path.expanduser()
        if plain.is_dir():
            out += sorted(p for p in plain.iterdir() if p.suffix in _ENDINGS and p.is_file())
        elif plain.is_file():
            out.append(plain)
        else:
            raise InputError(f"{plain}: no such file or folder")
    return out


def _file_of(series: TiltSeries, given: tuple[Path, ...]) -> Path:
    """The file of a series: by its name, or the only one."""
    folder = series.path.parent
    files = _all_files(given) if given else _all_files((folder,))
    for name in (series.name, series.path.stem):
        whole = [p for p in files if p.stem == name]
        begun = [p for p in files if p.name.startswith(name) and not p.name[len(name)].isalnum()]
        if whole or begun:
            return (whole or begun)[0]
    if len(given) == 1 and given[0].expanduser().is_file():
        return files[0]
    where = ", ".join(str(p) for p in given) or str(folder)
    raise InputError(f"{where}: no CTF file whose name begins with {series.name}")
