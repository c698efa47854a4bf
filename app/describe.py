"""A project in the words and numbers that the widgets show. No Qt widgets, no state."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PyQt6.QtGui import QImage

from tiltwright.engine.ctf.judge import MOST_RIVAL
from tiltwright.engine.errors import TiltwrightError
from tiltwright.engine.execution.runner import RunProgress
from tiltwright.engine.io.stack import open_image_stack
from tiltwright.engine.project.marks import changed
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Run, Source
from tiltwright.engine.protocols import all_protocols
from tiltwright.engine.protocols.base import Port
from tiltwright.widgets.form.form_fields import specs_of
from tiltwright.widgets.runs.catalogue import CatalogueEntry
from tiltwright.widgets.runs.run_box import RunBox
from tiltwright.widgets.runs.run_summary import (
    FailedItem,
    InputLine,
    KeyNumber,
    OutputLine,
    RunSummary,
    Thumbnail,
)
from tiltwright.widgets.wording import plain_words

GOOD_RESIDUAL_PX = 1.0
LEAST_COMPLETENESS = 0.7
DAMAGED = (KeyError, TypeError, ValueError, AttributeError, IndexError)
"""What reading a damaged record raises."""
_DOI = re.compile(r"doi:(10\.\S+)")


def catalogue() -> list[CatalogueEntry]:
    """All protocols, with the words by which people look for them."""
    entries = []
    for key, protocol in all_protocols().items():
        words = []
        for name, info in protocol.Params.model_fields.items():
            extra = info.json_schema_extra
            words += [name, str(info.title)]
            if isinstance(extra, dict) and extra.get("imod"):
                words.append(str(extra["imod"]))
        entries.append(
            CatalogueEntry(key, protocol.title, protocol.section, protocol.__doc__ or "",
                           tuple(words))
        )  # fmt: skip
    return entries


def output_id(run: int, port: str) -> str:
    """Identity of an output in forms and links."""
    return f"{run}.{port}"


def parse_output(ident: str) -> Source:
    """The output that :func:`output_id` names."""
    run, _, port = ident.partition(".")
    return Source(int(run), port)


def curated(run: Run, port: str) -> dict[str, Mapping[str, Any]]:
    """The records of an output, with the views that a person excluded or kept since."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, record in sorted(run.outputs.get(port, {}).items()):
        mark = run.excluded.get(port, {}).get(name)
        if mark and record.get("kind") == "tilt_series":
            with contextlib.suppress(*DAMAGED):
                excluded, kept = changed(mark, record["order"], record["excluded"], record["kept"])
                record = {**record, "excluded": excluded.tolist(), "kept": kept.tolist()}
        found[name] = record
    return found


def left_out(record: Mapping[str, Any]) -> dict[int, str]:
    """Views of a series that are not used, 0-based, and why."""
    why = {v: "excluded by hand" for v, out in enumerate(record["excluded"]) if out}
    for v, reason in record["suspect"].items():
        if not record["kept"][int(v)]:
            why.setdefault(int(v), str(reason))
    return dict(sorted(why.items()))


def item_text(record: Mapping[str, Any]) -> str:
    """``41 x 1440 x 1024, 5.52 Å/px +ali`` of one output of one series."""
    try:
        return _item_text(record)
    except DAMAGED:
        return "its record is damaged: run the step again"


def _item_text(record: Mapping[str, Any]) -> str:
    kind = record["kind"]
    if kind == "tilt_series":
        n = len(record["tilt_deg"])
        used = n - len(left_out(record))
        pixel = record["pixel_size_a"] * record["binning"]
        size = record.get("image_size") or [0, 0]
        text = f"{n} x {size[0]} x {size[1]}, {pixel:.4g} Å/px"
        if record["alignment"]:
            text += " +ali"
        if record.get("ctf_corrected"):
            text += " +ctf"
        return text if used == n else f"{text} ({n - used} left out)"
    if kind == "fiducial_model":
        filled = f", {record['n_filled']} filled" if record["n_filled"] else ""
        return f"{record['n_tracks']} contours x {record['n_views']} views{filled}"
    if kind == "ctf_table":
        return str(record["text"])
    nz, ny, nx = record["shape"]
    corrected = " +ctf" if record.get("ctf_corrected") else ""
    return f"{nx} x {ny} x {nz}, {record['pixel_size_a']:.4g} Å/px{corrected}"


