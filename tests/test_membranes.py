"""Membranes found in phantoms, their mesh, and the scene for ChimeraX."""

from __future__ import annotations

import itertools
import struct
import sys
import xml.etree.ElementTree as Xml
from pathlib import Path
from threading import Event
from types import ModuleType

import numpy as np
import pytest
from scipy import ndimage

from tiltwright.engine.errors import Cancelled, DataError, InputError
from tiltwright.engine.io.mrc import open_stack
from tiltwright.engine.io.mrc_write import write_mrc
from tiltwright.engine.model.tomogram import Tomogram, open_tomogram
from tiltwright.engine.progress import Monitor
from tiltwright.engine.protocols.base import Context
from tiltwright.engine.protocols.chimerax import ChimeraX
from tiltwright.engine.protocols.segmentation import Segmentation
from tiltwright.engine.recon.strips import Request
from tiltwright.engine.recon.wbp import reconstruct_series
from tiltwright.engine.simulate.series import SeriesSpec, simulate_series
from tiltwright.engine.volume import membranes
from tiltwright.engine.volume import mesh as meshes
from tiltwright.engine.volume.chimerax import write_scene
from tiltwright.engine.volume.coverage import EMPTY, RIM_Y, coverage
from tiltwright.engine.volume.denoise import Denoising, denoise_slab
from tiltwright.engine.volume.membranes import find_membranes
from tiltwright.engine.volume.mesh import mesh_of_mask, write_mesh
from tiltwright.engine.volume.sheets import UNIT, plane_ness

CORNERS = np.ones((3, 3, 3), bool)


def shell(shape, centre, radius, thickness):
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    d = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2)
    return (d <= radius) & (d > radius - thickness), d


def dice(found, truth):
    """Overlap with a tolerance of one voxel."""
    near = (found & ndimage.binary_dilation(truth, CORNERS)).sum()
    near += (truth & ndimage.binary_dilation(found, CORNERS)).sum()
    return near / (found.sum() + truth.sum())


@pytest.fixture(scope="module")
def vesicle():
    """A dark shell, a ball and a rod, which are no membranes, in noise; and the truth."""
    shape = (70, 90, 100)
    truth, d = shell(shape, (45.0, 42.0, 34.0), 26.0, 4.0)
    v = -1.0 * truth
    z, y, x = np.ogrid[:70, :90, :100]
    v = np.where((x - 85) ** 2 + (y - 20) ** 2 + (z - 30) ** 2 < 36, -3.0, v)
    v = np.where(((x - 88) ** 2 + (z - 50) ** 2 < 6) & (y > 5), -1.0, v)
    rng = np.random.default_rng(1)
    v = v + ndimage.gaussian_filter(rng.standard_normal(shape), 0.8) * 1.2
    return (100 + 10 * v).astype(np.float32), truth, d


def test_plane_ness_tells_sheets_from_lines_and_balls():
    z, y, x = np.mgrid[-8:9, -8:9, -8:9].astype(np.float32)
    n = np.array([2.0, -1.0, 2.0]) / 3
    sheet = -np.exp(-0.5 * (n[0] * x + n[1] * y + n[2] * z) ** 2 / 4)
    line, ball = -np.exp(-0.5 * (x * x + z * z) / 4), -np.exp(-0.5 * (x * x + y * y + z * z) / 4)
    answer = []
    for v in (sheet, line, ball, -sheet):
        s, normal = np.zeros(v.shape, np.float32), np.zeros((*v.shape, 3), np.int8)
        plane_ness(v.astype(np.float32), 1.0, 1.0, s, normal)
        answer.append(s[8, 8, 8])
        if v is sheet:
            assert abs(normal[8, 8, 8] @ n) == pytest.approx(UNIT, rel=0.01)
            h = np.gradient(np.gradient(v, axis=2), axis=2)[8, 8, 8] / n[0] ** 2
            assert s[8, 8, 8] == pytest.approx(h, rel=0.2)
    assert answer[0] > 0.15
    assert max(answer[1:]) < 0.01


