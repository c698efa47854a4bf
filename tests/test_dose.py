"""The dose filter against its formula, on spectra and on a series."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tiltwright.engine.errors import InputError
from tiltwright.engine.model.tilt_series import load_tilt_series
from tiltwright.engine.protocols.base import Context
from tiltwright.engine.protocols.dose_filter import DoseFilter
from tiltwright.engine.simulate.series import SeriesSpec, write_series
from tiltwright.engine.stack.dose import (
    OPTIMAL,
    attenuation,
    critical_dose,
    filter_dose,
    noise_gain,
)


def test_critical_dose_as_published():
    # worked by hand: 0.245 * 10**1.665 + 2.81 and 0.245 * 3**1.665 + 2.81
    assert critical_dose(0.1) == pytest.approx(14.1386, abs=1e-3)
    assert critical_dose(1 / 3) == pytest.approx(4.3359, abs=1e-3)
    assert np.isinf(critical_dose(0.0))
    assert critical_dose(0.1, 200.0) == pytest.approx(0.8 * 14.1386, abs=1e-3)
    with pytest.raises(InputError, match="80 kV"):
        critical_dose(0.1, 80.0)


def test_optimal_dose_is_where_a_sum_is_best():
    n = np.linspace(0.1, 10, 99001)
    ratio = (1 - np.exp(-n / 2)) ** 2 / n
    assert n[ratio.argmax()] == pytest.approx(OPTIMAL, abs=2e-4)


def test_cut_off_at_the_optimal_dose():
    critical = float(critical_dose(0.2))
    below, above = OPTIMAL * critical - 1, OPTIMAL * critical + 1
    assert attenuation(0.2, below, 0.0) == pytest.approx(np.exp(-below / (2 * critical)))
    assert attenuation(0.2, above, 0.0) == 0
    # more than half of this image was taken before
    assert attenuation(0.2, above, 3.0) > 0
    assert attenuation(0.0, 1e6, 3.0) == 1


@pytest.mark.parametrize("shape", [(128, 128), (81, 130)])
@pytest.mark.parametrize("period", [4, 8, 16])
def test_a_wave_is_damped_by_the_formula(shape, period):
    pixel, dose = 3.0, 30.0
    x = np.arange(shape[1]) + 0.5
    # a cosine about the edges goes through the mirrors unbroken
    n = round(2 * shape[1] / period)
    wave = np.broadcast_to(np.cos(np.pi * n * x / shape[1]), shape).astype(np.float32)
    got = filter_dose(wave + 100, pixel, dose, 3.0) - 100
    k = n / (2 * shape[1] * pixel)
    inner = (slice(40, 41), slice(40, -40))
    gain = (got[inner] * wave[inner]).sum() / (wave[inner] ** 2).sum()
    assert gain == pytest.approx(float(attenuation(k, dose, 3.0)), abs=0.02)


def test_noise_of_a_series_keeps_its_power():
    own, end = np.full(12, 3.0), 3.0 * np.arange(1, 13)
    k = np.linspace(0, 0.25 * np.sqrt(2), 4000)
    gain = noise_gain(k, end, own)
    kept = np.mean([(attenuation(k, e, 3.0) * gain) ** 2 for e in end], 0)
    np.testing.assert_allclose(kept, 1, rtol=1e-9)
    assert (noise_gain(k[1:], [900.0], [3.0]) == 0).any()  # nothing of a late view passes
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((12, 96, 96)).astype(np.float32)
    plain, restored = (
        np.array([filter_dose(n, 2.0, e, 3.0, gain=g) for n, e in zip(noise, end, strict=True)])
        for g in (None, (k, gain))
    )
    assert plain.var() < 0.8
    assert restored.var() == pytest.approx(1, abs=0.03)


def test_doses_before_the_views_are_the_microscopes_own(tmp_path):
    """A view that is not in the stack has damaged the others, too; zeros are not believed."""
    spec = SeriesSpec(n_views=7, nx=96, ny=80, n_beads=2, n_vesicles=1, pixel_size_a=4.0)
    paths = write_series(spec, tmp_path, "s")
    series = load_tilt_series(paths["stack"], tilt_angles=paths["rawtlt"])
    by_sum = series.accumulated_dose()
    np.testing.assert_allclose(by_sum, 3.0 * series.order)
    text = paths["mdoc"].read_text()
    kept = [line for line in text.splitlines() if not line.startswith("PriorRecordDose")]
    for first, expected in ((6.0, by_sum + 6), (None, by_sum)):
        lines, view = [], 0
        for line in kept:
            lines.append(line)
            if line.startswith("[ZValue"):
                prior = 0.0 if first is None else first + 3.0 * (series.order[view] - 1)
                lines.append(f"PriorRecordDose = {prior}")
                view += 1
        paths["mdoc"].write_text("\n".join(lines) + "\n")
        again = load_tilt_series(paths["stack"], tilt_angles=paths["rawtlt"])
        np.testing.assert_allclose(again.accumulated_dose(), expected)
        fixed = DoseFilter.doses(again, DoseFilter.Params(dose_per_view=2.0))[1]
        np.testing.assert_allclose(fixed, 2.0 * series.order)


def test_mean_stays_and_bad_values_are_named():
    view = np.random.default_rng(1).poisson(50, (40, 50)).astype(np.int16)
    assert filter_dose(view, 2.0, 60.0, 3.0).mean() == pytest.approx(view.mean(), rel=1e-2)
    np.testing.assert_allclose(filter_dose(view, 2.0, 0.0, 0.0), view, atol=1e-3)
    with pytest.raises(InputError, match="must not be below 0"):
        filter_dose(view, 2.0, -1.0, 3.0)
    bad = view.astype(np.float32)
    bad[3, 3] = np.nan
    with pytest.raises(InputError, match="not finite"):
        filter_dose(bad, 2.0, 3.0, 3.0)


def test_protocol_follows_the_order_of_acquisition(tmp_path):
    spec = SeriesSpec(n_views=7, nx=96, ny=80, n_beads=2, n_vesicles=1, spikes_per_view=0,
                      shift_step_sd_px=1.0, pixel_size_a=4.0)  # fmt: skip
    paths = write_series(spec, tmp_path, "s")
    series = load_tilt_series(paths["stack"], tilt_angles=paths["rawtlt"])
    out = DoseFilter.run({"tilt_series": series}, DoseFilter.Params(), Context(folder=tmp_path))
    for v in range(7):
        expected = filter_dose(series.stack[v], 4.0, 3.0 * series.order[v], 3.0)
        np.testing.assert_allclose(out["tilt_series"].images[v], expected, rtol=1e-4)
    assert series.order.tolist() != list(range(1, 8))  # the order matters in this test
    unknown = replace(series, order_known=False)
    with pytest.raises(InputError, match="order in which"):
        DoseFilter.run({"tilt_series": unknown}, DoseFilter.Params(), Context(folder=tmp_path))
    bare = replace(series, dose=None)
    with pytest.raises(InputError, match="give no dose"):
        DoseFilter.run({"tilt_series": bare}, DoseFilter.Params(), Context(folder=tmp_path))
    fixed = DoseFilter.doses(bare, DoseFilter.Params(dose_per_view=2.0, initial_dose=5.0))[1]
    np.testing.assert_allclose(fixed, 5 + 2 * series.order)
