"""Estimates of several designs put back into the order of their responses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmmformula.inference.many.estimates import Estimates
from lmmformula.typing import Array, Index

__all__ = ["placed"]


def placed(parts: Sequence[Estimates], places: Sequence[Index], size: int) -> Estimates:
    """One record of `size` responses, those of each part at its places; nan where nobody is.

    Coefficients are matched by name: a design with fewer rows may have lost some.
    """
    if len(parts) == 1 and len(places[0]) == size:
        return parts[0]
    names = max((part.names for part in parts), key=len)
    every = (*names, *(n for part in parts for n in part.names if n not in names))
    names = tuple(dict.fromkeys(every))
    p = len(names)
    keys = list(dict.fromkeys(key for part in parts for key in part.parameters))
    beta, errors, degrees = (np.full((size, p), np.nan) for _ in range(3))
    vcov = np.full((size, p, p), np.nan)
    single = {name: np.full(size, np.nan) for name in ("sigma", "residual_df", "llf")}
    flags = {name: np.zeros(size, dtype=bool) for name in ("converged", "singular")}
    parameters: dict[str, Array] = {key: np.full(size, np.nan) for key in keys}
    for part, at in zip(parts, places, strict=True):
        columns = np.array([names.index(n) for n in part.names], dtype=np.intp)
        for out, values in ((beta, part.beta), (errors, part.errors), (degrees, part.degrees)):
            out[at[:, None], columns] = values
        vcov[at[:, None, None], columns[:, None], columns] = part.vcov
        for name, out in (*single.items(), *flags.items()):
            out[at] = getattr(part, name)
        for key, values in part.parameters.items():
            parameters[key][at] = values
    return Estimates(
        names,
        beta,
        errors,
        degrees,
        vcov,
        parameters,
        single["sigma"],
        single["residual_df"],
        single["llf"],
        flags["converged"],
        flags["singular"],
        together=all(part.together for part in parts),
    )
