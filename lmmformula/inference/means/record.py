"""Means, contrasts or trends that belong together, and what can be made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isqrt

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.means.cells import transformed
from lmmformula.inference.means.comparisons import Comparison, comparison, label_text
from lmmformula.inference.means.estimates import Estimates
from lmmformula.inference.means.grid import Label
from lmmformula.inference.means.scales import IDENTITY, Scale
from lmmformula.inference.multiplicity import Family
from lmmformula.typing import Argument, Arguments, Array

__all__ = ["Means", "contrasted", "interactions", "refuse_unknown", "regridded"]


@dataclass(frozen=True, slots=True, eq=False)
class Means:
    """Estimates with their labels.

    Attributes
    ----------
    labels : dict
        Column -> its entry for each estimate, in the order shown.
    by : tuple of str
        Columns within whose combinations estimates are compared and adjusted.
    estimates : Estimates
    scale : Scale
        Way back to the response.
    name : str
        What the estimates are called: "emmean", "estimate", "x.trend".
    are_contrasts : bool
    pairs_of : int
        k, where the estimates of a group are all differences of k means, in the largest group; else 0.
    kind : {"link", "response"}
        The scale that is shown.
    adjust : str
        The usual adjustment of p-values.
    level : float
    averaged : tuple of str
        Variables that were averaged over.
    notes : tuple of str
    errors : str
        Where standard errors and degrees of freedom come from.
    seed : int or Generator
        Of adjustments that draw.
    """

    labels: Mapping[str, Sequence[Label]]
    by: tuple[str, ...]
    estimates: Estimates
    scale: Scale
    name: str
    are_contrasts: bool = False
    pairs_of: int = 0
    kind: str = "link"
    adjust: str = "none"
    level: float = 0.95
    averaged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    errors: str = ""
    seed: int | np.random.Generator | None = field(default=0, repr=False)

    @property
    def own(self) -> tuple[str, ...]:
        """Columns that tell the estimates of a group apart."""
        return tuple(name for name in self.labels if name not in self.by)

    @property
    def shown(self) -> Scale:
        """The scale of the numbers that are shown."""
        return self.scale if self.kind == "response" else IDENTITY

    def groups(self, by: Sequence[str] | None = None) -> dict[tuple[Label, ...], list[int]]:
        """Values of the `by` columns -> positions of their estimates, in order of appearance."""
        columns = [self.labels[name] for name in (self.by if by is None else by)]
        out: dict[tuple[Label, ...], list[int]] = {}
        for i in range(len(self.estimates)):
            out.setdefault(tuple(column[i] for column in columns), []).append(i)
        return out

    def family(self, positions: Sequence[int]) -> Family:
        """Estimates of one group as a family of tests, those that are estimable."""
        own = self.estimates.taken(positions)
        own = own.taken(np.flatnonzero(own.estimable))
        rows = own.rows
        sizes = np.sqrt(np.einsum("ri,ri->r", rows, rows))
        unit = rows / np.where(sizes > 0.0, sizes, 1.0)[:, None]
        rank = int(np.linalg.matrix_rank(unit)) if len(own) else 0
        means = (1 + isqrt(1 + 8 * len(positions))) // 2 if self.pairs_of else 0  # groups may differ in size
        return Family(means, rank, own.correlation(), self.seed)


def regridded(means: Means) -> Means:
    """The same on the scale of the response, of which contrasts are then differences."""
    if means.scale.is_identity:
        return means
    name = means.scale.response
    return replace(
        means, estimates=transformed(means.estimates, means.scale), scale=IDENTITY, name=name, kind="link"
    )


def contrasted(
    means: Means,
    method: Argument = "pairwise",
    *,
    by: Iterable[str] | None = None,
    adjust: str | None = None,
    ref: Argument = None,
) -> Means:
    """Contrasts of the means within each combination of `by`.

    Raises
    ------
    DataError
        For an unknown method or column, or groups of different means where contrasts need the same.
    """
    by = means.by if by is None else tuple(by)
    refuse_unknown(means, by)
    own = tuple(name for name in means.labels if name not in by)
    rows: list[Array] = []
    labels: dict[str, list[Label]] = {"contrast": [], **{name: [] for name in by}}
    found: Comparison | None = None
    for group, positions in means.groups(by).items():
        values = [tuple(means.labels[name][i] for name in own) for i in positions]
        found = comparison(method, [label_text(own, v) for v in values], values, ref)
        full = np.zeros((len(found.matrix), len(means.estimates)))
        full[:, positions] = found.matrix
        rows.append(full)
        labels["contrast"] += found.names
        for name, value in zip(by, group, strict=True):
            labels[name] += [value] * len(found.names)
    assert found is not None  # there is at least one mean
    matrix = np.concatenate(rows)
    return _contrasts(means, matrix, labels, by, found, adjust or found.adjust)


def _contrasts(
    means: Means,
    matrix: Array,
    labels: Mapping[str, Sequence[Label]],
    by: tuple[str, ...],
    found: Comparison,
    adjust: str,
) -> Means:
    sums = np.abs(matrix.sum(axis=1))
    are_differences = bool((sums <= 1e-12 * np.abs(matrix).sum(axis=1)).all())
    scale = means.scale if not are_differences else means.scale.of_differences()
    if are_differences and not scale.is_identity and means.kind == "response":
        within = [name for name in labels if name not in by]
        labels = {**labels, **{name: [str(v).replace(" - ", " / ") for v in labels[name]] for name in within}}
    return replace(
        means,
        labels=labels,
        by=by,
        estimates=means.estimates.combined(matrix),
        scale=replace(scale, bias=0.0) if are_differences else scale,
        name="estimate",
        are_contrasts=True,
        pairs_of=found.matrix.shape[1] if found.all_pairs else 0,
        adjust=adjust,
    )


def interactions(
    means: Means, methods: Arguments, by: Iterable[str] | None = None, adjust: str | None = None
) -> Means:
    """Contrasts of contrasts: products of those of each factor.

    Parameters
    ----------
    methods : mapping
        Factor -> the contrasts of its levels.
    """
    by = means.by if by is None else tuple(by)
    refuse_unknown(means, (*by, *methods))
    own = tuple(methods)
    rows: list[Array] = []
    labels: dict[str, list[Label]] = {f"{n}_{_method_name(m)}": [] for n, m in methods.items()}
    labels |= {name: [] for name in by}
    for group, positions in means.groups(by).items():
        levels = [list(dict.fromkeys(means.labels[name][i] for i in positions)) for name in own]
        place = {tuple(means.labels[name][i] for name in own): i for i in positions}
        if len(place) != len(positions):
            rest = [n for n in means.labels if n not in by and n not in own]
            raise DataError(
                f"interaction contrasts of {', '.join(own)} leave {', '.join(rest)} open: name these too, or give them as by=."
            )
        parts = [
            comparison(method, [label_text(("",), (v,)) for v in values], [(v,) for v in values], None)
            for (name, method), values in zip(methods.items(), levels, strict=True)
        ]
        cells = [
            place.get(tuple(values[i] for values, i in zip(levels, index, strict=True)))
            for index in _fast_first([len(values) for values in levels])
        ]
        for chosen in _fast_first([len(part.names) for part in parts]):
            weights = np.ones(1)
            for part, j in zip(parts, chosen, strict=True):
                weights = np.multiply.outer(part.matrix[j], weights).ravel()
            full = np.zeros(len(means.estimates))
            for cell, weight in zip(cells, weights, strict=True):
                if cell is not None:
                    full[cell] += weight
                elif weight:
                    full[:] = np.nan
            rows.append(full)
            for column, part, j in zip(labels, parts, chosen, strict=False):
                labels[column].append(part.names[j])
            for name, value in zip(by, group, strict=True):
                labels[name].append(value)
    matrix = np.array(rows).reshape(len(rows), len(means.estimates))
    return _contrasts(means, matrix, labels, by, Comparison((), np.zeros((0, 0))), adjust or "none")


def _method_name(method: Argument) -> str:
    return method if isinstance(method, str) else "custom"


def _fast_first(sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """All index tuples, the first index fastest."""
    index = np.indices(sizes[::-1]).reshape(len(sizes), -1)[::-1]
    return [tuple(int(i) for i in column) for column in index.T]


def refuse_unknown(means: Means, names: Iterable[str]) -> None:
    """Refuse names that are no columns.

    Raises
    ------
    DataError
    """
    for name in names:
        if name not in means.labels:
            raise DataError(f"there is no column {name!r} among {', '.join(means.labels)}.")
