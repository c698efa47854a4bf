"""Surfaces drawn by the processor, against what a ball must look like."""

from __future__ import annotations

import numpy as np
import pytest

from tiltwright.engine.volume import scene as scenes
from tiltwright.engine.volume.mesh import mesh_of_mask
from tiltwright.engine.volume.scene import Eye, Scene, render, surfaces_of
from tiltwright.engine.volume.surface import LIGHT, Surface, draw_triangles, thinned

SHAPE, CENTRE, RADIUS = (40, 60, 80), np.array([52.0, 25.0, 18.0]), 12.0
NO_BEADS = np.zeros((0, 3)), np.zeros((0, 3)), 1.0


def ball_mask(shape=SHAPE, centre=CENTRE, radius=RADIUS):
    z, y, x = np.indices(shape)
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 <= radius**2


def surfaces(mask):
    *before, found = surfaces_of(mask)
    assert all(piece is None for piece in before)
    return found


def turned(axis, angle):
    a, b = (axis + 1) % 3, (axis + 2) % 3
    out = np.eye(3)
    out[a, a] = out[b, b] = np.cos(angle)
    out[a, b], out[b, a] = -np.sin(angle), np.sin(angle)
    return out


@pytest.fixture(scope="module")
def ball():
    return Scene(SHAPE, *surfaces(ball_mask()), (200.0, 100.0, 50.0), *NO_BEADS)


TURNS = [np.eye(3), turned(0, -0.9) @ turned(2, 0.3), turned(1, np.pi)]


@pytest.mark.parametrize("turn", TURNS, ids=["front", "askew", "behind"])
@pytest.mark.parametrize("coarse", [False, True])
def test_a_ball_is_where_and_as_large_as_it_is(ball, turn, coarse):
    eye = Eye(turn, 3.0, (10.0, -6.0))
    view = render(ball, eye, (300, 260), coarse)
    middle = turn @ (CENTRE - (np.array(SHAPE[::-1]) - 1) / 2) * 3
    x, y = 150 + 10 + middle[0], 130 - 6 - middle[1]
    covered = np.isfinite(view.depth)
    assert covered.sum() == pytest.approx(np.pi * (3 * RADIUS) ** 2, rel=0.04)
    rows, columns = np.nonzero(covered)
    assert (columns.mean(), rows.mean()) == pytest.approx((x, y), abs=0.7)
    assert view.depth.max() == pytest.approx(middle[2] + 3 * RADIUS, abs=1.5)
    # A click on it is a place on its surface, on the side of the eye.
    at = np.array(view.voxel(x, y))
    assert np.linalg.norm(at - CENTRE) == pytest.approx(RADIUS, abs=0.7)
    np.testing.assert_allclose(turn @ (at - CENTRE), [0, 0, RADIUS], atol=0.8)
    assert view.voxel(2, 2) is None
    assert view.voxel(-5, 900) is None


def test_it_is_lit_from_the_upper_left(ball):
    view = render(ball, Eye(np.eye(3), 3.0, (0.0, 0.0)), (300, 260), False)
    red = (view.image >> 16) & 255
    rows, columns = np.nonzero(np.isfinite(view.depth))
    x, y = round(columns.mean()), round(rows.mean())
    assert red[y - 18, x - 18] > 1.4 * red[y + 18, x + 18]
    lamp = np.array(LIGHT) / np.linalg.norm(LIGHT)
    # The steps of the voxels are smoothed, not gone: the mean over some of them.
    around = red[y - 9 : y + 10, x - 9 : x + 10].mean()
    assert around == pytest.approx(200 * (0.28 + 0.72 * lamp[2]), rel=0.06)