def test_a_vesicle_is_found_and_nothing_else(vesicle):
    v, truth, _ = vesicle
    found = find_membranes(v, 4.0)
    assert dice(found.mask > 0, truth) > 0.95
    assert found.component.max() == 0
    radius = np.linalg.norm(found.points[:, ::-1] - [45, 42, 34], axis=1)
    assert radius.mean() == pytest.approx(24, abs=0.5)
    light = find_membranes(-v, 4.0, dark=False)
    np.testing.assert_array_equal(found.mask, light.mask)


def test_the_rim_that_no_view_covers_has_no_membranes():
    """A border of nothing, and one of fewer views whose end is a straight dark line."""
    shape = (70, 170, 150)
    truth, _ = shell(shape, (75.0, 80.0, 34.0), 26.0, 4.0)
    noise = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(shape), 0.8)
    v = 12 * noise - 10.0 * truth
    v[:, 158:] *= 0.4
    v[:, 156:159] -= 12.0
    v[:, :, :14] = 40.0
    v = v.astype(np.float32)
    lack = coverage(v, 10)
    assert (lack[150:] & RIM_Y).all()
    assert (lack[:, :20] & EMPTY).all()
    assert not lack[:140, 30:].any()
    found = find_membranes(v, 4.0).mask > 0
    assert dice(found, truth) > 0.9
    assert not found[:, 145:].any()
    assert not found[:, :, :25].any()
    # what is found when asked for
    assert find_membranes(v, 4.0, rim=True).mask[:, 145:].any()
    # a volume without a rim keeps all of it
    assert not coverage(noise.astype(np.float32), 10).any()


def test_blocks_change_nothing(vesicle, monkeypatch):
    v, _, _ = vesicle
    whole = find_membranes(v, 4.0)
    monkeypatch.setattr(membranes, "_BLOCK", (23, 31, 40))
    parts = find_membranes(v, 4.0)
    np.testing.assert_array_equal(whole.mask, parts.mask)


def test_threshold_and_size_leave_less(vesicle):
    v, _, _ = vesicle
    counts = [len(find_membranes(v, 4.0, threshold=t).points) for t in (7.0, 14.0, 1000.0)]
    assert counts[0] >= counts[1] > counts[2] == 0
    assert not find_membranes(v, 4.0, least_points=10**6).mask.any()


def test_bad_volumes_are_named(vesicle):
    v, _, _ = vesicle
    with pytest.raises(InputError, match="too small"):
        find_membranes(v[:3], 4.0)
    with pytest.raises(InputError, match="thickness 40"):
        find_membranes(v, 40.0)
    bad = v.copy()
    bad[35, 50, 50] = np.nan
    with pytest.raises(InputError, match="not finite"):
        find_membranes(bad, 4.0)
    with pytest.raises(DataError, match="no structure"):
        find_membranes(np.ones((20, 30, 40), np.float32), 4.0)
    stop = Event()
    stop.set()
    with pytest.raises(Cancelled):
        find_membranes(v, 4.0, monitor=Monitor(None, stop))


@pytest.mark.slow
def test_simulated_vesicles_at_dose_3():
    spec = SeriesSpec(seed=4, nx=256, ny=224, n_beads=0, n_vesicles=3, carbon=False,
                      spikes_per_view=0, shift_step_sd_px=2.0)  # fmt: skip
    made = simulate_series(spec)
    stack = np.stack([made.view(v) for v in range(spec.n_views)])
    g = made.geometry
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rec.mrc"
        reconstruct_series(
            Request(
                stack,
                g.transforms(),
                g.tilt_deg,
                thickness=141,
                axis_deg=spec.axis_deg,
                path=path,
                pixel_size_a=11.04,
                dtype="float32",
            )
        )
        raw = np.array(open_stack(path))
    truth, lost = np.zeros(raw.shape, bool), np.zeros(raw.shape, bool)
    centre = (np.array(raw.shape[::-1]) - 1) / 2
    z = np.arange(raw.shape[0])[:, None, None]
    for place, r in zip(made._vesicles, made._vesicle_radius, strict=True):
        one, d = shell(raw.shape, centre + place, r, 40 / 11.04)
        truth |= one
        # the normal lies within 30 degrees of z, where no view was taken
        lost |= (np.abs(z - centre[2] - place[2]) > np.cos(np.pi / 6) * d) & (np.abs(d - r) < 9)
    denoised = denoise_slab(raw, Denoising("eed"), threads=2)
    scores = [dice((find_membranes(v, 40 / 11.04).mask > 0) & ~lost, truth & ~lost)
              for v in (raw, denoised)]  # fmt: skip
    print(scores)
    assert scores[0] > 0.8
    assert scores[1] > 0.85