def output_text(project: Project, run: Run, port: str) -> str:
    """``2 items, 41 x 1440 x 1024, 5.52 Å/px +ali``."""
    items = curated(run, port)
    if not items:
        return "not computed yet"
    texts = [item_text(r) for r in items.values()]
    first = texts[0] if len(set(texts)) == 1 else f"{texts[0]} …"
    return f"{len(items)} item{'s' if len(items) != 1 else ''}, {first}"


def input_options(project: Project, port: Port, below: int | None) -> list[tuple[str, str, str]]:
    """Outputs that fit an input: id, text, detail."""
    return [
        (
            output_id(k, name),
            f"{project.runs[k].label} · {project.protocol(k).outputs[name].label}  (run {k})",
            output_text(project, project.runs[k], name),
        )
        for k, name in project.choices(port, below)
    ]


def key_number(run: Run) -> str:
    """The number that stands in a run's box."""
    try:
        return _key_number(run)
    except DAMAGED:
        return ""


def _key_number(run: Run) -> str:
    fits = _fits(run)
    if fits:
        return f"{np.mean([f['mean_residual_px'] for f in fits]):.2f} px"
    models = [r for items in run.outputs.values() for r in items.values()
              if r["kind"] == "fiducial_model"]  # fmt: skip
    if models:
        return f"{sum(r['n_tracks'] for r in models)} tracks"
    tables = [r for items in run.outputs.values() for r in items.values()
              if r["kind"] == "ctf_table"]  # fmt: skip
    if len(tables) == 1:
        return _ctf_numbers("", tables[0])[0].text
    shapes = {r["shape"][0] for port, items in run.outputs.items() for r in items.values()
              if r["kind"] == "tomogram" and port != "mask"}  # fmt: skip
    return f"{max(shapes)} voxels thick" if shapes else ""


def _fits(run: Run) -> list[Mapping[str, Any]]:
    return [
        r["alignment"]["fit"]
        for items in run.outputs.values() for r in items.values()
        if r["kind"] == "tilt_series" and r["alignment"] and r["alignment"]["fit"]
    ]  # fmt: skip


def boxes(project: Project, stale: set[int], progress: Mapping[int, RunProgress]) -> list[RunBox]:
    """The runs for the graph and the list."""
    out = []
    for k, run in sorted(project.runs.items()):
        now = progress.get(k)
        title = all_protocols()[run.protocol].title if run.protocol in all_protocols() else "?"
        out.append(
            RunBox(
                str(k), run.label, title, run.status,
                now.part if now else (0.0 if run.status == "running" else None),
                now.remaining_s if now else None,
                len(run.series) or None, k in stale, key_number(run), run.colour,
                tuple(str(p) for p in project.parents(k)), run.comment,
                len([n for n in run.failed if n]), _noun(run),
            )
        )  # fmt: skip
    return out


def _noun(run: Run) -> str:
    """What the items of a run are."""
    kinds = {r.get("kind") for items in run.outputs.values() for r in items.values()}
    if kinds == {"tomogram"}:
        return "tomogram" if len(run.series) == 1 else "tomograms"
    return "TS"