def test_triangles_are_as_a_slow_twin_has_them():
    rng = np.random.default_rng(0)
    at = rng.uniform(-5, 45, (60, 3)).astype(np.float32)
    triangles = rng.integers(0, 60, (40, 3)).astype(np.int32)
    normals = np.tile(np.float32([0, 0, 1]), (60, 1))
    depth = np.full((40, 50), -np.inf, np.float32)
    image = np.zeros((40, 50), np.uint32)
    lamp = np.array([0.0, 0.0, 1.0])
    draw_triangles(at, normals, triangles, np.array([255.0, 0, 0]), lamp, depth, image)
    twin = np.full((40, 50), -np.inf)
    for t in triangles:
        a, b, c = at[t].astype(np.float64)
        corners = np.array([[*p[:2], 1.0] for p in (a, b, c)]).T
        if abs(np.linalg.det(corners)) < 1e-9:
            continue
        for y in range(40):
            for x in range(50):
                w = np.linalg.solve(corners, [x, y, 1.0])
                if (w >= 0).all():
                    twin[y, x] = max(twin[y, x], w @ [a[2], b[2], c[2]])
    both = np.isfinite(twin) & np.isfinite(depth)
    assert (np.isfinite(twin) != np.isfinite(depth)).mean() < 0.003
    assert np.mean(np.abs(depth[both] - twin[both]) > 1e-3) < 0.003
    assert set(np.unique(image)) == {0, 0xFFFF0000}


def test_a_bead_hides_what_is_behind_it_and_lines_shine_through(ball):
    in_front = np.array([[CENTRE[0], CENTRE[1], 38.0], [np.nan] * 3])
    green = np.array([[0, 255, 0.0]] * 2)
    scene = Scene(SHAPE, ball.fine, ball.coarse, ball.colour, in_front, green, 4.0)
    eye = Eye(np.eye(3), 3.0, (0.0, 0.0))
    view = render(scene, eye, (300, 260), False)
    x, y = 150 + 3 * (CENTRE[0] - 39.5), 130 - 3 * (CENTRE[1] - 29.5)
    pixel = int(view.image[round(y), round(x)])
    assert (pixel >> 8) & 255 > 100 > (pixel >> 16) & 255
    np.testing.assert_allclose(view.voxel(x, y), [CENTRE[0], CENTRE[1], 42.0], atol=0.6)
    # The section's outline passes behind the ball, and in front of it at the top of the volume.
    yellow = [
        int(((render(ball, Eye(turned(0, -np.pi / 2), 3.0, (0, 0)), (300, 260), False, z).image
              == 0xFFFFE600)).sum())
        for z in (2.0, 39.0)
    ]  # fmt: skip
    assert min(yellow) > 200


def test_a_large_mask_is_looked_at_more_coarsely_in_the_same_place(monkeypatch):
    fine, _ = surfaces(ball_mask())
    monkeypatch.setattr(scenes, "MOST_VOXELS", 30_000)
    coarse, _ = surfaces(ball_mask())
    assert len(coarse.triangles) < len(fine.triangles) / 3
    for surface in (fine, coarse):
        middle = (surface.vertices.min(0) + surface.vertices.max(0)) / 2
        np.testing.assert_allclose(middle, CENTRE, atol=1.1)
        radius = np.linalg.norm(surface.vertices - CENTRE, axis=1)
        assert radius.mean() == pytest.approx(RADIUS, abs=1.2)


def test_normals_point_outwards_and_thinning_keeps_the_shape():
    mesh = mesh_of_mask(ball_mask())
    surface = Surface.of_mesh(mesh)
    outward = surface.vertices - CENTRE.astype(np.float32)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    along = (surface.normals * outward).sum(1)
    assert along.min() > 0.8
    assert along.mean() > 0.97
    thin = thinned(mesh, 600)
    assert len(thin.triangles) <= 600
    assert thin.volume() == pytest.approx(mesh.volume(), rel=0.12)
    assert thinned(mesh, 10**6) is mesh


def test_an_empty_mask_is_said():
    assert surfaces(np.zeros(SHAPE, np.int8)) == "The mask is empty."
    view = render(Scene(SHAPE, None, None, (1, 2, 3), *NO_BEADS), Eye(np.eye(3), 1.0, (0, 0)),
                  (120, 90), False)  # fmt: skip
    assert not np.isfinite(view.depth).any()
    assert len(np.unique(view.image)) > 1  # the box is there
