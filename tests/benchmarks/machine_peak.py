"""The machine's own limits for the arithmetic of back-projection, measured.

Every step of the back-projection kernel is a fused multiply-add whose factor comes from memory.
The limits are therefore: multiply-adds of registers alone, and multiply-adds fed from a cache.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from llvmlite import ir
from numba import get_num_threads, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from tiltwright.engine.recon.backproject import empty_rows
from tiltwright.engine.recon.vectors import BLOCK

LANES, SUMS = 16, 16
"""A vector of AVX-512 (two of AVX2), and as many independent sums as hide the latency."""


def _multiply_adds(from_memory: bool):
    @intrinsic
    def emit(typingctx, values, rounds):
        """Sum ``SUMS`` vectors per step over ``values``, ``rounds`` times; one float returned."""

        def codegen(context, builder, sig, args):
            lane, i64 = ir.FloatType(), ir.IntType(64)
            vector = ir.VectorType(lane, LANES)
            array = context.make_array(sig.args[0])(context, builder, args[0])
            fma = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{LANES}f32"
            )
            n = builder.extract_value(array.shape, 0)
            address = builder.bitcast(array.data, vector.as_pointer())
            factor = builder.load(address, align=4)
            sums = [cgutils.alloca_once_value(builder, factor) for _ in range(SUMS)]
            steps = builder.udiv(n, ir.Constant(i64, LANES * SUMS))
            with cgutils.for_range(builder, args[1]), cgutils.for_range(builder, steps) as step:
                first = builder.mul(step.index, ir.Constant(i64, SUMS))
                for k, place in enumerate(sums):
                    value = factor
                    if from_memory:
                        at = builder.gep(address, [builder.add(first, ir.Constant(i64, k))])
                        value = builder.load(at, align=4)
                    old = builder.load(place)
                    builder.store(builder.call(fma, [value, factor, old]), place)
            total = builder.load(sums[0])
            for place in sums[1:]:
                total = builder.fadd(total, builder.load(place))
            return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

        return types.float32(values, types.int64), codegen

    @njit(nogil=True)
    def run(values, rounds):
        return emit(values, rounds)

    return run


def multiply_adds_per_s(kilobytes: int, *, from_memory: bool) -> float:
    """Float32 multiply-adds per second of all of numba's threads, best of five.

    Each thread has its own ``kilobytes``: 16 lie in any first-level cache, 256 in the second.
    """
    run, threads = _multiply_adds(from_memory), get_num_threads()
    buffers = [empty_rows(BLOCK, 1, kilobytes * 256 // BLOCK).reshape(-1) for _ in range(threads)]
    rounds = 400_000 // kilobytes
    best = np.inf
    with ThreadPoolExecutor(threads) as pool:
        for b in buffers:
            b[:] = 0.5
            run(b, 1)
        for _ in range(5):
            start = time.perf_counter()
            list(pool.map(run, buffers, [rounds] * threads))
            best = min(best, time.perf_counter() - start)
    return threads * rounds * kilobytes * 256 / best
