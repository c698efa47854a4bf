"""Back-projection of filtered views into slabs of voxels, y as the fastest axis.

The filtered views lie in blocks of ``BLOCK`` neighbouring slices, ``(n_blocks, n_views, n_rows,
BLOCK)``, so that all that a small tile of voxels needs is contiguous and stays in the cache. For
each voxel column ``(x, z)`` of a block, all views are summed in registers, two fused
multiply-adds per eight voxels and view.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from tiltwright.engine.errors import InputError

BLOCK = 64
"""Slices (y) in a block: eight registers of eight floats."""
FRACTION_BITS = 16
"""Row positions are fixed-point integers with this many fractional bits (1.5e-5 of a row)."""
TILE_X = 16
_LANES = 8
_ONE = 1 << FRACTION_BITS
_MASK = _ONE - 1
_STEP = np.float32(1.0 / _ONE)

Float32s = npt.NDArray[np.float32]
Int32s = npt.NDArray[np.int32]


@intrinsic
def _sum_rows_vector(typingctx: Any, out: Any, at: Any, rows: Any, offset: Any, w: Any) -> Any:
    """Emit the loop over views with all of a block's voxels held in vector registers."""
    signature = types.void(out, at, rows, offset, w)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def data(k: int) -> Any:
            return context.make_array(sig.args[k])(context, builder, args[k])

        lane, i64 = ir.FloatType(), ir.IntType(64)
        vector = ir.VectorType(lane, _LANES)
        n_registers = BLOCK // _LANES
        fma = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{_LANES}f32"
        )
        target, source, offsets, weights = data(0), data(2), data(3), data(4)
        n_views = builder.extract_value(offsets.shape, 0)
        entry = builder.block
        loop = builder.append_basic_block("views")
        done = builder.append_basic_block("views.done")
        builder.branch(loop)
        builder.position_at_end(loop)
        view = builder.phi(i64)
        view.add_incoming(ir.Constant(i64, 0), entry)
        sums = [builder.phi(vector) for _ in range(n_registers)]
        for s in sums:
            s.add_incoming(ir.Constant(vector, [0.0] * _LANES), entry)

        def splat(index: Any) -> Any:
            value = builder.load(builder.gep(weights.data, [index]))
            one = builder.insert_element(
                ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
            )
            return builder.shuffle_vector(
                one,
                ir.Constant(vector, ir.Undefined),
                ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES),
            )

        twice = builder.shl(view, ir.Constant(i64, 1))
        w0, w1 = splat(twice), splat(builder.add(twice, ir.Constant(i64, 1)))
        start = builder.load(builder.gep(offsets.data, [view]))
        results = []
        for k, s in enumerate(sums):
            for w_k, extra in ((w0, 0), (w1, BLOCK)):
                place = builder.add(start, ir.Constant(i64, k * _LANES + extra))
                pointer = builder.gep(source.data, [place])
                value = builder.load(builder.bitcast(pointer, vector.as_pointer()), align=4)
                s = builder.call(fma, [w_k, value, s])
            results.append(s)
        following = builder.add(view, ir.Constant(i64, 1))
        view.add_incoming(following, loop)
        for s, result in zip(sums, results, strict=True):
            s.add_incoming(result, loop)
        builder.cbranch(builder.icmp_signed("<", following, n_views), loop, done)
        builder.position_at_end(done)
        for k, result in enumerate(results):
            place = builder.add(args[1], ir.Constant(i64, k * _LANES))
            pointer = builder.gep(target.data, [place])
            builder.store(result, builder.bitcast(pointer, vector.as_pointer()), align=4)
        return context.get_dummy_value()

    return signature, codegen


def _sum_rows(out: Any, at: int, rows: Any, offset: Any, weight: Any) -> None:
    """Interpolated rows of all views, summed: ``out[at + k] = sum_v w0 r[k] + w1 r[B + k]``.

    This is the plain form; compiled code uses the vector form of the same sum.
    """
    for k in range(BLOCK):
        total = np.float32(0.0)
        for v in range(offset.shape[0]):
            start = offset[v] + k
            total += weight[2 * v] * rows[start] + weight[2 * v + 1] * rows[start + BLOCK]
        out[at + k] = total


