"""The chain rule: from derivatives in a coordinate c(eta) to derivatives in eta.

    l_e = l_c c',   l_ee = l_cc c'^2 + l_c c'',   l_eee = l_ccc c'^3 + 3 l_cc c' c'' + l_c c'''

summed over coordinates (mixed second derivatives vanish: a density with two coordinates is a sum of a function
of each). The expected information is a tensor of order two: ``I_e = I_c c'^2``.
Products run from the density's factor outwards: it is exactly 0 in tails where a power of c' alone overflows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from lmmformula.families.records import Array, Density, Information, Jet, Maybe, Part, Rows

__all__ = ["expected_rows", "full", "observed_rows", "reweighted", "scaled"]


def observed_rows(density: Density, jets: Sequence[Jet], n: int, *, derivatives: bool) -> Rows:
    """Rows with ``weight = -l_ee``."""
    pairs = list(zip(density.parts, jets, strict=True))
    weight = -_sum(_second(p.d1, p.d2, c) for p, c in pairs)
    if not derivatives:
        return Rows(full(density.loglik, n), _score(pairs, n), full(weight, n))
    each = range(len(density.d_aux))
    return Rows(
        loglik=full(density.loglik, n),
        score=_score(pairs, n),
        weight=full(weight, n),
        weight_eta=full(-_sum(_third(p, c) for p, c in pairs), n),
        d_aux=tuple(full(d, n) for d in density.d_aux),
        score_aux=_score_aux(pairs, n),
        weight_aux=tuple(
            full(-_sum(_second(p.d1_aux[j], p.d2_aux[j], c) for p, c in pairs), n) for j in each
        ),
    )


def expected_rows(
    density: Density, information: Sequence[Information], jets: Sequence[Jet], n: int, *, derivatives: bool
) -> Rows:
    """Rows with ``weight = -E l_ee``."""
    pairs = list(zip(density.parts, jets, strict=True))
    rows = Rows(full(density.loglik, n), _score(pairs, n), np.empty(0))
    if derivatives:
        d_aux = tuple(full(d, n) for d in density.d_aux)
        rows = replace(rows, d_aux=d_aux, score_aux=_score_aux(pairs, n))
    return reweighted(rows, information, jets, derivatives=derivatives)


def reweighted(
    rows: Rows, information: Sequence[Information], jets: Sequence[Jet], *, derivatives: bool
) -> Rows:
    """The same rows with ``weight = -E l_ee`` and its derivatives."""
    n = rows.score.size
    both = list(zip(information, jets, strict=True))
    weight = full(_sum(i.value * c.d1 * c.d1 for i, c in both), n)
    if not derivatives:
        return replace(rows, weight=weight)
    slopes = (i.d1 * c.d1 * c.d1 * c.d1 + 2 * (i.value * c.d1 * c.d2) for i, c in both)
    each = range(len(rows.d_aux))
    return replace(
        rows,
        weight=weight,
        weight_eta=full(_sum(slopes), n),
        weight_aux=tuple(full(_sum(i.aux[j] * c.d1 * c.d1 for i, c in both), n) for j in each),
    )


def scaled(rows: Rows, factor: Array) -> Rows:
    """Every entry times `factor`, for weights that repeat an observation."""

    def each(values: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(factor * v for v in values)

    return Rows(
        loglik=factor * rows.loglik,
        score=factor * rows.score,
        weight=factor * rows.weight,
        weight_eta=None if rows.weight_eta is None else factor * rows.weight_eta,
        d_aux=each(rows.d_aux),
        score_aux=each(rows.score_aux),
        weight_aux=each(rows.weight_aux),
    )


def full(values: Maybe, n: int) -> Array:
    """`values` as an array of its own, shape (n,)."""
    return values if np.shape(values) == (n,) else np.full(n, values)  # type: ignore[return-value]


def _score(pairs: Sequence[tuple[Part, Jet]], n: int) -> Array:
    return full(_sum(p.d1 * c.d1 for p, c in pairs), n)


def _score_aux(pairs: Sequence[tuple[Part, Jet]], n: int) -> tuple[Array, ...]:
    n_aux = len(pairs[0][0].d1_aux)
    return tuple(full(_sum(p.d1_aux[j] * c.d1 for p, c in pairs), n) for j in range(n_aux))


def _second(d1: Maybe, d2: Maybe, c: Jet) -> Maybe:
    return d2 if isinstance(c.d1, float) else d2 * c.d1 * c.d1 + d1 * c.d2


def _third(p: Part, c: Jet) -> Maybe:
    if isinstance(c.d1, float):
        return p.d3
    return p.d3 * c.d1 * c.d1 * c.d1 + 3 * (p.d2 * c.d1 * c.d2) + p.d1 * c.d3


def _sum(terms: Iterable[Maybe]) -> Maybe:
    first, *rest = terms
    for term in rest:
        first = first + term
    return first
