"""Erase fiducials: gold replaced by background, so that it does not streak the tomogram."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, parameter


class EraseFiducials(Protocol):
    """Replace gold beads by noise with the local mean and the background's power spectrum."""

    key = "erase-fiducials"
    title = "Erase fiducials"
    section = "Tilt series"
    citation = "Hoffman & Ribak 1991, doi:10.1086/186160 (the filling)"
    inspect = "No traces of beads in the views, no streaks in the tomogram."
    inputs: ClassVar = {"tilt_series": Port(TiltSeries, "Tilt series")}
    outputs: ClassVar = {"tilt_series": Port(TiltSeries, "Tilt series without gold")}

    class Params(base.Parameters):
        method: Literal["geometry", "fidder"] = parameter(
            "geometry", label="Method",
            help="geometry: the alignment's beads and detections. fidder: its neural network, if "
            "that package is installed.",
        )  # fmt: skip
        network: str = parameter(
            "", label="Network file", path="file", shown_if={"method": "fidder"}, expert=True,
            help="Checkpoint of fidder's network; empty is the one that the package has fetched.",
        )  # fmt: skip
        diameter_nm: float = parameter(
            10.0, label="Bead diameter", unit="nm", gt=0, imod="BetterRadius",
            help="Of the beads that are to be erased.",
        )  # fmt: skip
        threshold: float = parameter(
            0.5, label="Threshold", gt=0, le=1,
            help="Pixels that show gold with at least this probability are replaced. Higher "
            "erases less.",
        )  # fmt: skip
        light: bool = parameter(
            False, label="Light beads", expert=True,
            help="Beads are lighter than their surroundings.",
        )  # fmt: skip
        seed: int = parameter(
            1, label="Seed", ge=0, expert=True, help="The same seed gives the same noise.",
        )  # fmt: skip
        save_mask: bool = parameter(
            True, label="Save mask", help="Writes NAME_gold_mask.mrc: 1 where gold was replaced.",
        )  # fmt: skip

    @classmethod
    def foresee(cls, inputs: Mapping[str, Any], params: Any) -> dict[str, Any]:
        """The same series; the network must be there if it is chosen."""
        _diameter(inputs["tilt_series"], params)
        if params.method == "fidder":
            fidder(params.network)
        return super().foresee(inputs, params)

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Erase the gold of one series into ``NAME_noGold.mrc``; halves share its mask."""
        from concurrent.futures import ThreadPoolExecutor
        from contextlib import ExitStack

        from tiltwright.engine.fiducials.gold_fill import fill_gold
        from tiltwright.engine.io.mrc_write import MrcWriter, written_type

        series: TiltSeries = inputs["tilt_series"]
        images, pixel = series.images, series.image_pixel_size_a
        diameter = _diameter(series, params)
        probability = cls._probabilities(series, params, diameter, context)
        parts, name = series.parts, f"{series.name}_noGold"
        count = np.zeros(series.n_views, np.int64)
        views = np.flatnonzero(series.used)
        with ExitStack() as files:
            label = ("Tiltwright: fiducials erased",)
            writers = [
                files.enter_context(MrcWriter(
                    context.folder / f"{name}{part}.mrc", stack.shape, written_type(stack.dtype),
                    pixel, labels=label,
                )) for part, stack in parts.items()
            ]  # fmt: skip
            saved = files.enter_context(MrcWriter(
                context.folder / f"{series.name}_gold_mask.mrc", images.shape, np.int8, pixel,
                labels=("Tiltwright: 1 where fiducials were erased",),
            )) if params.save_mask else None  # fmt: skip

            def one(v: int) -> None:
                context.monitor.check()
                mask = np.zeros(images.shape[1:], np.bool_)
                if series.used[v]:
                    mask = probability(v) >= params.threshold
                count[v] = mask.sum()
                for k, (writer, stack) in enumerate(zip(writers, parts.values(), strict=True)):
                    # halves share the mask but no noise, which would correlate them
                    seed = (params.seed, v, k) if k else (params.seed, v)
                    writer.write(v, fill_gold(np.asarray(stack[v]), mask, diameter, seed))
                if saved is not None:
                    saved.write(v, mask.astype(np.int8))

            threads = context.threads if params.method == "geometry" else 1
            with ThreadPoolExecutor(threads) as pool:
                for v, _ in enumerate(pool.map(one, range(series.n_views)), 1):
                    context.monitor.step(v, series.n_views, "erasing fiducials")
            if not count.any():
                raise DataError(
                    f"erase fiducials: no gold of {params.diameter_nm:g} nm found in "
                    f"{series.name}; check the diameter and the threshold"
                )
        part = 100 * count[views] / (images.shape[1] * images.shape[2])
        context.say(
            f"{series.name}: {part.mean():.2f} % of the pixels replaced ({part.min():.2f} to "
            f"{part.max():.2f} %)"
        )
        return {"tilt_series": series.with_parts(context.folder, name)}

    @staticmethod
    def _probabilities(series: TiltSeries, params: Any, diameter: float, context: Context) -> Any:
        """A function from a view to the probability of each of its pixels, ``(ny, nx)``."""
        from tiltwright.engine.fiducials.gold_sites import find_gold, gold_probability
        from tiltwright.engine.geometry.projection import ViewGeometry

        if params.method == "fidder":
            return fidder_probabilities(series, params.network)
        geometry = xyz = residual = None
        alignment, used = series.alignment, series.used
        if alignment is not None:
            geometry = ViewGeometry.from_transforms(
                series.image_transforms(), alignment.tilt_deg, alignment.x_tilt_deg
            )
            used = used & alignment.valid
            if alignment.beads is not None:
                xyz = alignment.beads.xyz / series.binning
            if alignment.fit is not None:
                residual = alignment.fit.residual_px / series.binning
        sites = find_gold(
            series.images, diameter, used, geometry=geometry, xyz=xyz, residual_px=residual,
            light=params.light, monitor=context.monitor, threads=context.threads,
        )  # fmt: skip
        most = max(len(s.xy) for s in sites)
        context.say(f"{series.name}: up to {most} beads in a view")
        shape = series.images.shape[1:]

        def probability(v: int) -> npt.NDArray[np.float32]:
            return gold_probability(shape, sites[v])

        return probability


def _diameter(series: TiltSeries, params: Any) -> float:
    """Of a bead, in pixels of the stack that is worked on."""
    pixel = series.image_pixel_size_a
    diameter: float = params.diameter_nm * 10 / pixel
    if diameter < 2:
        raise InputError(
            f"erase fiducials: beads of {params.diameter_nm:g} nm are {diameter:.1f} px wide "
            f"at {pixel:g} Å/px; at least 2 px are needed"
        )
    return diameter


def fidder(network: str) -> tuple[Any, Any, Path]:
    """The package torch, the function of ``fidder`` that finds gold, and its network's file.

    Raises
    ------
    InputError
        The package is not installed, or is one that we do not know, or its network is missing.
    """
    import importlib

    try:
        torch = importlib.import_module("torch")
        predict = importlib.import_module("fidder.predict").predict_fiducial_mask
        latest = importlib.import_module("fidder.model").get_latest_checkpoint
    except (ImportError, AttributeError) as exc:
        raise InputError(
            f"erase fiducials: the package fidder cannot be used ({exc}); install it, or choose "
            "the method geometry"
        ) from exc
    try:
        checkpoint = Path(network).expanduser() if network else Path(latest())
    except Exception as exc:
        # the package fetches it: no connection, no space, another version
        raise InputError(
            f"erase fiducials: fidder's network is not there and cannot be fetched ({exc}); give "
            "the network file"
        ) from exc
    if not checkpoint.is_file():
        raise InputError(f"erase fiducials: {checkpoint}: there is no such network file")
    return torch, predict, checkpoint


def fidder_probabilities(series: TiltSeries, network: str = "") -> Any:
    """Probabilities by the network of the package ``fidder``, view by view.

    Raises
    ------
    InputError
        See :func:`fidder`.
    """
    torch, predict, checkpoint = fidder(network)

    def probability(v: int) -> npt.NDArray[np.float32]:
        view = torch.tensor(np.asarray(series.images[v], np.float32))
        try:
            found = predict(
                image=view, pixel_spacing=series.image_pixel_size_a, probability_threshold=0.5,
                model_checkpoint_file=checkpoint,
            )[1]  # fmt: skip
            found = found.detach().cpu() if hasattr(found, "detach") else found
            flat = np.asarray(found, np.float32).reshape(-1, *view.shape[-2:])
        except Exception as exc:
            # whatever a foreign network raises: no memory, another version
            raise DataError(f"erase fiducials: fidder failed in view {v + 1}: {exc}") from exc
        values: npt.NDArray[np.float32] = flat[0]
        return values

    return probability
