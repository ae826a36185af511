"""A family: a distribution seen through a link. Everything a criterion asks of the rows goes through here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import FitError, PlanError
from lmmformula.families.autodiff import differentiated, expanded_rows, log_density
from lmmformula.families.compose import expected_rows, observed_rows, reweighted, scaled
from lmmformula.families.distribution import Distribution
from lmmformula.families.links import LINKS, Chart
from lmmformula.families.observed import Observed
from lmmformula.families.records import Array, Aux, Maybe, Rows
from lmmformula.families.response import read_category, read_numbers, read_proportion, read_tallies
from lmmformula.families.sisters import with_zeros
from lmmformula.families.traits import Traits
from lmmformula.typing import Namespace

__all__ = ["Family", "make_family", "zero_inflated"]


@dataclass(frozen=True, slots=True, repr=False)
class Family(Traits):
    """Distribution of the response given the linear predictor.

    ``weights`` below are prior weights, None for 1; what they mean is :attr:`weights_are`. ``aux`` are the
    auxiliary linear predictors in the order of :attr:`auxiliaries`, each an array (n,) or one number.
    """

    def _within(self, weights: Array | None) -> Maybe:
        """The weight inside one density: 1 where a row stands for equal rows that the caller counts."""
        return 1.0 if weights is None or self.repeated else weights

    def __str__(self) -> str:
        inside = f"{self.name[:-1]}, " if self.name.endswith(")") else f"{self.name}("
        return f"{inside}link={self.link!r})"

    def __repr__(self) -> str:
        return f"Family({str(self)!r})"

    @property
    def chart(self) -> Chart:
        """Coordinates of the density as functions of eta.

        Raises
        ------
        PlanError
            If the link does not lead to where the mean lives.
        """
        found = self.link_function.chart(self.distribution.mean_range)
        if found is None:
            raise PlanError(f"link {self.link!r} does not suit family {self.name!r}.")
        return found

    def valid(self, eta: Array) -> NDArray[np.bool_]:
        """Which rows have a mean in the distribution's range; all have for most links."""
        low, high = self.chart.domain
        return (eta > low) & (eta < high)

    def one_mean(self, what: str) -> None:
        """Refuse a mean of several columns, which `what` does not take.

        Raises
        ------
        PlanError
            For a distribution with several linear predictors of its mean.
        """
        if (columns := self.distribution.mean_columns) != 1:
            raise PlanError(
                f"the mean of family {self.name!r} has {columns} linear predictors, and {what} takes one. Fit a model for "
                "each, or use a family with one."
            )

    def of_response(
        self, parts: Sequence[object], name: str = "y", columns: Sequence[str] | None = None
    ) -> Family:
        """The family of an evaluated response, which says of categories which there are; `columns` name its parts."""
        names = columns or [str(k) for k in range(1, len(parts) + 1)]
        own = self.distribution.of_columns(parts, names, name)
        return self if own is self.distribution else replace(self, distribution=own)

    def with_parameters(self, names: Sequence[str]) -> Family:
        """The family of a model with formulas of these parameters."""
        own = self.distribution.with_parameters(names)
        return self if own is self.distribution else replace(self, distribution=own)

    def unread(self) -> Family:
        """Without what an earlier response said."""
        if not self.outcomes:
            return self
        return replace(self, distribution=replace(self.distribution, categories=()))  # type: ignore[call-arg]

    def probabilities(self, eta: Array, aux: Aux = ()) -> Array:
        """Of each category, (K, n)."""
        with np.errstate(all="ignore"):
            return self.distribution.probabilities(self.link_function.mean(eta), self._predictors(aux))

    def learn(self, y: Array, weights: Array | None = None) -> Family:
        """The family of this response, whose number of auxiliary parameters may depend on it."""
        own = self.distribution.learn(y, self._within(weights))
        return self if own is self.distribution else replace(self, distribution=own)

    def own(self, y: Array) -> Array:
        """Responses as this family takes them: numbers alone, unless of some only bounds are known."""
        return y.plain if isinstance(y, Observed) and self.distribution.is_plain else y

    def constant(self, y: Array, weights: Array | None = None) -> Maybe:
        """The part of the log density in y alone. Compute it once and hand it to :meth:`rows`."""
        with np.errstate(all="ignore"):
            return self.distribution.constant(y, self._within(weights))

    def rows(
        self,
        y: Array,
        eta: Array,
        aux: Aux = (),
        weights: Array | None = None,
        *,
        information: Literal["observed", "expected"] = "observed",
        derivatives: bool = True,
        constant: Maybe | None = None,
    ) -> Rows:
        """Log density of each row with its derivatives in eta and in the auxiliary predictors.

        Parameters
        ----------
        y, eta : (n,) arrays
        aux : tuple of (n,) arrays or numbers
        weights : (n,) array, optional
        information : {"observed", "expected"}
            Whether ``weight`` is ``-d2l/deta2`` or its expectation over y.
        derivatives : bool
            False leaves out ``weight_eta`` and everything about `aux`: enough to find a mode.
        constant : (n,) array or number, optional
            :meth:`constant` of y and weights.
        """
        if information not in ("observed", "expected"):
            raise ValueError(f"information must be 'observed' or 'expected', not {information!r}")
        own = self.distribution
        aux = self._predictors(aux)
        repeats = self.weights_are == "repeats"
        inner = 1.0 if weights is None or repeats else weights
        with np.errstate(all="ignore"):
            const = own.constant(y, self._within(weights)) if constant is None else constant
            direct = own.direct.get(self.link)
            if direct is not None and (self.is_canonical or information == "observed"):
                rows = direct(y, eta, aux, inner, const, derivatives=derivatives)
            else:
                rows = self._composed(y, eta, aux, inner, const, information == "expected", derivatives)
            if weights is not None and repeats:
                rows = scaled(rows, weights)
            return self._outside(rows, eta)

    def log_density(
        self, y: Array, weights: Array | None, xp: Namespace
    ) -> Callable[[Array, tuple[Array, ...]], Array]:
        """(eta, aux) -> log density of each row, (n,), over an array namespace; -inf outside of the link's domain.

        The same numbers as :meth:`rows`, to be traced by JAX.
        """
        self.one_mean("a posterior")
        repeats = self.weights_are == "repeats"
        rows = log_density(self.distribution, self.chart, y, 1.0 if repeats else self._within(weights), xp)
        constant = self.constant(y, weights)

        def each(eta: Array, aux: tuple[Array, ...]) -> Array:
            value = constant + rows(eta, aux)
            return value if weights is None or not repeats else weights * value

        return each

    def location(self, eta: Array) -> Array:
        """mu, the inverse link of eta: what :meth:`variance`, :meth:`deviance_residual_squared` and the formulas take.

        The expectation of the response, except for zero-inflated families (mean of the base) and the lognormal
        (mean of log y).
        """
        with np.errstate(all="ignore"):
            return self.link_function.mean(eta)

    def slope(self, eta: Array) -> Array:
        """d mu / d eta of :meth:`location`."""
        return np.broadcast_to(self.link_function.mean_jet(eta).d1, eta.shape)

    def mean(self, eta: Array, aux: Aux = ()) -> Array:
        """Expectation of the response."""
        with np.errstate(all="ignore"):
            return self.distribution.mean(self.link_function.mean(eta), self._predictors(aux))

    def variance(self, mu: Array, aux: Aux = ()) -> Array:
        """Variance of the response at unit weight; `mu` is :meth:`location`, not :meth:`mean`."""
        return self.dispersion(aux) * self.unit_variance(mu, aux)

    def unit_variance(self, mu: Array, aux: Aux = (), weights: Array | None = None) -> Array:
        """``V(mu)`` of ``var y = dispersion V(mu) / w``, R's variance function, of rows of these weights."""
        if weights is None:
            return self.distribution.unit_variance(mu, self._predictors(aux))
        return self.distribution.row_variance(mu, self._predictors(aux), self._within(weights))

    def dispersion(self, aux: Aux = ()) -> Maybe:
        """phi of ``var y = phi V(mu) / w``: sigma^2 where sigma is a free scale, else 1."""
        return self.distribution.dispersion(self._predictors(aux))

    def deviance_residual_squared(
        self, y: Array, mu: Array, weights: Array | None = None, aux: Aux = ()
    ) -> Array:
        """R's ``dev.resids``: unit deviance times weight, not divided by the dispersion.

        Families outside the exponential dispersion models: ``2 w [l(y; mu = y) - l(y; mu)]``, not below 0.
        """
        with np.errstate(all="ignore"):
            squared = self.distribution.deviance(y, mu, self._predictors(aux), self._within(weights))
        return squared * weights if self.repeated and weights is not None else squared

    def simulate(
        self, rng: np.random.Generator, eta: Array, aux: Aux = (), weights: Array | None = None
    ) -> Array:
        """One response for each row.

        Raises
        ------
        FitError
            For an eta outside of the link's domain, as drawn effects may give.
        """
        w = self._within(weights)
        if any(np.isfinite(self.chart.domain)) and not (valid := self.valid(eta)).all():
            low, high = self.chart.domain
            raise FitError(
                f"{int((~valid).sum()):,} of {valid.size:,} drawn linear predictors lie outside of {low:g} to {high:g}, where "
                f"link {self.link!r} has means of family {self.name!r} (first: {np.ravel(eta)[~np.ravel(valid)][0]:g}): "
                "random effects as wide as those of this fit cross the limit. Use a link without one, such as "
                f"{'logit' if self.distribution.mean_range == 'unit' else 'log'!r}."
            )
        return self.distribution.draw(rng, self.link_function.mean(eta), self._predictors(aux), w)

    def cdf(
        self, y: Array, eta: Array, aux: Aux = (), weights: Array | None = None, *, below: bool = False
    ) -> Array:
        """``P(Y <= y)``; with `below` ``P(Y < y)``, which differs where the response is discrete.

        A randomised quantile residual is the normal quantile of a uniform draw between the two
        (Dunn & Smyth 1996).
        """
        w, own = self._within(weights), self.distribution
        find = own.below if below else own.cdf
        with np.errstate(all="ignore"):
            return find(y, self.link_function.mean(eta), self._predictors(aux), w)

    def start(self, y: Array, weights: Array | None = None) -> Array:
        """Linear predictor of a mean near each observation, inside the link's domain; offsets are not removed."""
        mu = self.distribution.start(y, self._within(weights))
        if self.distribution.mean_range == "real" and self.link_function.needs_positive:
            mu = np.where(mu > 0, mu, 0.1 * (float(np.mean(np.abs(mu))) or 1.0))
        return self.link_function.eta(mu)

    def start_aux(self, y: Array, eta: Array, weights: Array | None = None) -> tuple[float, ...]:
        """Moment estimates of constant auxiliary predictors, given fitted `eta`."""
        with np.errstate(all="ignore"):
            return self.distribution.start_aux(y, self.link_function.mean(eta), self._within(weights))

    def events(self, y: Array, weights: Array | None = None) -> Array:
        """Successes and failures, or the sum of the counts; infinite for measurements. Sums over rows."""
        return self.distribution.events(y, 1.0 if weights is None else weights)

    def check(self, y: Array, weights: Array | None = None, name: str = "y") -> None:
        """Refuse values the family cannot give, or weights that mean nothing.

        Raises
        ------
        DataError
            Counts the offending rows of the response `name` and says what to do.

        Warns
        -----
        LmmformulaWarning
            For weights of proportions that are not their trials.
        """
        self.distribution.check(np.asarray(y, float), 1.0 if weights is None else weights, name)

    def read(
        self, parts: Sequence[object], *, trials: object = None, weights: Array | None = None, name: str = "y"
    ) -> tuple[Array, Array | None]:
        """Response vector and weights from the evaluated parts of the left-hand side.

        Parameters
        ----------
        parts : sequence
            Each a numeric or logical array, a factor as ``(codes, levels)`` or an object with these attributes;
            two for ``cbind(successes, failures)``.
        trials : (n,) array, optional
            n of ``y | trials(n)``.
        weights : (n,) array, optional
            Multiplied into the trials where there are any.
        name : str
            The left-hand side as written.
        """
        if self.distribution.tallies:
            return read_tallies(parts, trials, weights, name, self.distribution)
        if self.distribution.support == "categories":
            return read_category(parts, trials, weights, name, self.distribution)
        if self.weights_are == "trials":
            return read_proportion(parts, trials, weights, name)
        return read_numbers(parts, trials, weights, name, self.name)

    def _predictors(self, aux: Aux) -> Aux:
        expected = len(self.auxiliaries)
        if len(aux) != expected:
            names = ", ".join(a.name for a in self.auxiliaries) or "none"
            raise ValueError(
                f"{self} has {expected} auxiliary predictors ({names}), but {len(aux)} were given"
            )
        return tuple(np.asarray(a, float)[()] for a in aux)

    def _composed(
        self, y: Array, eta: Array, aux: Aux, w: Maybe, constant: Maybe, expected: bool, derivatives: bool
    ) -> Rows:
        jets, own = self.chart.jets(eta), self.distribution
        c = tuple(jet.value for jet in jets)
        information = own.information(c, aux, w, derivatives=derivatives) if expected else ()
        density = own.density(y, c, aux, w, constant, derivatives=derivatives)
        if density is None:
            ways = expanded_rows if own.expands else differentiated
            rows = ways(own, self.link_function, y, eta, aux, w, constant, derivatives=derivatives)
            return reweighted(rows, information, jets, derivatives=derivatives) if expected else rows
        if expected:
            return expected_rows(density, information, jets, eta.size, derivatives=derivatives)
        return observed_rows(density, jets, eta.size, derivatives=derivatives)

    def _outside(self, rows: Rows, eta: Array) -> Rows:
        """Rows whose eta has no mean: impossible, and without derivatives."""
        if not any(np.isfinite(self.chart.domain)):
            return rows
        valid = self.valid(eta)
        if valid.all():
            return rows
        rows = scaled(rows, np.where(valid, 1.0, np.nan))
        rows.loglik[~valid] = -np.inf
        return rows


def make_family(distribution: Distribution, link: str | None = None) -> Family:
    """A distribution with one of its links, by default its first."""
    name = distribution.links[0] if link is None else link
    return Family(distribution.through(name), LINKS[distribution.link_prefix + name])


def zero_inflated(family: Family) -> Family:
    """`family` with an additional auxiliary predictor: the logit of the probability of a zero.

    Where the family gives zeros itself these are structural ones beside them (:class:`ZeroInflated`); where it gives none, as
    truncated counts, positive numbers and proportions, all zeros are (:class:`Hurdle`), as in glmmTMB.

    Raises
    ------
    PlanError
        If `family` has real numbers for a response, or zeros of a predictor already.
    """
    made = with_zeros(family.distribution)
    if made is None:
        raise PlanError(
            f"zero inflation needs a count family (poisson, nbinom2), positive numbers or proportions (gamma, beta), not "
            f"{family.name!r}: other families have no zeros to inflate, or have them already."
        )
    return replace(family, distribution=made)
