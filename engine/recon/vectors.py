"""The innermost steps of back-projection and projection, written for the compiler in vectors.

LLVM is given vectors of ``LANES`` floats and splits them where the processor's are shorter. Each
step also has a plain form, which runs when numba's compiler is switched off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

LANES = 16
"""Floats in a vector: 64 bytes, a cache line."""
BLOCK = 32
"""Slices (y) in a block: two vectors."""
TILE = 2 * LANES
"""Columns (x) whose lines are stored at once: a cache line of int16 is never half written."""
FRACTION_BITS = 16
"""Row positions are fixed-point integers with this many fractional bits (1.5e-5 of a row)."""
_ONE = 1 << FRACTION_BITS

_FLOAT, _I32, _I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)
_MASK = ir.VectorType(_I32, LANES)


def _data(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.make_array(kind)(context, builder, value).data


def _load(builder: Any, data: Any, place: Any, extra: int) -> Any:
    at = builder.gep(data, [builder.add(place, ir.Constant(_I64, extra))])
    return builder.load(builder.bitcast(at, _VECTOR.as_pointer()), align=4)


def _save(builder: Any, value: Any, data: Any, place: Any, extra: int) -> None:
    at = builder.gep(data, [builder.add(place, ir.Constant(_I64, extra))])
    builder.store(value, builder.bitcast(at, _VECTOR.as_pointer()), align=4)


def _splat(builder: Any, value: Any) -> Any:
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(_MASK, [0] * LANES))


@intrinsic
def _add_views_vector(
    typingctx: Any, sums: Any, to: Any, rows: Any, start: Any, per_view: Any, at_x: Any, x: Any,
    at_z: Any, z: Any, n: Any,
) -> Any:  # fmt: skip
    """Emit the loop over views with the sums of a block held in registers."""
    signature = types.void(sums, to, rows, start, per_view, at_x, x, at_z, z, n)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        target, source, along_x, along_z = (
            _data(context, builder, sig.args[k], args[k]) for k in (0, 2, 5, 7)
        )
        to, start, per_view, x, z, n = (args[k] for k in (1, 3, 4, 6, 8, 9))
        fma = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fma.v{LANES}f32"
        )
        before = [_load(builder, target, to, k) for k in range(0, BLOCK, LANES)]
        entry = builder.block
        loop = builder.append_basic_block("views")
        done = builder.append_basic_block("views.done")
        builder.branch(loop)
        builder.position_at_end(loop)
        view, base = builder.phi(_I64), builder.phi(_I64)
        view.add_incoming(ir.Constant(_I64, 0), entry)
        base.add_incoming(start, entry)
        totals = [builder.phi(_VECTOR) for _ in before]
        for total, value in zip(totals, before, strict=True):
            total.add_incoming(value, entry)
        at = builder.add(
            builder.load(builder.gep(along_x, [builder.add(x, view)])),
            builder.load(builder.gep(along_z, [builder.add(z, view)])),
        )
        fraction = builder.sitofp(builder.and_(at, ir.Constant(_I32, _ONE - 1)), _FLOAT)
        second = builder.fmul(fraction, ir.Constant(_FLOAT, 1 / _ONE))
        first = builder.fsub(ir.Constant(_FLOAT, 1.0), second)
        weights = _splat(builder, first), _splat(builder, second)
        row = builder.zext(builder.lshr(at, ir.Constant(_I32, FRACTION_BITS)), _I64)
        place = builder.add(base, builder.mul(row, ir.Constant(_I64, BLOCK)))
        results = []
        for k, value in enumerate(totals):
            for j, weight in enumerate(weights):
                term = _load(builder, source, place, k * LANES + j * BLOCK)
                value = builder.call(fma, [weight, term, value])
            results.append(value)
        following = builder.add(view, ir.Constant(_I64, 1))
        view.add_incoming(following, loop)
        base.add_incoming(builder.add(base, per_view), loop)
        for total, result in zip(totals, results, strict=True):
            total.add_incoming(result, loop)
        builder.cbranch(builder.icmp_signed("<", following, n), loop, done)
        builder.position_at_end(done)
        for k, result in enumerate(results):
            _save(builder, result, target, to, k * LANES)
        return context.get_dummy_value()

    return signature, codegen


def add_views(
    sums: Any, to: int, rows: Any, start: int, per_view: int, at_x: Any, x: int, at_z: Any, z: int,
    n: int,
) -> None:  # fmt: skip
    """Add ``n`` views to the ``BLOCK`` voxels from ``sums[to]``, linear between two rows.

    All arrays are flat. View ``v`` begins at ``rows[start + v * per_view]``; its row is the sum of
    the fixed-point positions ``at_x[x + v]`` and ``at_z[z + v]``.
    """
    for v in range(n):
        at = at_x[x + v] + at_z[z + v]
        second = np.float32((at & (_ONE - 1)) / _ONE)
        place = start + v * per_view + (at >> FRACTION_BITS) * BLOCK
        for k in range(BLOCK):
            sums[to + k] += (np.float32(1) - second) * rows[place + k]
            sums[to + k] += second * rows[place + BLOCK + k]


@overload(add_views, jit_options={"forceinline": True})
def _add_views_compiled(
    sums: Any, to: Any, rows: Any, start: Any, per_view: Any, at_x: Any, x: Any, at_z: Any, z: Any,
    n: Any,
) -> Any:  # fmt: skip
    def implementation(
        sums: Any, to: Any, rows: Any, start: Any, per_view: Any, at_x: Any, x: Any, at_z: Any,
        z: Any, n: Any,
    ) -> None:  # fmt: skip
        _add_views_vector(  # type: ignore[call-arg]
            sums, np.int64(to), rows, np.int64(start), np.int64(per_view), at_x, np.int64(x),
            at_z, np.int64(z), np.int64(n),
        )  # fmt: skip

    return implementation


@intrinsic
def _spread_line_vector(
    typingctx: Any, rows: Any, start: Any, voxels: Any, source: Any, at_x: Any, x: Any, z: Any,
    n: Any,
) -> Any:  # fmt: skip
    """Emit the walk along x with the two rows that a voxel adds to held in registers."""
    signature = types.void(rows, start, voxels, source, at_x, x, z, n)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        target, volume, along_x = (_data(context, builder, sig.args[k], args[k]) for k in (0, 2, 4))
        start, source, x, z, n = (args[k] for k in (1, 3, 5, 6, 7))
        fma = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fma.v{LANES}f32"
        )
        parts = range(0, BLOCK, LANES)

        def position(i: Any) -> tuple[Any, Any]:
            at = builder.add(builder.load(builder.gep(along_x, [builder.add(x, i)])), z)
            row = builder.zext(builder.lshr(at, ir.Constant(_I32, FRACTION_BITS)), _I64)
            return at, builder.add(start, builder.mul(row, ir.Constant(_I64, BLOCK)))

        _, place_first = position(ir.Constant(_I64, 0))
        before = [_load(builder, target, place_first, k) for k in parts]
        before += [_load(builder, target, place_first, k + BLOCK) for k in parts]
        entry = builder.block
        loop, step, add, done = (
            builder.append_basic_block(f"line.{name}") for name in ("loop", "step", "add", "done")
        )
        builder.branch(loop)
        builder.position_at_end(loop)
        i, here, last = builder.phi(_I64), builder.phi(_I64), builder.phi(_I64)
        held = [builder.phi(_VECTOR) for _ in before]
        at, place = position(i)
        fraction = builder.sitofp(builder.and_(at, ir.Constant(_I32, _ONE - 1)), _FLOAT)
        second = builder.fmul(fraction, ir.Constant(_FLOAT, 1 / _ONE))
        weights = (
            _splat(builder, builder.fsub(ir.Constant(_FLOAT, 1.0), second)),
            _splat(builder, second),
        )
        values = [_load(builder, volume, here, k) for k in parts]
        builder.cbranch(builder.icmp_signed("==", place, last), add, step)
        # The next row: the first of the two is finished.
        builder.position_at_end(step)
        half = len(held) // 2
        for k, value in zip(parts, held[:half], strict=True):
            _save(builder, value, target, last, k)
        fresh = [_load(builder, target, place, k + BLOCK) for k in parts]
        builder.branch(add)
        builder.position_at_end(add)
        results = []
        for k, value in enumerate(held):
            kept = builder.phi(_VECTOR)
            kept.add_incoming(value, loop)
            kept.add_incoming(held[half + k] if k < half else fresh[k - half], step)
            results.append(kept)
        results = [
            builder.call(fma, [weights[k // half], values[k % half], kept])
            for k, kept in enumerate(results)
        ]
        following = builder.add(i, ir.Constant(_I64, 1))
        i.add_incoming(ir.Constant(_I64, 0), entry)
        i.add_incoming(following, add)
        here.add_incoming(source, entry)
        here.add_incoming(builder.add(here, ir.Constant(_I64, BLOCK)), add)
        last.add_incoming(place_first, entry)
        last.add_incoming(place, add)
        for value, first, result in zip(held, before, results, strict=True):
            value.add_incoming(first, entry)
            value.add_incoming(result, add)
        builder.cbranch(builder.icmp_signed("<", following, n), loop, done)
        builder.position_at_end(done)
        for k, result in enumerate(results):
            _save(builder, result, target, place, k * LANES)
        return context.get_dummy_value()

    return signature, codegen


def spread_line(
    rows: Any, start: int, voxels: Any, source: int, at_x: Any, x: int, z: int, n: int
) -> None:
    """Add ``n`` neighbouring columns of ``BLOCK`` voxels to the rows of a view, linear.

    All arrays are flat. Column ``i`` begins at ``voxels[source + i * BLOCK]``, the view at
    ``rows[start]``; the column's row is the fixed-point position ``at_x[x + i] + z``, which must
    grow by 0 to 1 rows from one column to the next.
    """
    for i in range(n):
        at = at_x[x + i] + z
        second = np.float32((at & (_ONE - 1)) / _ONE)
        place = start + (at >> FRACTION_BITS) * BLOCK
        for k in range(BLOCK):
            value = voxels[source + i * BLOCK + k]
            rows[place + k] += (np.float32(1) - second) * value
            rows[place + BLOCK + k] += second * value


@overload(spread_line, jit_options={"forceinline": True})
def _spread_line_compiled(
    rows: Any, start: Any, voxels: Any, source: Any, at_x: Any, x: Any, z: Any, n: Any
) -> Any:
    def implementation(
        rows: Any, start: Any, voxels: Any, source: Any, at_x: Any, x: Any, z: Any, n: Any
    ) -> None:
        _spread_line_vector(  # type: ignore[call-arg]
            rows, np.int64(start), voxels, np.int64(source), at_x, np.int64(x), np.int32(z),
            np.int64(n),
        )  # fmt: skip

    return implementation


@intrinsic
def _transpose_vector(typingctx: Any, source: Any, at: Any, target: Any, to: Any) -> Any:
    """Emit the transposition as four rounds of interleaving vector ``k`` with ``k + LANES / 2``."""
    signature = types.void(source, at, target, to)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        half = LANES // 2
        data, out = (_data(context, builder, sig.args[k], args[k]) for k in (0, 2))
        order = [i // 2 + LANES * (i % 2) for i in range(LANES)]
        low, high = (ir.Constant(_MASK, [i + shift for i in order]) for shift in (0, half))
        values = [_load(builder, data, args[1], k * BLOCK) for k in range(LANES)]
        for _ in range(LANES.bit_length() - 1):
            pairs = [(values[k], values[k + half]) for k in range(half)]
            values = [builder.shuffle_vector(a, b, m) for a, b in pairs for m in (low, high)]
        for k, value in enumerate(values):
            _save(builder, value, out, args[3], k * TILE)
        return context.get_dummy_value()

    return signature, codegen


def transpose(source: Any, at: int, target: Any, to: int) -> None:
    """``LANES`` columns, ``BLOCK`` apart from ``source[at]``, become rows ``TILE`` apart."""
    for i in range(LANES):
        for k in range(LANES):
            target[to + k * TILE + i] = source[at + i * BLOCK + k]


@overload(transpose, jit_options={"forceinline": True})
def _transpose_compiled(source: Any, at: Any, target: Any, to: Any) -> Any:
    def implementation(source: Any, at: Any, target: Any, to: Any) -> None:
        _transpose_vector(source, np.int64(at), target, np.int64(to))  # type: ignore[call-arg]

    return implementation
