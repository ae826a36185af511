"""Estimates of many responses as arrays, and those of several designs put back into the order of their responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmmformula.typing import Array, Index

__all__ = ["Estimates", "placed"]


@dataclass(frozen=True, eq=False)
class Estimates:
    """B fits of one structure.

    Attributes
    ----------
    names : tuple of str
        Of the fixed effects.
    beta, errors : (B, p) arrays
    degrees : (B, p) array
        Of t tests; infinite for z.
    vcov : (B, p, p) array
    parameters : dict from names to (B,) arrays
        Fixed effects, standard deviations, correlations, sigma.
    sigma : (B,) array
    residual_df : (B,) array
        Of the residual variance; nan where there is none.
    llf : (B,) array
    converged, singular : (B,) bool arrays
    together : bool
        Whether they were fitted together.
    """

    names: tuple[str, ...]
    beta: Array
    errors: Array
    degrees: Array
    vcov: Array
    parameters: dict[str, Array]
    sigma: Array
    residual_df: Array
    llf: Array
    converged: NDArray[np.bool_]
    singular: NDArray[np.bool_]
    together: bool

    @property
    def n(self) -> int:
        """B."""
        return len(self.beta)

    def part(self, some: Index) -> Estimates:
        """Those of some of the responses."""
        return Estimates(
            self.names,
            self.beta[some],
            self.errors[some],
            self.degrees[some],
            self.vcov[some],
            {key: values[some] for key, values in self.parameters.items()},
            self.sigma[some],
            self.residual_df[some],
            self.llf[some],
            self.converged[some],
            self.singular[some],
            self.together,
        )


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
