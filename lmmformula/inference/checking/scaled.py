r"""Residuals by simulation, uniform if the model is right, for every family (Dunn & Smyth 1996; Hartig's DHARMa).

For n responses y* drawn from the fit (:mod:`lmmformula.inference.checking.replicates`) the residual of row r is drawn::

    l_r = #(y*_r < y_r) / n,     u_r = #(y*_r <= y_r) / n,     s_r ~ U(l_r, u_r)                                          (1)

which is l_r where both agree, as they do for continuous responses. It is uniform on (0, 1) up to the error of n simulations
whatever the family is. With effects drawn anew (*unconditional*) rows of one group share their error and their s are
dependent, but each is uniform; with the effects of the fit (*conditional*) they are nearly independent, and shrunken effects
make them a little too central.

Simulations are made one by one, twice if need be, from a seed that is kept: at most `KEPT` numbers stay in memory. Cost O(n
N) draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.checking.columns import groups_of, in_words
from lmmformula.inference.checking.replicates import at_rows, sampled
from lmmformula.inference.residuals import auxiliary, linear_predictor
from lmmformula.inference.rows import row_labels
from lmmformula.inference.simulate import warn_of_dispersion
from lmmformula.typing import Array, Data, Index

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["Scaled", "Simulations", "scaled_residuals"]

KEPT = 20_000_000
"""Simulated numbers that are kept; more are drawn again when they are needed."""


@dataclass(frozen=True, eq=False)
class Simulations:
    """Responses drawn from a model beside those observed.

    Attributes
    ----------
    observed : (N,) array
    fitted : (N,) array
        Expected response, with the effects of the fit or with effects of zero (as DHARMa has it).
    n : int
    discrete : bool
        Whether equal responses have probability.
    draw : callable
        -> the n responses, each (N,), the same each time.
    """

    observed: Array
    fitted: Array
    n: int
    discrete: bool
    draw: Callable[[], Iterator[Array]] = field(repr=False)  # a record, for a function would not be pickled

    @classmethod
    def of(cls, observed: Array, simulated: Array, fitted: Array, *, discrete: bool) -> Simulations:
        """Of simulations made elsewhere, (N, n)."""
        return cls(observed, fitted, simulated.shape[1], discrete, _Made(simulated.T))

    @cached_property
    def _kept(self) -> list[Array] | None:
        return list(self.draw()) if self.n * len(self.observed) <= KEPT else None

    def __iter__(self) -> Iterator[Array]:
        return self.draw() if self._kept is None else iter(self._kept)

    @property
    def matrix(self) -> Array:
        """All of them, (N, n)."""
        return np.column_stack(list(self))

    @cached_property
    def ranks(self) -> tuple[Array, Array]:
        """l and u of (1), (N,) each."""
        below, equal = np.zeros(len(self.observed)), np.zeros(len(self.observed))
        for y in self:
            below += y < self.observed
            equal += y == self.observed
        return below / self.n, (below + equal) / self.n

    def summaries(self, statistic: Callable[[Array], float]) -> Array:
        """A statistic of each of the simulations, (n,)."""
        return np.array([statistic(y) for y in self])

    def added_up(self, codes: Index, groups: int) -> Simulations:
        """Sums of the rows of each group."""
        drawn = _AddedUp(self, codes, groups)
        return Simulations(drawn.of(self.observed), drawn.of(self.fitted), self.n, self.discrete, drawn)


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """Simulations that are there, (n, N)."""

    simulated: Array

    def __call__(self) -> Iterator[Array]:
        return iter(self.simulated)


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """Responses drawn from a fit, the same ones at each call."""

    fit: Fitted
    n: int
    seed: int
    conditional: bool
    rows: Index | None

    def __call__(self) -> Iterator[Array]:
        rng = np.random.default_rng([0, self.seed])
        return self.fit.inference.replicates(self.n, rng, conditional=self.conditional, rows=self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class _AddedUp:
    """Simulations whose rows are added up by group."""

    simulations: Simulations
    codes: Index
    groups: int

    def of(self, y: Array) -> Array:
        return np.bincount(self.codes, y, self.groups).astype(float)

    def __call__(self) -> Iterator[Array]:
        return map(self.of, self.simulations)


@dataclass(frozen=True, eq=False)
class Scaled:
    """Scaled residuals with the simulations that they come from.

    Attributes
    ----------
    residuals : (N,) array
        s of (1).
    simulations : Simulations
    index : pandas Index
        Labels of the rows, or of the groups whose rows were added up.
    what : str
        The model and what was drawn, in words.
    seed : int
        From which the same residuals come again.
    conditional : bool
        Whether the simulations keep the random effects of the fit.
    source : Fit or None
        With the positions of the rows among its own in `rows`.
    rows : (N,) array of int, or None
        All for None.
    """

    residuals: Array
    simulations: Simulations
    index: pd.Index
    what: str
    seed: int
    conditional: bool
    source: Fitted | None = field(default=None, repr=False)
    rows: Index | None = field(default=None, repr=False)

    @property
    def n(self) -> int:
        """Number of simulations."""
        return self.simulations.n

    @property
    def normal(self) -> Array:
        """The residuals as normal quantiles, those outside of all simulations at half a simulation from the end."""
        from scipy.special import ndtri

        edge = 0.5 / (self.n + 1)
        return ndtri(np.clip(self.residuals, edge, 1.0 - edge))

    @property
    def frame(self) -> pd.DataFrame:
        """Columns ``observed, fitted, lower, upper, residual`` under the labels of the rows."""
        import pandas as pd

        lower, upper = self.simulations.ranks
        return pd.DataFrame(
            {
                "observed": self.simulations.observed,
                "fitted": self.simulations.fitted,
                "lower": lower,
                "upper": upper,
                "residual": self.residuals,
            },
            index=self.index,
        )

    def __len__(self) -> int:
        return len(self.residuals)


def scaled(simulations: Simulations, seed: int) -> Array:
    """s of (1)."""
    lower, upper = simulations.ranks
    if np.array_equal(lower, upper):
        return lower
    return lower + (upper - lower) * np.random.default_rng([1, seed]).uniform(size=len(lower))


def scaled_residuals(
    fit: Fitted,
    n: int = 250,
    seed: int | np.random.Generator | None = None,
    conditional: bool = False,
    by_group: Data = None,
    rows: Data = None,
    made: type[Scaled] = Scaled,
) -> Scaled:
    """Scaled residuals of a fit.

    Parameters
    ----------
    fit : Fit
    n : int
        Simulations; a residual has a resolution of 1/n.
    seed : int or Generator, optional
    conditional : bool
        Keep the random effects of the fit, instead of drawing them anew.
    by_group : str or (rows,) array, optional
        A column of the data or a grouping factor; responses of its levels are added up first, as by :meth:`recalculate`.
    rows : slice, mask or array of int, optional
        Positions among the rows of the fit; all by default.
    made : type
        What is returned.

    Returns
    -------
    Scaled
    """
    fit.problem.refuse_elsewhere("simulation of residuals")
    if fit.problem.family.hides:
        raise DataError(
            "simulated residuals rank responses among simulated ones, and of censored responses only bounds are known. Use "
            "residuals('quantile'), which draws within what is known of each."
        )
    warn_of_dispersion(fit)
    drawn_from = np.random.default_rng(seed)
    own = int(seed) if isinstance(seed, (int, np.integer)) else int(drawn_from.integers(2**62))
    problem, family = fit.problem, fit.problem.family
    chosen = None if rows is None else positions(problem.n, rows)
    draw = _Drawn(fit, n, own, conditional, chosen)
    observed = sampled(problem, chosen).y
    simulations = Simulations(observed, _expected(fit, conditional, chosen), n, family.has_atoms, draw)
    index = row_labels(problem) if chosen is None else row_labels(problem)[chosen]
    effects = (
        "" if not problem.terms else ", random effects kept" if conditional else ", random effects drawn anew"
    )
    subset = "" if chosen is None else f", {in_words(len(chosen), problem.n)}"
    what = f"{problem.formula} ({family}): {n:,} simulations of {len(observed):,} rows{effects}{subset}"
    found = made(scaled(simulations, own), simulations, index, what, own, conditional, fit, chosen)
    return found if by_group is None else recalculated(found, by_group, "by_group")


def positions(n: int, rows: Data) -> Index:
    """Positions among n rows.

    Raises
    ------
    DataError
    """
    try:
        found = np.atleast_1d(np.arange(n)[rows])
    except (IndexError, TypeError, ValueError) as error:
        raise DataError(f"rows={rows!r} must be positions from 0 to {n - 1}, a slice or a mask.") from error
    if not len(found):
        raise DataError("rows= chooses no row: there is nothing to simulate.")
    return found


def _expected(fit: Fitted, conditional: bool, rows: Index | None) -> Array:
    problem = fit.problem
    if conditional:
        mean = fit.inference.mean_response()
    else:
        mean = problem.family.mean(linear_predictor(fit, ()), auxiliary(fit))
    found = at_rows(np.asarray(mean, dtype=float), rows)
    assert found is not None
    return found


def recalculated(found: Scaled, group: Data, role: str = "group") -> Any:
    """Residuals of sums over the rows of each group.

    Parameters
    ----------
    found : Scaled
    group : str or (rows,) array
        A column of the data, a grouping factor, or one entry for each row.
    role : str
        The argument, for messages.

    Returns
    -------
    Scaled
        Of the type of `found`, under the labels of the groups.
    """
    import pandas as pd

    codes, levels, name = groups_of(found.source, group, role, found.rows, len(found))
    simulations = found.simulations.added_up(codes, len(levels))
    what = f"{found.what}, added up by {name} ({len(levels):,})"
    index = pd.Index(levels, name=name)
    return type(found)(
        scaled(simulations, found.seed), simulations, index, what, found.seed, found.conditional
    )