@pytest.mark.parametrize("smoothing", [0, 10])
def test_the_mesh_of_a_ball_is_closed_and_of_its_size(smoothing):
    ball, _ = shell((50, 48, 130), (20.0, 22.0, 25.0), 15.0, 99.0)
    mesh = mesh_of_mask(ball, smoothing)
    assert mesh.volume() == pytest.approx(ball.sum(), rel=0.02)  # positive: seen from outside
    radius = np.linalg.norm(mesh.vertices - [20, 22, 25], axis=1)
    assert radius.mean() == pytest.approx(15, abs=0.2)
    assert radius.std() < 0.2
    t = mesh.triangles
    edges = np.sort(np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]]), 1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    assert (count == 2).all()
    assert len(mesh.vertices) - len(unique) + len(t) == 2


def test_a_mask_at_the_edges_has_a_closed_mesh():
    full = np.ones((130, 3, 4), np.uint8)
    assert mesh_of_mask(full, 0).volume() == pytest.approx(full.sum(), rel=0.25)
    with pytest.raises(InputError, match="empty"):
        mesh_of_mask(np.zeros((4, 4, 4)))


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.5])
def test_a_large_mesh_is_limited_and_within_half_a_voxel(monkeypatch, shift):
    """A shell as thick as a membrane: both its sides, in a quarter of the triangles."""
    centre = np.array([31.0 + shift, 29.0, 30.0 - shift])
    mask, _ = shell((61, 63, 66), centre, 24.0, 4.0)
    whole = mesh_of_mask(mask)
    monkeypatch.setattr(meshes, "MOST_TRIANGLES", 1000)
    mesh = mesh_of_mask(mask)
    assert len(mesh.triangles) < 0.3 * len(whole.triangles)
    assert mesh.volume() == pytest.approx(whole.volume(), rel=0.05)
    radius = np.linalg.norm(mesh.vertices - centre, axis=1)
    off = np.minimum(abs(radius - 24.0), abs(radius - 20.0))
    assert off.mean() < 0.2
    assert np.percentile(off, 99.5) < 0.5
    # in its middle too, not only at its corners
    at = np.linalg.norm(mesh.vertices[mesh.triangles].mean(1) - centre, axis=1)
    assert np.percentile(np.minimum(abs(at - 24.0), abs(at - 20.0)), 99.5) < 0.5


def test_meshing_tells_how_far_it_is_and_can_be_cancelled():
    mask, _ = shell((70, 40, 40), (20.0, 20.0, 30.0), 15.0, 4.0)
    seen, stop = [], Event()
    mesh_of_mask(mask, 10, Monitor(seen.append))
    assert len(seen) > 15
    assert all(a.done <= b.done <= b.total for a, b in itertools.pairwise(seen))
    assert seen[-1].done == seen[-1].total
    for last in (2, len(seen) - 1):
        stop.clear()
        some = []

        def listen(p, last=last, some=some):
            some.append(p)
            if len(some) == last:
                stop.set()

        with pytest.raises(Cancelled):
            mesh_of_mask(mask, 10, Monitor(listen, stop))
        assert len(some) == last


def test_mesh_files_hold_angstrom(tmp_path):
    ball, _ = shell((20, 20, 20), (9.0, 10.0, 11.0), 6.0, 99.0)
    mesh = mesh_of_mask(ball)
    for ending in ("stl", "ply"):
        write_mesh(tmp_path / f"m.{ending}", mesh, 10.0, (5.0, 0.0, -5.0))
    stl = (tmp_path / "m.stl").read_bytes()
    (n,) = struct.unpack("<I", stl[80:84])
    assert n == len(mesh.triangles)
    assert len(stl) == 84 + 50 * n
    rows = np.frombuffer(stl[84:], [("n", "<f4", 3), ("c", "<f4", (3, 3)), ("s", "<u2")])
    np.testing.assert_allclose(rows["c"].mean((0, 1)), [95, 100, 105], atol=1.5)
    outward = rows["c"].mean(1) - [95, 100, 105]
    assert ((rows["n"] * outward).sum(1) > 0).mean() > 0.99
    ply = (tmp_path / "m.ply").read_bytes()
    head, body = ply.split(b"end_header\n", 1)
    assert f"element vertex {len(mesh.vertices)}\n".encode() in head
    xyz = np.frombuffer(body[: 12 * len(mesh.vertices)], "<f4").reshape(-1, 3)
    np.testing.assert_allclose(xyz, mesh.vertices * 10 + [5, 0, -5], rtol=1e-5, atol=1e-3)
    assert len(body) == 12 * len(mesh.vertices) + 13 * n
    with pytest.raises(InputError, match=r"\.stl or \.ply"):
        write_mesh(tmp_path / "m.obj", mesh, 1.0)


