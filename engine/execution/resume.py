"""Results of the steps of a processed series, kept so that a later command starts from them."""

from __future__ import annotations

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

KEPT = ("coarse-prealignment", "fiducial-model", "fiducial-alignment")
"""Steps whose results are small; preprocessing is quicker done again than kept."""


class Steps:
    """The kept steps of one series, in a hidden folder beside its results."""

    def __init__(self, folder: Path, series: TiltSeries) -> None:
        self.folder = folder / ".tiltwright" / series.name
        self._key = value_hash(
            [
                file_hash(series.path), series.tilt_deg.tolist(), series.axis_deg,
                series.pixel_size_a, series.excluded.tolist(),
            ]
        )  # fmt: skip

    def next_key(self, step: Any, params: Any) -> str:
        """The identity of the next step's result, after all those asked for before."""
        self._key = step.run_key(params, [self._key])
        return self._key

    def _place(self, key: str) -> Place:
        return Place(self.folder / key, self.folder)

    def keep(self, key: str, identity: str, made: Mapping[str, Any]) -> None:
        """Keep the outputs of a step; raises :class:`InputError` when they cannot be written."""
        place = self._place(key)
        try:
            place.own.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise file_error(place.own, exc) from exc
        # The working stack stays in memory.
        light = {
            port: replace(
                thing, work=None, work_path=None, binning=1, halves=None, halves_paths=None,
                erased_path=None,
            )
            if isinstance(thing, TiltSeries) else thing
            for port, thing in made.items()
        }  # fmt: skip
        records = save_outputs(light, {}, place)
        hashes = {port: record_hash(record, place) for port, record in records.items()}
        stored = {"key": identity, "outputs": records, "hashes": hashes}
        write_text(place.own / "step.json", json.dumps(stored))

    def recall(self, key: str, identity: str, series: TiltSeries) -> dict[str, Any] | None:
        """The kept outputs of a step if they are of just this, untouched; else None.

        ``series`` gives the working stack.
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
                if isinstance(thing, TiltSeries):
                    thing = replace(
                        thing, work=series.work, work_path=series.work_path,
                        binning=series.binning, halves=series.halves,
                        halves_paths=series.halves_paths, erased_path=series.erased_path,
                    )  # fmt: skip
                made[port] = thing
            return made
        except (InputError, ValueError, KeyError, TypeError, AttributeError):
            return None
