"""``fit.plot``: every plot of a fit under one name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmmformula.arguments import checked_methods
from lmmformula.arguments.kinds import optional, word
from lmmformula.errors import DataError
from lmmformula.inference.naivete import plot_naivete
from lmmformula.inference.profile import profile as _profile
from lmmformula.reporting.plots import checking as _checking
from lmmformula.reporting.plots import draws as _draws
from lmmformula.reporting.plots import effects as _effects
from lmmformula.reporting.plots import likelihood as _likelihood
from lmmformula.reporting.plots import marginal as _marginal
from lmmformula.reporting.plots import means as _means
from lmmformula.reporting.plots import rows as _rows
from lmmformula.reporting.plots import smooths as _smooths
from lmmformula.reporting.plots.canvas import new_axes
from lmmformula.typing import Argument, Arguments, Array, Axes, Drawn

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["Plots"]


@checked_methods(rest={"profile": (_profile,)}, kinds={"means": {"kind": optional(word("link", "response"))}})
@dataclass(frozen=True, slots=True, repr=False)
class Plots:
    """Plots of one fit. Each draws into ``ax=`` or into new axes, and returns them.

    Attributes
    ----------
    fit : Fit
    """

    fit: Fitted

    def residuals(self, ax: Axes | None = None, kind: str | None = None, seed: int = 0) -> Drawn:
        """Residuals against fitted values; see :func:`lmmformula.reporting.plots.rows.residuals`."""
        return _rows.residuals(self.fit, ax, kind, seed)

    def qq(self, ax: Axes | None = None, seed: int = 0) -> Drawn:
        """Quantile residuals against the normal distribution."""
        return _rows.qq(self.fit, ax, seed)

    def binned_residuals(self, ax: Axes | None = None, bins: int | None = None) -> Drawn:
        """Mean residuals in bins of the fitted mean: what to look at for binary responses and counts."""
        return _rows.binned_residuals(self.fit, ax, bins)

    def check(self, ax: Drawn = None, seed: int = 0, n: int = 50) -> Drawn:
        """Panel of checks: response and simulated ones, linearity, homogeneity, collinearity, normality; an array of Axes."""
        return _checking.check_panel(self.fit, ax, seed, n)

    def response(self, ax: Axes | None = None) -> Drawn:
        """Distribution of the response."""
        return _rows.response(self.fit, ax)

    def coefficients(self, ax: Axes | None = None, intercept: bool = False, level: float = 0.95) -> Drawn:
        """Forest of the fixed effects."""
        return _effects.coefficients(self.fit, ax, intercept, level)

    def marginal_effects(
        self, variable: str | None = None, ax: Axes | None = None, level: float = 0.95
    ) -> Drawn:
        """Expected response over one variable, the others held where they are typical."""
        return _marginal.marginal_effects(self.fit, variable, ax, level)

    def means(
        self,
        specs: str | Iterable[str],
        ax: Drawn = None,
        *,
        at: Arguments | None = None,
        kind: str | None = None,
        comparisons: bool = False,
        level: float = 0.95,
    ) -> Drawn:
        """Marginal means with their intervals, see :meth:`Fit.emmeans`; with comparison arrows if wanted."""
        return _means.means(self.fit, specs, ax, at=at, kind=kind, comparisons=comparisons, level=level)

    def smooths(self, ax: Drawn = None, level: float = 0.95, seed: int = 0) -> Drawn:
        """Every smooth with its bands, an Axes for each; see :meth:`Fit.smooth`."""
        return _smooths.smooths(self.fit, ax, level, seed)

    def caterpillar(
        self,
        ax: Axes | None = None,
        group: str | None = None,
        column: str | None = None,
        level: float = 0.95,
        most: int = _effects.MOST_LEVELS,
        spread: bool = True,
    ) -> Drawn:
        """Random effects of one factor in order; see :func:`lmmformula.reporting.plots.effects.caterpillar`."""
        return _effects.caterpillar(self.fit, ax, group, column, level, most, spread)

    def random_effects_qq(
        self, ax: Axes | None = None, group: str | None = None, column: str | None = None
    ) -> Drawn:
        """Random effects of one factor against the normal distribution."""
        return _effects.random_effects_qq(self.fit, ax, group, column)

    def profile(
        self,
        parameters: str | list[str] | None = None,
        ax: Drawn = None,
        level: float = 0.95,
        **options: Argument,
    ) -> Drawn:
        """Likelihood profiles; one Axes for one name, else an array of them."""
        return _likelihood.profile(self.fit, parameters, ax, level, **options)

    def influence(
        self, group: str | None = None, ax: Drawn = None, measure: str = "cooks_distance", refit: bool = False
    ) -> Drawn:
        """What leaving out rows or groups does: see :meth:`lmmformula.Fit.influence`."""
        from lmmformula.reporting.influence import influence_table

        return influence_table(self.fit, group, refit).plot(measure, ax)

    def naivete(self, ax: Drawn = None) -> Drawn:
        """What a plain GLM would get wrong: see :meth:`Fit.naivete`."""
        return plot_naivete(self.fit.naivete(), new_axes(ax))

    def trace(self, parameter: str, ax: Axes | None = None) -> Drawn:
        """Chains of one parameter of a Bayesian fit over their draws."""
        return _draws.trace(self._drawn(parameter), parameter, ax)

    def rank(self, parameter: str, ax: Axes | None = None, bins: int = 20) -> Drawn:
        """Rank histograms of the chains of one parameter of a Bayesian fit."""
        return _draws.rank(self._drawn(parameter), parameter, ax, bins)

    def _drawn(self, parameter: str) -> Array:
        self.fit.inference.check("chains")
        posterior = self.fit.inference.draws()
        try:
            return posterior[parameter]
        except KeyError as error:
            known = ", ".join((*posterior.beta_names, *posterior.names))
            raise DataError(f"there is no parameter {parameter!r}; known: {known}.") from error

    def __repr__(self) -> str:
        names = [name for name in dir(type(self)) if not name.startswith("_") and name != "fit"]
        return f"plots of a fit: {', '.join(f'.{name}()' for name in names)}"
