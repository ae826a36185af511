r"""A distribution of which only part is seen: responses censored, truncated, or both.

With f, F the density and distribution function of a base at a row's mean and parameters, a row adds

    log f(y),   log F(y),   log(1 - F(y)),   log[F(y2) - F(y)]

where y was seen, or lies left of it, right of it, or between (Tobin 1958; Kalbfleisch & Prentice 2002, eq. 3.2), less
``log[F(most) - F(least)]`` where others would not have been among the data. A censored row of a truncated response lies in the
part of its interval that could be seen. Of a discrete response ``least`` counts as seen, as in Stan. Each term is a probability
of an interval (:mod:`lmmformula.families.between`), so that

    l = l_seen + sum of +- log P(lo < Y <= hi),

and the derivatives that a Laplace approximation needs are those of series (:mod:`lmmformula.families.taylor`).

The parameters, means and variances are those of the base: of responses before any of them was censored or left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, PlanError
from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.between import log_between, rows_of
from lmmformula.families.distribution import Distribution, Support
from lmmformula.families.observed import Observed
from lmmformula.families.records import Array, Aux, Density, Maybe, Part
from lmmformula.families.taylor import SERIES, expanded, read, variables
from lmmformula.typing import Namespace, Numbers

__all__ = ["Seen"]

ROUNDS = 60
"""Draws of a truncated response after which what has not come is found by bisection."""


class _Piece(NamedTuple):
    """Rows that add `sign` log P(lo < Y <= hi), all of them with the same ends finite."""

    sign: float
    rows: NDArray[np.intp]
    lo: Array
    hi: Array


@dataclass(frozen=True, slots=True)
class Seen(Distribution):
    """What is seen of a base distribution.

    Parameters
    ----------
    base : Distribution
    censored, truncated : bool
        Which of both the formula asks for.
    least, most : float
        Bounds of a truncated response where all rows have the same: to draw responses by.
    by_row : bool
        Whether rows have bounds of their own.
    """

    base: Distribution
    censored: bool = False
    truncated: bool = False
    least: float = -np.inf
    most: float = np.inf
    by_row: bool = False

    name = "seen"

    if not TYPE_CHECKING:  # class variables elsewhere; here they are the base's

        @property
        def mean_range(self) -> str:
            return self.base.mean_range

        @property
        def links(self) -> tuple[str, ...]:
            return self.base.links

        @property
        def weights_are(self) -> str:
            return self.base.weights_are

        @property
        def discrete(self) -> bool:
            return self.base.discrete

        @property
        def atoms(self) -> tuple[float, ...]:
            return self.base.atoms

        @property
        def forgives(self) -> bool:
            return self.base.forgives

        @property
        def scales(self) -> bool:
            return self.base.scales

        @property
        def weight_power(self) -> float:
            return self.base.weight_power

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        return self.base.auxiliaries

    @property
    def label(self) -> str:
        return self.base.label

    @property
    def support(self) -> Support:
        return self.base.support

    @property
    def words(self) -> str:
        """Which of both, as the formula writes it."""
        return " and ".join([*["cens()"] * self.censored, *["trunc()"] * self.truncated])

    @property
    def hides(self) -> bool:
        return self.censored

    @property
    def is_plain(self) -> bool:
        return False

    def measured(self, y: Array) -> NDArray[np.bool_] | None:
        return self._observed(y).is_exact

    def learn(self, y: Array, w: Maybe) -> Distribution:
        own = self.base.learn(self._middle(y), w)
        return self if own is self.base else replace(self, base=own)

    # -- density -----------------------------------------------------------------------------------------------------

    def constant(self, y: Array, w: Maybe) -> Maybe:
        y = self._observed(y)
        exact = y.is_exact
        return np.where(exact, self.base.constant(_inside(y, exact), w), 0.0)

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        y = self._observed(y)
        exact = np.flatnonzero(y.is_exact)
        base = self._base_rows(y, exact, c, aux, w)
        total = xp.zeros(xp.broadcast_shapes(np.shape(c[0]), y.shape))
        if len(exact):
            total = _add(total, exact, self.base.log_density(*base, xp), xp)
        for piece in self._pieces(y):
            some = self._base_rows(y, piece.rows, c, aux, w)
            value = log_between(self.base, piece.lo, piece.hi, *some[1:], xp)
            total = _add(total, piece.rows, piece.sign * value, xp)
        return total

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density:
        y = self._observed(y)
        n, k = len(y), len(self.auxiliaries) if derivatives else 0
        out = np.zeros((3 + (1 + 3 * k if derivatives else 0), n))
        exact = np.flatnonzero(y.is_exact)
        if len(exact):
            rows = self._base_rows(y, exact, c, aux, w)
            found = self.base.density(*rows, 0.0, derivatives=derivatives)
            if found is None:
                found = expanded(self.base.log_density, *rows, 0.0, derivatives=derivatives)
            out[:, exact] += _flat(found, k, len(exact), derivatives=derivatives)
        for piece in self._pieces(y):
            _, (t,), own, some_w = self._base_rows(y, piece.rows, c, aux, w)
            around, at = variables(t, own, derivatives=derivatives)
            value = log_between(self.base, piece.lo, piece.hi, (around,), at, some_w, SERIES)
            slopes, by = read(value, t.shape)
            rows = [*slopes, *(b[i] for i in range(3) for b in by)]
            out[:, piece.rows] += piece.sign * np.array(rows[: len(out)])
        return _density(out, constant, k, derivatives=derivatives)

    def series(
        self, y: Array, c: tuple[Numbers, ...], aux: tuple[Numbers, ...], w: Maybe
    ) -> Iterator[tuple[float, NDArray[np.intp], Numbers]]:
        """Parts of the log density less its constant, of predictors that are series: a sign, rows, and the part of these."""
        y = self._observed(y)
        exact = np.flatnonzero(y.is_exact)
        if len(exact):
            yield 1.0, exact, self.base.log_density(*self._base_rows(y, exact, c, aux, w), SERIES)
        for piece in self._pieces(y):
            some = self._base_rows(y, piece.rows, c, aux, w)
            yield piece.sign, piece.rows, log_between(self.base, piece.lo, piece.hi, *some[1:], SERIES)

    @property
    def informs(self) -> bool:
        return False

    @property
    def narrows(self) -> bool:
        return self.base.narrows

    def _uninformed(self) -> PlanError:
        return PlanError(
            f"y | {self.words} has no expected information that quasi-likelihoods could take. Use method='laplace', "
            "quadrature (nagq=) or method='hmc'."
        )

    def _middle(self, y: Array) -> Array:
        """A response within what is known of each."""
        if not isinstance(y, Observed):
            return y
        return np.ceil(y.middle) if self.discrete else y.middle

    def _observed(self, y: Array) -> Observed:
        if not isinstance(y, Observed) or y.seen is None:
            raise PlanError(
                f"what is asked for takes plain responses, and of some responses of this model, y | {self.words}, only bounds "
                "are known. Ask it of a fit without."
            )
        return y

    def _base_rows(
        self, y: Observed, rows: NDArray[np.intp], c: tuple[Numbers, ...], aux: Aux, w: Maybe
    ) -> tuple[Array, tuple[Numbers, ...], Aux, Maybe]:
        """What the base is asked about some rows."""
        return (
            y.plain[rows],
            tuple(rows_of(x, rows) for x in c),
            tuple(rows_of(a, rows) for a in aux),
            rows_of(w, rows),
        )

    def _pieces(self, y: Observed) -> Iterator[_Piece]:
        lo, hi, least, most = y.known.T
        least = self._open(np.ceil(least) - 1.0 if self.discrete else least)
        cut = y.is_truncated
        there = np.flatnonzero(lo != hi)
        if len(there):
            low = np.where(cut, np.maximum(lo, least), lo)[there]
            yield from _by_ends(1.0, there, self._open(low), np.where(cut, np.minimum(hi, most), hi)[there])
        there = np.flatnonzero(cut)
        if len(there):
            yield from _by_ends(-1.0, there, least[there], most[there])

    def _open(self, lo: Array) -> Array:
        """A lower end at or below which no response can be is none."""
        if self.discrete:
            return np.where(lo < 0.0, -np.inf, lo)
        return np.where(lo <= 0.0, -np.inf, lo) if self.support != "reals" else lo

    # -- what else is asked of a distribution -------------------------------------------------------------------------

    def mean(self, mu: Array, aux: Aux) -> Array:
        return self.base.mean(mu, aux)

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        return self.base.unit_variance(mu, aux)

    def row_variance(self, mu: Array, aux: Aux, w: Maybe) -> Array:
        return self.base.row_variance(mu, aux, w)

    def dispersion(self, aux: Aux) -> Maybe:
        return self.base.dispersion(aux)

    def deviance(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        """Where y was seen the base's; elsewhere -2 log P of the interval, which a mean far inside makes 0."""
        own = self._observed(y)
        exact = own.is_exact
        found = np.asarray(self.base.deviance(_inside(own, exact), mu, aux, w), float).copy()
        for piece in self._pieces(own):
            if piece.sign < 0:
                continue
            _, c, at, some = self._base_rows(own, piece.rows, self._coordinates(mu), aux, w)
            found[piece.rows] = -2.0 * log_between(self.base, piece.lo, piece.hi, c, at, some, np)
        return found

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        """Responses as they are before censoring, and among those that could be seen where they are truncated."""
        if not self.truncated:
            return self.base.draw(rng, mu, aux, w)
        if self.by_row:
            raise PlanError(
                "responses of y | trunc(lb, ub) with bounds in columns cannot be drawn: bounds of other rows are not known. "
                "With the same bounds for all rows, as in trunc(lb = 0), they can."
            )
        return self._drawn(rng, mu, aux, w)

    def _drawn(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        mu, w, *own = np.broadcast_arrays(np.asarray(mu, float), np.asarray(w, float), *aux)
        y, left = np.full(mu.shape, np.nan), np.ones(mu.shape, dtype=bool)
        for _ in range(ROUNDS):
            drawn = self.base.draw(rng, mu[left], tuple(a[left] for a in own), w[left])
            low = drawn >= self.least if self.discrete else drawn > self.least
            y[left] = np.where(low & (drawn <= self.most), drawn, np.nan)
            left = np.isnan(y)
            if not left.any():
                return y
        raise PlanError(
            f"{int(left.sum()):,} responses could not be drawn: at their means hardly any response lies within the bounds of "
            f"trunc() ({self.least:g} to {self.most:g}). Look at the fitted means, or at fewer rows."
        )

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        """At the upper end of what is known of y, among responses that could be seen."""
        return self._share(y, mu, aux, w, upper=True)

    def below(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        return self._share(y, mu, aux, w, upper=False)

    def _share(self, y: Array, mu: Array, aux: Aux, w: Maybe, *, upper: bool) -> Array:
        own = self._observed(y)
        lo, hi, least, most = own.known.T
        exact = own.is_exact

        def below(at: Array) -> Array:
            """F, 0 and 1 at the ends."""
            inside = np.isfinite(at)
            found = self.base.cdf(np.where(inside, at, own.middle), mu, aux, w)
            return np.where(inside, found, np.where(at > 0, 1.0, 0.0))

        first = below(self._open(np.ceil(least) - 1.0 if self.discrete else least))
        last = below(most)
        if upper:
            at = below(hi)
        else:
            seen = self.base.below(_inside(own, exact), mu, aux, w)
            at = np.where(exact, seen, below(self._open(lo)))
        return np.clip((at - first) / np.maximum(last - first, 1e-300), 0.0, 1.0)

    def step(self, w: Maybe) -> Maybe:
        return self.base.step(w)

    def events(self, y: Array, w: Maybe) -> Array:
        return self.base.events(_plain(y), w)

    def start(self, y: Array, w: Maybe) -> Array:
        return self.base.start(self._middle(y), w)

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        return self.base.start_aux(self._middle(y), mu, w)

    def check(self, y: Array, w: Maybe, label: str) -> None:
        self.base.check(self._middle(y), w, label)
        if isinstance(y, Observed) and y.seen is not None:
            lo, hi, least, most = y.seen.T
            outside = (lo == hi) & (
                (y.plain > most) | ((y.plain < least) if self.discrete else (y.plain <= least))
            )
            if outside.any():
                raise DataError(
                    f"{int(outside.sum()):,} of {len(y):,} responses `{label}` lie outside of the bounds of trunc(); a "
                    "truncated response has none there"
                )


def _plain(y: Array) -> Array:
    return y.plain if isinstance(y, Observed) else y


def _inside(y: Observed, exact: NDArray[np.bool_]) -> Array:
    """Responses, with one that was seen in the place of others."""
    if exact.all():
        return y.plain
    return np.where(exact, y.plain, y.plain[np.argmax(exact)] if exact.any() else y.middle)


def _by_ends(sign: float, rows: NDArray[np.intp], lo: Array, hi: Array) -> Iterator[_Piece]:
    """Pieces of rows of one kind; a row about which nothing is known adds nothing."""
    low, high = np.isfinite(lo), np.isfinite(hi)
    for chosen in (low & high, low & ~high, ~low & high):
        if chosen.any():
            yield _Piece(sign, rows[chosen], lo[chosen], hi[chosen])


def _add(total: Numbers, rows: NDArray[np.intp], value: Numbers, xp: Namespace) -> Numbers:
    if xp is np:
        total[..., rows] += value
        return total
    return total.at[..., rows].add(value)


def _flat(found: Density, k: int, n: int, *, derivatives: bool) -> Array:
    """l, l_x, l_xx(, l_xxx, l_a, l_ax, l_axx), one below the other."""
    (part,) = found.parts
    rows: list[Maybe] = [found.loglik, part.d1, part.d2]
    if derivatives:
        rows += [part.d3, *found.d_aux[:k], *part.d1_aux[:k], *part.d2_aux[:k]]
    return np.array([np.broadcast_to(r, (n,)) for r in rows])


def _density(out: Array, constant: Maybe, k: int, *, derivatives: bool) -> Density:
    loglik = constant + out[0]
    if not derivatives:
        return Density(loglik, (Part(out[1], out[2]),))
    d_aux, d1, d2 = (tuple(out[4 + i * k : 4 + (i + 1) * k]) for i in range(3))
    return Density(loglik, (Part(out[1], out[2], out[3], d1, d2),), d_aux)
