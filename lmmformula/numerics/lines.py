"""Weighted sums of lines of a block in the processor's vectors, written in LLVM's language.

The sum of ``WIDTH`` columns over the entries of a compressed row belongs into registers. Numba has no name for a vector: sums
in a small array are written to memory and read again at each entry, and of as many scalars LLVM's vectoriser makes the vectors
of half the length with moves between them (1,000,000 entries, 50,000 lines, on one core of 2.4 GHz: 8.5 and 6.3 ms in single
precision, 2.5 ms by what is written here; 9.3, 6.4 and 4.4 ms in double).
"""

from __future__ import annotations

from lmmformula.numerics.compiled import Written
from lmmformula.typing import Foreign

__all__ = ["WIDTH", "add_lines"]

WIDTH = 8
"""Columns of a block that are summed at a time."""


def _add_lines() -> Foreign:
    """Numba's intrinsic."""
    from llvmlite import ir
    from numba.core import types
    from numba.extending import intrinsic

    i64 = ir.IntType(64)
    flags = ("contract", "reassoc")

    def generate(context: Foreign, builder: Foreign, signature: Foreign, arguments: Foreign) -> Foreign:
        kinds = signature.args
        cols, data, x, total = (
            context.make_array(kind)(context, builder, value)
            for kind, value in zip((*kinds[:3], kinds[6]), (*arguments[:3], arguments[6]), strict=True)
        )
        at, first, last = arguments[3:6]
        number = context.get_value_type(kinds[2].dtype)
        vector = ir.VectorType(number, WIDTH)
        size = context.get_abi_sizeof(number)
        width = builder.extract_value(x.shape, 1)

        def vector_at(base: Foreign, place: Foreign) -> Foreign:
            return builder.bitcast(builder.gep(base, [place]), vector.as_pointer())

        def spread(value: Foreign) -> Foreign:
            one = builder.insert_element(
                ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
            )
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
            return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)

        target = vector_at(total.data, ir.Constant(i64, 0))
        before, entered = builder.load(target, align=size), builder.block
        loop, end = builder.append_basic_block("entries"), builder.append_basic_block("summed")
        builder.cbranch(builder.icmp_unsigned("<", first, last), loop, end)
        builder.position_at_end(loop)
        entry, running = builder.phi(i64), builder.phi(vector)
        line = builder.load(builder.gep(cols.data, [entry]))
        line = line if line.type == i64 else builder.zext(line, i64)
        place = builder.add(builder.mul(line, width), at)
        value = spread(builder.load(builder.gep(data.data, [entry])))
        product = builder.fmul(value, builder.load(vector_at(x.data, place), align=size), flags=flags)
        after = builder.fadd(running, product, flags=flags)
        following = builder.add(entry, ir.Constant(i64, 1))
        entry.add_incoming(first, entered)
        entry.add_incoming(following, loop)
        running.add_incoming(before, entered)
        running.add_incoming(after, loop)
        builder.cbranch(builder.icmp_unsigned("<", following, last), loop, end)
        builder.position_at_end(end)
        result = builder.phi(vector)
        result.add_incoming(before, entered)
        result.add_incoming(after, loop)
        builder.store(result, target, align=size)
        return context.get_dummy_value()

    @intrinsic
    def add_lines(typing, cols, data, x, at, first, last, total):  # type: ignore[no-untyped-def]
        """Add ``sum_e data[e] x[cols[e], at : at + WIDTH]``, e from `first` to `last`, to `total`, (WIDTH,)."""
        same = x.dtype == data.dtype == total.dtype
        if not same or x.layout != "C" or x.ndim != 2 or cols.dtype not in (types.int32, types.int64):
            return None
        place = types.uint64
        return types.void(cols, data, x, place, place, place, total), generate

    return add_lines


add_lines = Written(_add_lines)
"""``add_lines(cols, data, x, at, first, last, total)`` within a compiled loop.

Adds ``sum_e data[e] x[cols[e], at : at + WIDTH]``, e from `first` to `last`, to `total`, (WIDTH,). `cols` are not negative;
data, x and total have one precision; places are of 64 bits without sign; x, in C order, has `WIDTH` columns from `at` on.
"""