def summary(
    project: Project, run: Run, stale: bool, thumbnails: tuple[Thumbnail, ...]
) -> RunSummary:
    """Everything that the tabs below show of a run."""
    protocol = all_protocols().get(run.protocol)
    if protocol is None:
        return RunSummary(str(run.id), run.label, run.status, status_text="unknown protocol")
    inputs = tuple(
        InputLine(
            protocol.inputs[port].label, project.runs[s.run].label,
            output_text(project, project.runs[s.run], s.port)
            + (f"; only {', '.join(s.series)}" if s.series is not None else ""),
            str(s.run), s.port,
        )
        for port, s in run.inputs.items() if s.run in project.runs and port in protocol.inputs
    )  # fmt: skip
    outputs = tuple(
        OutputLine(
            port, output_text(project, run, port), tuple(sorted(run.outputs[port])), declared.label
        )
        for port, declared in protocol.outputs.items() if port in run.outputs
    )  # fmt: skip
    words = ""
    if run.status in ("failed", "aborted") and run.failed:
        # Why single series were left out stands in a list of its own.
        words = plain_words(run.failed.get("", ""))
    elif run.status == "interrupted":
        words = "Tiltwright ended while it ran. Continue keeps the series that are done."
    elif stale:
        words = "Its inputs or parameters have changed since: run it again."
    elif run.finished and run.status == "finished":
        words = (
            f"{run.seconds:.1f} s, {time.strftime('%Y-%m-%d %H:%M', time.localtime(run.finished))}"
        )
    notes = tuple(f"{name}: {note}" for name, lines in run.notes.items() for note in lines)
    inspect = notes + ((protocol.inspect,) if protocol.inspect else ())
    prose, citations = methods(project, run)
    return RunSummary(
        str(run.id), run.label, run.status, stale, words, inputs, outputs, numbers(run), thumbnails,
        tuple(FailedItem(n, plain_words(why)) for n, why in run.failed.items() if n), inspect,
        prose, citations,
        bibtex(citations),
    )  # fmt: skip


def numbers(run: Run) -> tuple[KeyNumber, ...]:
    """Numbers that judge a run."""
    out: list[KeyNumber] = []
    with contextlib.suppress(*DAMAGED):
        _add_numbers(run, out)
    return tuple(out)


def _add_numbers(run: Run, out: list[KeyNumber]) -> None:
    for port in run.outputs:
        for name, record in curated(run, port).items():
            fit = (record.get("alignment") or {}).get("fit")
            if fit:
                out += _fit_numbers(name, fit)
            if record["kind"] == "tilt_series":
                out += _views_left_out(name, record)
            elif record["kind"] == "fiducial_model":
                used = record["n_points"] / max(record["n_tracks"] * record["n_views"], 1)
                enough = used >= LEAST_COMPLETENESS
                out += [
                    KeyNumber("Contours", str(record["n_tracks"]), series=name),
                    KeyNumber(
                        "Complete", f"{100 * used:.0f} %", "good" if enough else "check",
                        "measured points / (contours x views)", name,
                    ),
                ]  # fmt: skip
            elif record["kind"] == "ctf_table":
                out += _ctf_numbers(name, record)
            elif record["kind"] == "tomogram" and port != "mask":
                nz = record["shape"][0]
                nm = nz * record["pixel_size_a"] / 10
                out.append(KeyNumber("Thickness", f"{nz} voxels, {nm:.0f} nm", series=name))


def _fit_numbers(name: str, fit: Mapping[str, Any]) -> list[KeyNumber]:
    mean, loo = fit["mean_residual_px"], fit["leave_one_out_px"]
    good = mean < GOOD_RESIDUAL_PX
    why = f"solved: {fit['variables']}" if good else "above 1 px: look at the beads"
    return [
        KeyNumber("Mean residual", f"{mean:.3f} px", "good" if good else "check", why, name),
        KeyNumber(
            "Leave-one-out error", f"{loo:.3f} px", "",
            "Each point predicted by a solution that was made without it", name,
        ),
    ]  # fmt: skip


_HANDS = {1: "as it is", -1: "inverted", 0: "undetermined"}


def _ctf_numbers(name: str, record: Mapping[str, Any]) -> list[KeyNumber]:
    """Defocus, and what its gradient said on the hand."""
    hand, agreed = record["hand"], record["hand_confidence"]
    words = _HANDS[hand] + (f", {100 * agreed:.0f} % agreement" if hand and agreed else "")
    range_um = str(record["text"]).rpartition("defocus ")[2]
    rival = record.get("rival", 0.0)
    defocus = KeyNumber("Defocus", range_um, series=name)
    if rival > MOST_RIVAL:
        why = f"Not proven: other rings explain the spectra {100 * rival:.0f} % as well"
        defocus = KeyNumber("Defocus", f"{range_um}, not proven", "check", why, name)
    return [
        defocus,
        KeyNumber(
            "Hand", words, "good" if hand else "check",
            "By the defocus gradient: which side of the tilt axis is nearer to focus", name,
        ),
    ]  # fmt: skip