def test_protocols_from_tomogram_to_scene(vesicle, tmp_path):
    v, truth, _ = vesicle
    write_mrc(tmp_path / "t.mrc", np.rint(v * 10).astype(np.int16), 10.0)
    tomogram = open_tomogram(tmp_path / "t.mrc", "t")
    context = Context(folder=tmp_path)
    mask = Segmentation.run({"tomogram": tomogram}, Segmentation.Params(), context)["mask"]
    assert dice(np.asarray(mask.data) > 0, truth) > 0.95
    assert (tmp_path / "t_membranes.ply").exists()
    assert mask.origin == tomogram.origin
    out = ChimeraX.run({"tomogram": tomogram, "mask": mask}, ChimeraX.Params(), context)
    assert out["tomogram"] is tomogram
    script = (tmp_path / "t.cxc").read_text()
    for line in ('open "t.mrc"', 'open "t_membranes.mrc"', 'open "t.stl"'):
        assert line in script
    with pytest.raises(InputError, match=r"0\.4 nm are"):
        Segmentation.run({"tomogram": tomogram}, Segmentation.Params(thickness_nm=0.4), context)
    with pytest.raises(DataError, match="no membranes"):
        Segmentation.run({"tomogram": tomogram}, Segmentation.Params(threshold=1e4), context)


def test_tomogram_mesh_and_beads_share_one_place(tmp_path):
    """A bead within a ball: everything lands at the same angstrom, by the files alone."""
    ball, _ = shell((24, 26, 28), (12.0, 11.0, 10.0), 5.0, 99.0)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    origin = (100.0, -50.0, 7.0)
    write_mrc(tmp_path / "a" / "t.mrc", -1.0 * ball.astype(np.float32), 8.0, origin)
    write_mrc(tmp_path / "a" / "m.mrc", ball.astype(np.int8), 8.0)
    scene = write_scene(
        tmp_path / "b", "t", tmp_path / "a" / "t.mrc", mask=tmp_path / "a" / "m.mrc",
        mask_data=ball, beads_voxels=np.array([[12.0, 11.0, 10.0], [np.nan] * 3]),
    )  # fmt: skip
    # the tomogram's own place of its darkest region
    volume = open_stack(tmp_path / "a" / "t.mrc")
    expected = np.argwhere(volume < -0.5).mean(0)[::-1] * 8 + origin
    rows = np.frombuffer(
        scene.mesh.read_bytes()[84:], [("n", "<f4", 3), ("c", "<f4", (3, 3)), ("s", "<u2")]
    )
    np.testing.assert_allclose(rows["c"].mean((0, 1)), expected, atol=0.8)
    marks = list(Xml.parse(scene.beads).getroot())
    assert len(marks) == 1
    np.testing.assert_allclose([float(marks[0].get(k)) for k in "xyz"], expected, atol=1e-2)
    script = scene.script.read_text()
    assert 'open "../a/t.mrc"' in script
    assert "volume #2 origin 100,-50,7" in script


def test_a_mask_of_another_size_is_refused(tmp_path):
    write_mrc(tmp_path / "t.mrc", np.zeros((9, 10, 11), np.float32), 8.0)
    write_mrc(tmp_path / "m.mrc", np.zeros((9, 10, 12), np.int8), 8.0)
    write_mrc(tmp_path / "p.mrc", np.zeros((9, 10, 11), np.int8), 4.0)
    for name in ("m", "p"):
        with pytest.raises(InputError, match="does not fit the tomogram"):
            write_scene(tmp_path, "s", tmp_path / "t.mrc", mask=tmp_path / f"{name}.mrc")
    tomogram: Tomogram = open_tomogram(tmp_path / "t.mrc")
    mask: Tomogram = open_tomogram(tmp_path / "m.mrc")
    with pytest.raises(InputError, match="does not fit"):
        ChimeraX.run(
            {"tomogram": tomogram, "mask": mask}, ChimeraX.Params(), Context(folder=tmp_path)
        )
    assert not list(tmp_path.glob("*.cxc"))


