"""Residuals by simulation as an object that prints, tests and draws itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from lmmformula.arguments import checked_methods
from lmmformula.arguments.kinds import anything, function, optional, text, word
from lmmformula.arguments.kinds_of_data import numbers_of_rows
from lmmformula.inference.checking import residual_tests as _tests
from lmmformula.inference.checking.autocorrelation import durbin_watson, moran
from lmmformula.inference.checking.columns import groups_of, numbers_of, places_of
from lmmformula.inference.checking.outcome import ALTERNATIVES, Alternative, Outcome
from lmmformula.inference.checking.scaled import Scaled, recalculated
from lmmformula.reporting.exhibits import Drawing, Exhibit
from lmmformula.reporting.grids import Grid
from lmmformula.reporting.html import inline_table, small
from lmmformula.reporting.lines import wrapped
from lmmformula.typing import Array, Data, Drawn

__all__ = ["SimulatedResiduals"]

_HEADER = ("Test", "Statistic", "Value", "Two-sided", "")
_ALTERNATIVE = word(*ALTERNATIVES)
_VALUES = numbers_of_rows("the name of a column, or one value for each row", column=True)
_KINDS = {
    "test_uniformity": {"alternative": _ALTERNATIVE},
    "test_dispersion": {"alternative": _ALTERNATIVE},
    "test_zero_inflation": {"alternative": _ALTERNATIVE},
    "test_generic": {
        "alternative": _ALTERNATIVE,
        "statistic": function("a function of an array that returns a number"),
        "name": text("what the statistic is called"),
    },
    "test_outliers": {
        "alternative": _ALTERNATIVE,
        "margin": word("both", "upper", "lower"),
        "method": word("default", "binomial", "bootstrap"),
    },
    "test_quantiles": {"predictor": optional(_VALUES), "at": anything("numbers between 0 and 1")},
    "test_temporal": {"time": _VALUES, "series": optional(_VALUES), "alternative": _ALTERNATIVE},
    "test_spatial": {
        "x": anything("the name of a column, one number for each row, or coordinates (rows, d)"),
        "y": optional(_VALUES),
        "alternative": _ALTERNATIVE,
    },
    "recalculate": {"group": _VALUES},
}


@checked_methods(kinds=_KINDS)
class SimulatedResiduals(Scaled):
    """Scaled residuals of a fit: uniform on (0, 1) if the model is right, whatever its family.

    ``residuals`` holds them, ``normal`` their normal quantiles, ``frame`` a row for each row of the data. See
    :mod:`lmmformula.inference.checking.scaled` for their definition, :mod:`lmmformula.inference.checking.residual_tests` for
    the tests.
    """

    def test_uniformity(self, alternative: Alternative = "two-sided") -> Outcome:
        """Kolmogorov & Smirnov's test of the residuals against the uniform distribution."""
        return _tests.uniformity(self, alternative)

    def test_dispersion(self, alternative: Alternative = "two-sided") -> Outcome:
        """Variance around the fit over that of the simulations: above 1 overdispersion ("greater"), below 1 underdispersion."""
        return _tests.dispersion(self, alternative)

    def test_zero_inflation(self, alternative: Alternative = "two-sided") -> Outcome:
        """Number of zeros over that of the simulations."""
        return _tests.zero_inflation(self, alternative)

    def test_outliers(
        self,
        alternative: Alternative = "two-sided",
        margin: Literal["both", "upper", "lower"] = "both",
        method: Literal["default", "binomial", "bootstrap"] = "default",
    ) -> Outcome:
        """Number of rows outside of all simulations."""
        return _tests.outliers(self, alternative, margin, method)

    def test_quantiles(self, predictor: Data = None, at: Sequence[float] = (0.25, 0.5, 0.75)) -> Outcome:
        """Whether quantiles of the residuals move with the prediction, or with a `predictor`."""
        own = None if predictor is None else self._numbers(predictor, "predictor")
        return _tests.quantiles(self, own, at)

    def test_generic(
        self,
        statistic: Callable[[Array], float],
        alternative: Alternative = "two-sided",
        name: str = "Statistic",
    ) -> Outcome:
        """A statistic of the response against that of the simulations."""
        return _tests.generic(self, statistic, alternative, name)

    def test_temporal(
        self, time: Data, series: Data = None, alternative: Alternative = "two-sided"
    ) -> Outcome:
        """Durbin & Watson's test in the order of `time`, within each of the `series`: a column, a grouping factor, an array."""
        codes = None if series is None else groups_of(self.source, series, "series", self.rows, len(self))[0]
        return durbin_watson(self.residuals, self._numbers(time, "time"), codes, alternative)

    def test_spatial(self, x: Data, y: Data = None, alternative: Alternative = "two-sided") -> Outcome:
        """Moran's I by inverse distances: coordinates `x` and `y`, or an array (rows, d) as `x`."""
        if y is None:
            places = places_of(self.source, x, "x", self.rows)
        else:
            places = _beside(self._numbers(x, "x"), self._numbers(y, "y"))
        return moran(self.residuals, places, alternative)

    def recalculate(self, group: Data) -> SimulatedResiduals:
        """Residuals of the sums over the rows of each level of `group`: a column, a grouping factor or an array."""
        return recalculated(self, group)

    def plot(self, ax: Drawn = None) -> Drawn:
        """Quantiles against the uniform distribution, and residuals over ranks of the prediction; returns both Axes."""
        from lmmformula.reporting.plots.checking import scaled_panel

        return scaled_panel(self, ax)

    def _numbers(self, given: Data, role: str) -> Array:
        return numbers_of(self.source, given, role, self.rows, len(self))

    def _outcomes(self) -> list[Outcome]:
        out = [self.test_uniformity(), self.test_dispersion(), self.test_outliers()]
        if self.simulations.discrete:
            out.append(self.test_zero_inflation())
        return out

    def _rows(self) -> list[list[str]]:
        return [
            [one.test, one.statistic_is.rstrip(","), f"{one.statistic:.4g}", one.p_text, one.note]
            for one in self._outcomes()
        ]

    def exhibit(self) -> Exhibit:
        """What a report shows of it: the tests, and both plots."""
        grid = Grid("", _HEADER, tuple(map(tuple, self._rows())), left=(0, 1, 4))
        caption = "Quantiles against the uniform distribution; residuals over ranks of the prediction."
        picture = Drawing("Scaled residuals", caption, (8.0, 3.6), self.plot, panels=2)
        return Exhibit("Scaled residuals", (grid,), (f"{self.what}, seed {self.seed}.",), drawings=(picture,))

    def __repr__(self) -> str:
        lines = wrapped(f"Scaled residuals of {self.what}, seed {self.seed}.")
        return "\n".join(
            [*lines, *(line for one in self._outcomes() for line in wrapped(f"{one}", "  ", "    "))]
        )

    def _repr_html_(self) -> str:
        table = inline_table("Scaled residuals", _HEADER, self._rows(), left=(0, 1, 4))
        return f"<div>{table}{small([f'{self.what}, seed {self.seed}.'])}</div>"


def _beside(x: Array, y: Array) -> Array:
    import numpy as np

    return np.column_stack([x, y])