def _views_left_out(name: str, record: Mapping[str, Any]) -> list[KeyNumber]:
    """Views that a person excluded, and those that a step found bad."""
    why = left_out(record)
    if not why:
        return []
    views = ", ".join(str(v + 1) for v in why) if len(why) <= 5 else f"{len(why)} views"
    reasons = "\n".join(f"view {v + 1}: {reason}" for v, reason in why.items())
    return [KeyNumber("Views left out", views, "check", reasons, name)]


def methods(project: Project, run: Run) -> tuple[str, tuple[str, ...]]:
    """Prose for a paper on a run and all that it stands on, and its citations."""
    sentences, citations = [], []
    for k in sorted(project.ancestors([run.id])):
        step = project.runs[k]
        protocol = all_protocols().get(step.protocol)
        if protocol is None:
            continue
        differs = [
            f"{spec.label.lower()} {spec.text_of(step.params[spec.name])}"
            for spec in specs_of(protocol.Params)
            if spec.name != "files"
            and step.params.get(spec.name) is not None
            and step.params[spec.name] != spec.default
        ]
        n = len(step.series)
        what = (protocol.__doc__ or protocol.title).strip().split("\n")[0]
        with_ = f" ({', '.join(differs)})" if differs else ""
        sentences.append(f"{protocol.title}{with_}: {what}" + (f" {n} tilt series." if n else ""))
        if protocol.citation and protocol.citation not in citations:
            citations.append(protocol.citation)
    return "Processed with Tiltwright.\n" + "\n".join(sentences), tuple(citations)


def bibtex(citations: tuple[str, ...]) -> str:
    """Entries for the citations that have a DOI."""
    entries = []
    for text in citations:
        found = _DOI.search(text)
        words = text.split(",")[0]
        key = re.sub(r"\W", "", words)
        doi = f",\n  doi = {{{found[1].rstrip('.')}}}" if found else ""
        entries.append(f"@article{{{key},\n  note = {{{text}}}{doi}\n}}")
    return "\n\n".join(entries)


def thumbnail_of(project: Project, run: Run, port: str, name: str) -> Thumbnail | None:
    """A small picture of an output; reads files, so it belongs into the background."""
    try:
        record = run.outputs[port][name]
        place = project.place(run)
        if record["kind"] == "tilt_series":
            path: Path = place.path(record["work"] or record["path"])
            view = int(np.argmin(np.abs(record["tilt_deg"])))
            if path.suffix == ".mdoc":
                image = np.asarray(project.item(Source(run.id, port), name).stack[view])
            else:
                stack = open_image_stack(path)[0]
                step = max(1, max(stack.shape[1:]) // 256)
                image = np.asarray(stack[view][::step, ::step])
        elif record["kind"] == "tomogram":
            data = project.item(Source(run.id, port), name).data
            step = max(1, max(data.shape[1:]) // 256)
            image = np.asarray(data[data.shape[0] // 2, ::step, ::step])
        else:
            return None
        return Thumbnail(name, port, name, _picture(image))
    except (TiltwrightError, KeyError, OSError, ValueError):
        return None


def _picture(image: npt.NDArray[Any]) -> QImage:
    a = np.nan_to_num(np.asarray(image, np.float32))
    low, high = np.percentile(a, (0.5, 99.5))
    grey = np.clip((a - low) * (255 / max(high - low, 1e-6)), 0, 255).astype(np.uint8)[::-1]
    grey = np.ascontiguousarray(grey)
    ny, nx = grey.shape
    return QImage(grey.data, nx, ny, nx, QImage.Format.Format_Grayscale8).copy()