@overload(_sum_rows, inline="never")
def _sum_rows_compiled(out: Any, at: Any, rows: Any, offset: Any, weight: Any) -> Any:
    def implementation(out: Any, at: Any, rows: Any, offset: Any, weight: Any) -> None:
        _sum_rows_vector(out, np.int64(at), rows, offset, weight)  # type: ignore[call-arg]

    return implementation


@njit(nogil=True, cache=True)
def _tile(
    rows: Any, n_rows: int, at_x: Any, at_z: Any, out: Any, block: int, x0: int, x1: int
) -> None:
    n_z, n_views = at_z.shape
    n_x = at_x.shape[0]
    per_block = n_views * n_rows * BLOCK
    n_blocks = rows.shape[0] // per_block
    block_rows = rows[block * per_block : (block + 1) * per_block]
    offset = np.empty(n_views, np.int64)
    weight = np.empty(2 * n_views, np.float32)
    for z in range(n_z):
        for x in range(x0, x1):
            for v in range(n_views):
                at = at_x[x, v] + at_z[z, v]
                second = np.float32(at & _MASK) * _STEP
                offset[v] = ((at >> FRACTION_BITS) + v * n_rows) * BLOCK
                weight[2 * v] = np.float32(1.0) - second
                weight[2 * v + 1] = second
            _sum_rows(out, ((z * n_blocks + block) * n_x + x) * BLOCK, block_rows, offset, weight)


@njit(nogil=True, cache=True, parallel=True)
def _all_tiles(rows: Any, n_rows: int, at_x: Any, at_z: Any, out: Any) -> None:
    n_x, n_views = at_x.shape
    n_blocks = rows.shape[0] // (n_views * n_rows * BLOCK)
    n_tiles = (n_x + TILE_X - 1) // TILE_X
    for task in prange(n_blocks * n_tiles):
        x0 = (task % n_tiles) * TILE_X
        _tile(rows, n_rows, at_x, at_z, out, task // n_tiles, x0, min(x0 + TILE_X, n_x))


def fixed_point(position: npt.NDArray[np.floating[Any]]) -> Int32s:
    """Row positions as fixed-point integers, rounded to the nearest."""
    result: Int32s = np.rint(position * _ONE).astype(np.int32)
    return result


def backproject(rows: Float32s, at_x: Int32s, at_z: Int32s, out: Float32s) -> None:
    """Back-project filtered views into a slab of voxels, linear interpolation, in parallel.

    Uses as many threads as numba is set to. The voxel ``(x, z)`` takes from view ``v`` the row at
    ``at_x[x, v] + at_z[z, v]``, for every slice of every block.

    Parameters
    ----------
    rows : (n_blocks, n_views, n_rows, BLOCK) float32
        Filtered views with their weights, C-contiguous.
    at_x : (n_x, n_views) int32
    at_z : (n_z, n_views) int32
        The two parts of the row position, from :func:`fixed_point`.
    out : (n_z, n_blocks, n_x, BLOCK) float32
        Overwritten.

    Raises
    ------
    InputError
        Shapes disagree, or a position lies outside ``0 <= position < n_rows - 1``.
    """
    n_blocks, n_views, n_rows, width = rows.shape
    (n_x, views_x), (n_z, views_z) = at_x.shape, at_z.shape
    if (views_x, views_z, width) != (n_views, n_views, BLOCK) or n_views == 0:
        raise InputError(f"back-projection: positions of {views_x} views for {n_views} views")
    if out.shape != (n_z, n_blocks, n_x, BLOCK) or not (
        rows.flags.c_contiguous and out.flags.c_contiguous
    ):
        raise InputError(f"back-projection: a slab of shape {out.shape} does not fit the views")
    if out.size == 0:
        return
    low = at_x.min(axis=0).astype(np.int64) + at_z.min(axis=0)
    high = at_x.max(axis=0).astype(np.int64) + at_z.max(axis=0)
    if low.min() < 0 or high.max() >= (n_rows - 1) * _ONE:
        raise InputError("back-projection: a voxel lies outside the filtered rows")
    _all_tiles(rows.reshape(-1), n_rows, at_x, at_z, out.reshape(-1))
