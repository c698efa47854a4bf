"""Raw and denoised side by side: live parameters, equal to the whole run, the newest wins."""

from __future__ import annotations

import numpy as np
import pytest
from PyQt6.QtCore import Qt
from PyQt6.QtTest import QTest
from scipy import ndimage

from tiltwright.engine.io.mrc_write import write_mrc
from tiltwright.engine.model.tomogram import open_tomogram
from tiltwright.engine.protocols.base import Context
from tiltwright.engine.protocols.denoise import Denoise
from tiltwright.widgets.tomogram.denoise_preview import DenoisePreview

LEFT = Qt.MouseButton.LeftButton
SHAPE = (30, 360, 340)


@pytest.fixture(scope="module")
def tomogram(tmp_path_factory):
    rng = np.random.default_rng(0)
    clean = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 4) / 0.05
    volume = (900 * clean + rng.normal(0, 900, SHAPE)).astype(np.int16)
    path = tmp_path_factory.mktemp("t") / "t.mrc"
    write_mrc(path, volume, 10.0)
    return open_tomogram(path, "t")


@pytest.fixture
def page(qtbot, tomogram):
    out = DenoisePreview(tomogram, {"iterations": 4})
    qtbot.addWidget(out)
    out.resize(1000, 800)
    with qtbot.waitSignal(out.previewed, timeout=60_000):
        out.show()
    yield out
    out.shutdown()


def test_it_equals_the_whole_run_and_says_so(page, tomogram, tmp_path, qtbot):
    params = page.form.values()
    assert params.iterations == 4
    done = Denoise.run({"tomogram": tomogram}, params, Context(folder=tmp_path))["tomogram"]
    tile = page.views["denoised"].tile
    assert tile.data.shape == (320, 320)
    part = done.data[15, tile.y0 : tile.y0 + 320, tile.x0 : tile.x0 + 320]
    # Half a grey level of the rounding, and what a preview may differ by.
    assert np.abs(tile.data - part).max() < 0.51 + 5e-3 * tomogram.data.std()
    raw = page.views["raw"].tile
    np.testing.assert_array_equal(raw.data, tomogram.data[15])
    assert tile.data.std() < 0.8 * raw.data.std()
    assert "whole tomogram" in page.words.text()


def test_parameters_sections_and_place_are_followed(page, tomogram, qtbot):
    before = page.views["denoised"].tile.data
    with qtbot.waitSignal(page.previewed, timeout=60_000):
        page.form.set_values({"method": "gaussian", "gaussian_sigma": 2.0})
    tile = page.views["denoised"].tile
    twin = ndimage.gaussian_filter(tomogram.data.astype(np.float32), 2.0, mode="nearest")
    np.testing.assert_allclose(tile.data, twin[15, tile.y0 :, tile.x0 :][:320, :320], atol=2)
    assert not np.array_equal(tile.data, before)
    with qtbot.waitSignal(page.previewed, timeout=60_000):
        QTest.keyClick(page.views["raw"], Qt.Key.Key_PageUp)
    np.testing.assert_array_equal(page.views["raw"].tile.data, tomogram.data[16])
    with qtbot.waitSignal(page.previewed, timeout=60_000):
        page.slab.setValue(3)
    np.testing.assert_allclose(page.views["raw"].tile.data, tomogram.data[15:18].mean(0), atol=1)
    view = page.views["raw"]
    with qtbot.waitSignal(page.previewed, timeout=60_000):
        QTest.mouseClick(view, LEFT, pos=view.to_screen(5, 5).toPoint())
    tile = page.views["denoised"].tile
    assert (tile.x0, tile.y0) == (0, 0)
    a, b = (page.views[name].viewport for name in ("raw", "denoised"))
    assert (a.zoom, a.x, a.y) == (b.zoom, b.x, b.y)


def test_only_the_newest_parameters_arrive(page, qtbot):
    came = []
    page.previewed.connect(lambda _: came.append(page.views["denoised"].tile.data.std()))
    for iterations in (200, 300, 2):
        page.form.set_values({"iterations": iterations})
        qtbot.wait(220)
    qtbot.waitUntil(lambda: page.lane.idle and bool(came), timeout=60_000)
    qtbot.wait(250)
    assert len(came) == 1


def test_what_is_wrong_is_said_in_place(page, qtbot):
    page.form.set_values({"method": "median", "median_size": 4})
    qtbot.waitUntil(lambda: "odd size" in page.words.text(), timeout=20_000)
    assert page.views["denoised"].tile is None
    with qtbot.waitSignal(page.previewed, timeout=60_000):
        page.form.set_values({"median_size": 3})
    assert page.views["denoised"].tile is not None


def test_the_parameters_are_handed_on(page, qtbot):
    page.form.set_values({"sigma": 0.7})
    with qtbot.waitSignal(page.run_asked) as caught:
        QTest.mouseClick(page.run_button, LEFT)
    (values,) = caught.args
    assert values["sigma"] == 0.7
    assert Denoise.Params(**values) == page.form.values()
