"""The figures of the report, each a piece of HTML."""

from __future__ import annotations

import base64
import math
import warnings

import numpy as np
import numpy.typing as npt

from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.report.png import encode_png, grey
from tiltwright.engine.report.svg import Plot, finite_range, number, text

Mask = npt.NDArray[np.bool_]


def key(*entries: tuple[str, str]) -> str:
    """A legend: pairs of a class and what it stands for."""
    return (
        '<p class="key">'
        + "".join(f'<span><i class="{kind}"></i>{text(name)}</span>' for kind, name in entries)
        + "</p>"
    )


def mean(values: Floats, axis: int) -> Floats:
    """Mean of the finite values along ``axis``, NaN where there are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        out: Floats = np.nanmean(values, axis=axis)
    return out


def data_uri(image: npt.ArrayLike) -> tuple[str, int, int]:
    """PNG of ``image`` (row 0 at the bottom) as a data address, with its width and height."""
    pixels = grey(image)
    code = base64.b64encode(encode_png(pixels)).decode("ascii")
    return f"data:image/png;base64,{code}", pixels.shape[1], pixels.shape[0]


def tracks(
    measured: Floats | None,
    surface: npt.NDArray[np.generic] | None,
    size: tuple[int, int],
    thumbnail: npt.ArrayLike | None,
    used: Mask,
    reference: int,
) -> str:
    """Draw the measured tracks of the used views over view ``reference``, circles in it."""
    nx, ny = size
    width = min(1100, round(860 * nx / ny))
    out = [
        f'<svg class="tracks" style="max-width:{width}px" viewBox="0 0 {nx} {ny}" role="img" '
        'aria-label="Tracks">'
    ]
    if thumbnail is not None:
        uri, _, _ = data_uri(thumbnail)
        out.append(f'<image href="{uri}" width="{nx}" height="{ny}" preserveAspectRatio="none"/>')
    else:
        out.append(f'<rect class="blank" width="{nx}" height="{ny}"/>')
    unit = max(nx, ny) / 1000
    for t, track in enumerate(measured if measured is not None else ()):
        kind = "s0" if surface is None else f"s{int(float(surface[t]) > 0.5)}"
        ok = used & np.isfinite(track).all(axis=1)
        if not ok.any():
            continue
        x, y = track[ok, 0] + nx / 2, ny / 2 - track[ok, 1]
        path = "L".join(f"{a:.0f} {b:.0f}" for a, b in zip(x, y, strict=True))
        middle = int(np.argmin(np.abs(np.flatnonzero(ok) - reference)))
        out.append(
            f'<g class="track {kind}"><title>bead {t + 1}: {int(ok.sum())} views</title>'
            f'<path d="M{path}"/><circle cx="{x[middle]:.0f}" cy="{y[middle]:.0f}" '
            f'r="{6 * unit:.1f}"/></g>'
        )
    return "".join(out) + "</svg>"


def geometry_plots(geometry: ViewGeometry, nominal: Floats, used: Mask) -> str:
    """Rotation, shifts, tilt correction and magnification per view."""
    n = geometry.n_views
    left_out = [int(v) for v in np.flatnonzero(~used)]
    blank = np.where(used, 0.0, np.nan)
    rotation = -geometry.axis_deg + blank
    shift = geometry.shift_px + blank[:, None]
    tilt = geometry.tilt_deg - nominal + blank
    size = geometry.magnification + blank
    figures = [
        ("Rotation (minus tilt axis angle), degrees", [(rotation, "rotation", "a")], 0.5),
        ("Shift x and y, raw pixels", [(shift[:, 0], "x", "a"), (shift[:, 1], "y", "b")], 4.0),
        ("Tilt minus nominal, degrees", [(tilt, "difference", "a")], 0.5),
        ("Magnification", [(size, "magnification", "a")], 0.01),
    ]
    out = []
    for title, lines, least in figures:
        plot = Plot(title, n, finite_range(*(v for v, _, _ in lines), least=least))
        plot.band(left_out, "left out")
        for values, name, kind in lines:
            plot.line(values, name, kind)
        legend = key(("a", "x"), ("b", "y")) if len(lines) > 1 else ""
        out.append(f"<figure>{plot.svg()}{legend}</figure>")
    return "".join(out)


def residual_plots(residual: Floats | None, loo: Floats | None, used: Mask) -> str:
    """Mean residual and leave-one-out error per view and per bead."""
    rows: list[tuple[str, str, Floats]] = []
    if residual is not None:
        rows.append(("mean residual", "a", np.hypot(residual[..., 0], residual[..., 1])))
    if loo is not None:
        rows.append(("leave-one-out", "b", np.asarray(loo, dtype=np.float64)))
    if not rows:
        return ""
    out = []
    for name, axis in (("view", 0), ("bead", 1)):
        means = [mean(np.where(used, values, np.nan), axis) for _, _, values in rows]
        top = finite_range(*means, least=0.1, zero=True)
        plot = Plot(f"Mean error per {name}, raw pixels", len(means[0]), top, name)
        if axis == 0:
            plot.band([int(v) for v in np.flatnonzero(~used)], "left out")
        for slot, ((label, kind, _), values) in enumerate(zip(rows, means, strict=True)):
            plot.bars(values, label, kind, slot, len(rows))
        legend = key(*((kind, label) for label, kind, _ in rows))
        out.append(f"<figure>{plot.svg()}{legend}</figure>")
    return "".join(out)


def completeness_map(measured: Floats, used: Mask) -> str:
    """Beads by views: measured, gap, or excluded."""
    n_tracks, n_views = measured.shape[:2]
    found: Mask = np.isfinite(measured[..., 0]) & np.isfinite(measured[..., 1])
    cell_x, cell_y = 1100 / max(n_views, 1), min(14.0, 560 / max(n_tracks, 1))
    height = n_tracks * cell_y
    left, gap_x, gap_y = 40, min(1.5, cell_x * 0.15), min(1.5, cell_y * 0.15)
    out = [
        f'<svg class="map" viewBox="0 0 {left + 1105} {height + 36:.0f}" role="img" '
        'aria-label="Completeness"><rect class="gap-fill" '
        f'x="{left}" y="0" width="1100" height="{height:.1f}"/>'
    ]
    measured_path = []
    for t in range(n_tracks):
        for v in map(int, np.flatnonzero(found[t] & used)):
            measured_path.append(
                f"M{left + v * cell_x:.1f} {t * cell_y:.1f}h{cell_x - gap_x:.1f}"
                f"v{cell_y - gap_y:.1f}h-{cell_x - gap_x:.1f}z"
            )
    out.append(f'<path class="measured" d="{"".join(measured_path)}"/>')
    for v in map(int, np.flatnonzero(~used)):
        out.append(
            f'<rect class="excluded" x="{left + v * cell_x:.1f}" y="0" '
            f'width="{cell_x - gap_x:.1f}" height="{height:.1f}">'
            f"<title>view {v + 1}: excluded</title></rect>"
        )
    every = max(1, math.ceil(n_tracks / 12))
    for t in range(0, n_tracks, every):
        out.append(
            f'<text class="tick end" x="{left - 6}" y="{(t + 0.5) * cell_y + 4:.1f}">{t + 1}</text>'
        )
    every = max(1, math.ceil(n_views / 24))
    for v in range(0, n_views, every):
        out.append(
            f'<text class="tick mid" x="{left + (v + 0.5) * cell_x:.1f}" '
            f'y="{height + 14:.1f}">{v + 1}</text>'
        )
    out.append(f'<text class="tick mid" x="{left + 550}" y="{height + 30:.1f}">view</text></svg>')
    legend = key(("measured", "measured"), ("gap-fill", "gap"), ("excluded", "view left out"))
    return f"<figure>{''.join(out)}{legend}</figure>"


def scale_bar_nm(width_px: int, pixel_a: float) -> int:
    """The longest round bar (nm) that is no longer than a quarter of the width."""
    most = width_px * pixel_a / 10 / 4
    if not math.isfinite(most) or most < 1:
        return 0
    power = 10 ** math.floor(math.log10(most))
    return int(next(m for m in (5, 2, 1) if m * power <= most) * power)


def slice_figure(name: str, image: Floats, pixel_a: float | None, across: int) -> str:
    """One central slice with a scale bar, on a page that is ``across`` tomogram pixels wide."""
    ny, nx = image.shape
    uri, width, height = data_uri(image)
    bar = ""
    caption = f"{name}, {nx} × {ny} pixels"
    if pixel_a is not None and (length := scale_bar_nm(nx, pixel_a)):
        part = length * 10 / pixel_a / nx * 100
        bar = f'<span class="scale" style="width:{part:.2f}%">{length} nm</span>'
        caption += f", {number(pixel_a, 2)} Å per pixel"
    return (
        f'<figure class="slice" style="width:calc((100% - 25px) * {nx / across:.4f})">'
        f'<div class="picture"><img src="{uri}" width="{width}" '
        f'height="{height}" alt="central {text(name)} slice">{bar}</div>'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )


def seconds_chart(seconds: dict[str, float]) -> str:
    """Time per step as horizontal bars."""
    longest = max(seconds.values(), default=0.0) or 1.0
    rows = "".join(
        f'<tr><th>{text(step)}</th><td class="n">{number(s, 2)} s</td><td class="wide">'
        f'<span class="time" style="width:{100 * s / longest:.1f}%" '
        f'title="{text(step)}: {number(s, 2)} s"></span></td></tr>'
        for step, s in seconds.items()
    )
    return f'<table class="times"><tbody>{rows}</tbody></table>'
