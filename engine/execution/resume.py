"""Results of the steps of a processed series, kept so that a later command starts from them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import file_error, read_bytes, write_text
from tiltwright.engine.io.hashes import file_hash, value_hash
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.project.store import Place, load, record_hash, save_outputs
from tiltwright.engine.protocols import ORDER

HIDDEN = ".tiltwright"
NOT_KEPT = ("preprocess", "xray-eraser")
"""Steps whose results are large, in memory only, and quicker done again than kept."""
_DAMAGED = (InputError, ValueError, KeyError, TypeError, AttributeError, OSError)


def series_identity(series: TiltSeries) -> str:
    """Identity of a series by the content of its file and what is known of its views."""
    values: list[Any] = [
        file_hash(series.path), series.tilt_deg.tolist(), series.axis_deg,
        series.pixel_size_a, series.excluded.tolist(),
    ]  # fmt: skip
    values += [series.voltage_kv, series.cs_mm, series.amplitude_contrast]
    if series.alignment is not None:
        values += [series.alignment.transforms.tolist(), series.alignment.tilt_deg.tolist()]
    return value_hash(values)


def names_in(folder: Path) -> list[str]:
    """The series whose results are kept in an output folder."""
    return sorted(p.parent.name for p in (folder / HIDDEN).glob("*/chain.json"))


class Steps:
    """The kept steps of one series, in a hidden folder beside its results.

    ``chain.json`` says with which series, parameters and files each step was carried out last,
    and what it wrote; ``KEY/`` holds a step's result where that is not a file of its own.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.output, self.name = folder, name
        self.folder = folder / HIDDEN / name
        self.series: dict[str, Any] = {}
        self.steps: dict[str, dict[str, Any]] = {}
        self._identity: dict[str, str] = {}
        self._inputs: dict[str, list[str]] = {}
        with contextlib.suppress(*_DAMAGED):
            stored = json.loads(read_bytes(self.folder / "chain.json", 1 << 26))
            self.series = dict(stored["series"])
            self.steps = {k: dict(v) for k, v in stored["steps"].items() if k in ORDER}

    @property
    def known(self) -> tuple[str, ...]:
        """Keys of the steps that were carried out, the latest last."""
        return tuple(self.steps)

    def params(self, key: str) -> dict[str, Any]:
        """The parameters with which a step was carried out last."""
        return dict(self.steps.get(key, {}).get("params", {}))

    def begin(self, series: TiltSeries) -> str:
        """Start to name identities: those of the steps follow from that of the series."""
        identity = series_identity(series)
        self._identity = {"tilt_series": identity}
        return identity

    def next_key(self, step: Any, params: Any, given: Mapping[str, Path]) -> str:
        """The identity of the next step's result, from those that give its inputs."""
        before = {port: self._identity[port] for port in step.inputs if port in self._identity}
        known = before | {port: file_hash(path) for port, path in given.items()}
        inputs = [f"{port}:{value}" for port, value in sorted(known.items())]
        key: str = step.run_key(params, [*inputs, *step.source_hashes(params)])
        self._inputs[key] = [value for port, value in before.items() if port not in given]
        self._identity |= dict.fromkeys(step.outputs, key)
        return key

    def _place(self, key: str) -> Place:
        return Place(self.folder / key, self.output)

    def keep(
        self, key: str, identity: str, made: Mapping[str, Any], all_: Mapping[str, Any]
    ) -> None:  # fmt: skip
        """Keep the outputs of a step; raises :class:`InputError` when they cannot be written.

        ``all_`` is what the chain has come to: a fit can only be kept with its model, a CTF table
        with its series.
        """
        if key in NOT_KEPT:
            return
        place = self._place(key)
        try:
            place.own.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise file_error(place.own, exc) from exc
        light = {port: self._light(thing) for port, thing in made.items()}
        series = light.get("tilt_series")
        if series is not None and series.alignment is not None and series.alignment.fit is not None:
            light = {"fiducial_model": all_["fiducial_model"]} | light
        inputs = {} if series is not None else {"tilt_series": all_.get("tilt_series")}
        saved = save_outputs(light, inputs, place)
        records = {port: saved[port] for port in made}
        hashes = {port: record_hash(record, place) for port, record in records.items()}
        stored = {"key": identity, "outputs": records, "hashes": hashes}
        write_text(place.own / "step.json", json.dumps(stored))

    def _light(self, thing: Any) -> Any:
        """A series without its working stack, unless that is a result of its own."""
        if not isinstance(thing, TiltSeries):
            return thing
        if thing.work_path is not None and thing.work_path.parent == self.output:
            return thing
        return replace(
            thing, work=None, work_path=None, binning=1, halves=None, halves_paths=None,
            erased_path=None,
        )  # fmt: skip

    def recall(self, key: str, identity: str, series: TiltSeries) -> dict[str, Any] | None:
        """The kept outputs of a step if they are of just this, untouched; else None.

        ``series`` gives the working stack where it is not kept.
        """
        place = self._place(key)
        try:
            stored = json.loads(read_bytes(place.own / "step.json", 1 << 28))
            if stored["key"] != identity:
                return None
            made = {}
            for port, record in stored["outputs"].items():
                if record_hash(record, place) != stored["hashes"][port]:
                    return None
                thing = load(record, place)
                if isinstance(thing, TiltSeries) and thing.work is None:
                    thing = replace(
                        thing, work=series.work, work_path=series.work_path,
                        binning=series.binning, halves=series.halves,
                        halves_paths=series.halves_paths, erased_path=series.erased_path,
                    )  # fmt: skip
                made[port] = thing
            return made
        except _DAMAGED:
            return None

    def files(self) -> dict[str, list[int]]:
        """Name, time and size of what lies in the output folder under the series' name."""
        longer = [n for n in names_in(self.output) if n.startswith(self.name) and n != self.name]
        found = {}
        with contextlib.suppress(OSError):
            for path in self.output.iterdir():
                mine = path.name.startswith((f"{self.name}.", f"{self.name}_"))
                if mine and not path.name.startswith(tuple(longer) or ("\0",)) and path.is_file():
                    stat = path.stat()
                    found[path.name] = [stat.st_mtime_ns, stat.st_size]
        return found

    def note(
        self, key: str, identity: str, params: Any, given: Mapping[str, Path],
        files: Mapping[str, list[int]],
    ) -> None:  # fmt: skip
        """Remember that a step was carried out, and which files it has written."""
        self.steps.pop(key, None)
        self.steps[key] = {
            "identity": identity, "inputs": self._inputs[identity],
            "params": params.model_dump(mode="json"),
            "given": {port: str(path.absolute()) for port, path in given.items()},
            "files": dict(files),
        }  # fmt: skip

    def save(self) -> None:
        """Write ``chain.json``."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise file_error(self.folder, exc) from exc
        stored = {"series": self.series, "steps": self.steps}
        write_text(self.folder / "chain.json", json.dumps(stored, indent=1))

    def forget_stale(self, source: str) -> None:
        """Forget the results that follow from others than those that are there now.

        They would contradict them. Files that such steps alone have written are removed, unless
        somebody has changed them since; nothing else ever is.
        """
        valid = {source}
        for key in ORDER:
            step = self.steps.get(key)
            if step is None:
                continue
            if set(step["inputs"]) <= valid:
                valid.add(step["identity"])
            else:
                self._forget(key)

    def _forget(self, key: str) -> None:
        mine = self.steps.pop(key)["files"]
        still = {name for step in self.steps.values() for name in step["files"]}
        there = self.files()
        for name, stat in mine.items():
            if name not in still and there.get(name) == stat:
                with contextlib.suppress(OSError):
                    (self.output / name).unlink()