def stand_in(monkeypatch, segment):
    """The package membrain-seg with another function in it."""
    names = ["membrain_seg", "membrain_seg.segmentation", "membrain_seg.segmentation.segment"]
    for name in names:
        module = ModuleType(name)
        module.__path__ = []
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules[names[-1]].segment = segment


def test_membrain_seg_when_it_is_there(vesicle, tmp_path, monkeypatch):
    """A stand-in with its call and its files: a threshold on the smoothed grey value."""
    v, truth, _ = vesicle
    write_mrc(tmp_path / "t.mrc", np.rint(v * 10).astype(np.int16), 10.0)
    tomogram = open_tomogram(tmp_path / "t.mrc", "t")
    model = tmp_path / "weights.ckpt"
    asked = {}

    def segment(tomogram_path, ckpt_path, out_folder, **more):
        asked.update(more, model=Path(ckpt_path).read_text())
        data = ndimage.gaussian_filter(np.asarray(open_stack(tomogram_path), np.float32), 1.0)
        mask = (data < np.percentile(data, 100 * truth.mean())).astype(np.int8)
        name = f"{Path(tomogram_path).stem}_{Path(ckpt_path).name}_segmented.mrc"
        write_mrc(Path(out_folder) / name, mask, 10.0)

    def run(**params):
        chosen = Segmentation.Params(method="membrain-seg", **params)
        return Segmentation.run({"tomogram": tomogram}, chosen, Context(folder=tmp_path))["mask"]

    with pytest.raises(InputError, match="needs the file of a trained model"):
        run()
    with pytest.raises(InputError, match=r"weights\.ckpt: no such file"):
        run(model=model)
    model.write_text("w")
    monkeypatch.setitem(sys.modules, "membrain_seg", None)
    with pytest.raises(InputError, match="membrain-seg cannot be used"):
        run(model=model)
    assert not list(tmp_path.glob("*_membranes*"))

    stand_in(monkeypatch, segment)
    mask = run(model=model)
    assert asked == {
        "model": "w", "rescale_patches": True, "in_pixel_size": 10.0, "sw_roi_size": 160
    }  # fmt: skip
    assert dice(np.asarray(mask.data) > 0, truth) > 0.6
    assert mask.origin == tomogram.origin
    assert {p.name for p in tmp_path.iterdir()} == {
        "t.mrc", "weights.ckpt", "t_membranes.mrc", "t_membranes.ply"
    }  # fmt: skip
    params = Segmentation.Params(method="membrain-seg", model=model)
    before = Segmentation.source_hashes(params)
    model.write_text("other")
    assert Segmentation.source_hashes(params) != before
    assert Segmentation.source_hashes(Segmentation.Params()) == []


@pytest.mark.parametrize(
    ("shape", "words"), [((3, 4, 5), "5 x 4 x 3 voxels for"), (None, "failed: no memory")]
)
def test_a_network_that_fails_is_said(tmp_path, monkeypatch, shape, words):
    write_mrc(tmp_path / "t.mrc", np.zeros((6, 7, 8), np.float32), 10.0)
    (tmp_path / "w.ckpt").write_text("w")

    def segment(tomogram_path, ckpt_path, out_folder, **more):
        if shape is None:
            raise RuntimeError("no memory")
        write_mrc(Path(out_folder) / "t_w_segmented.mrc", np.ones(shape, np.int8), 10.0)

    stand_in(monkeypatch, segment)
    with pytest.raises(DataError, match=words):
        Segmentation.run(
            {"tomogram": open_tomogram(tmp_path / "t.mrc")},
            Segmentation.Params(method="membrain-seg", model=tmp_path / "w.ckpt"),
            Context(folder=tmp_path),
        )
    assert {p.name for p in tmp_path.iterdir()} == {"t.mrc", "w.ckpt"}
