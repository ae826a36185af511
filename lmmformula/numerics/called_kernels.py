"""A compiled loop called by its address from another one.

Of a loop that calls others Numba compiles and optimises these again, at each level of calls. One that is long to compile is
compiled once where it is called through its address instead, by Numba's convention (:mod:`lmmformula.numerics.machine_code`).
"""

from __future__ import annotations

from lmmformula.numerics.compiled import Written
from lmmformula.typing import Foreign

__all__ = ["called_density"]


def _called_density() -> Foreign:
    from llvmlite import ir
    from numba.core import cgutils, types
    from numba.extending import intrinsic

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kinds, convention = signature.args[1:], context.call_conv
        shape = convention.get_function_type(signature.return_type, kinds)
        function = builder.inttoptr(arguments[0], shape.as_pointer())
        result = cgutils.alloca_once(builder, shape.args[0].pointee)
        error = cgutils.alloca_once(builder, shape.args[1].pointee)
        builder.store(ir.Constant(shape.args[0].pointee, float("nan")), result)
        flat = context.get_arg_packer(kinds).as_arguments(builder, arguments[1:])
        builder.call(function, [result, error, *flat])
        return builder.load(result)

    @intrinsic
    def called(  # type: ignore[no-untyped-def]
        typing,
        address,
        x,
        table,
        terms,
        mixing,
        numbers,
        log_var0,
        places,
        a,
        counts,
        merged,
        b,
        outer,
        g,
        border,
        slope,
    ):
        """What :func:`variance_slopes` at `address` returns; nan if it fails."""
        own = (x, table, terms, mixing, numbers, log_var0, places, a, counts, merged, b, outer, g, border)
        return types.float64(types.int64, *own, slope), generate

    return called


called_density = Written(_called_density)
