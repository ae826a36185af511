"""Several methods on one model: their numbers side by side, and whether they agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.arguments import checked_methods
from lmmformula.errors import DataError
from lmmformula.inference.intervals import auxiliary_intervals
from lmmformula.metering import Measured
from lmmformula.reporting.agreement import flags, most_trusted, remarks
from lmmformula.reporting.frames import printed

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.result import Fit

__all__ = ["MB", "Compared", "MethodRun"]

MB = 1e6
PARTS = ("fixed", "random", "auxiliary", "fit")


@dataclass(frozen=True, slots=True, eq=False)
class MethodRun:
    """One method of a comparison.

    Attributes
    ----------
    name : str
        As the caller named it.
    fit : Fit or None
        None if the method was refused or failed.
    refused : str
        Why there is no fit; empty if there is one.
    measured : Measured or None
        What the fit and its standard errors cost.
    warnings : tuple of str
        What the fit warned of.
    same_as : str
        Name of an earlier method whose fit this one is; empty for a fit of its own.
    """

    name: str
    fit: Fit | None
    refused: str = ""
    measured: Measured | None = None
    warnings: tuple[str, ...] = ()
    same_as: str = ""


@checked_methods()
@dataclass(frozen=True, eq=False, repr=False)
class Compared:
    """The same model by several methods.

    Attributes
    ----------
    formula : str
    runs : tuple of MethodRun
        In the order asked for.
    level : float
        Of the intervals.
    """

    formula: str
    runs: tuple[MethodRun, ...] = field(repr=False)
    level: float = 0.95

    @property
    def fits(self) -> dict[str, Fit]:
        """Name of a method -> its fit; refused methods are absent."""
        return {run.name: run.fit for run in self.runs if run.fit is not None}

    @property
    def refused(self) -> dict[str, str]:
        """Name of a method -> why it was refused."""
        return {run.name: run.refused for run in self.runs if run.fit is None}

    @cached_property
    def reference(self) -> str:
        """The most trusted method: quadrature, exact likelihoods, Laplace, then estimates and approximations of these."""
        return most_trusted(self.fits)

    @cached_property
    def flags(self) -> tuple[str, ...]:
        """Where methods disagree by more than they should, with numbers and the likely cause; empty if nowhere.

        The bars are those of :data:`lmmformula.reporting.agreement.BARS`.
        """
        return tuple(self._judged(flags))

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Refusals, methods that are the same here, what the fits warned of, and what is known of the methods."""
        out = [f"{name} was refused: {why}" for name, why in self.refused.items()]
        out += [f"{r.name} is the same fit as {r.same_as} here." for r in self.runs if r.same_as]
        out += [f"{r.name}: {text}" for r in self.runs if not r.same_as for text in r.warnings]
        out += self._judged(remarks)
        if len(self.fits) == 1:
            out.append(f"Only {self.reference} was fitted: there is nothing to compare it with.")
        return tuple(out)

    def _judged(self, judge: Callable[[str, Fit, str, Fit], tuple[str, ...]]) -> list[str]:
        """What `judge` says of every other fit against the reference; a fit under two names is looked at once."""
        base, same = self.reference, {r.name: r.same_as for r in self.runs}
        others = [name for name in self.fits if name != base and not same[name]]
        return [text for n in others for text in judge(n, self.fits[n], base, self.fits[base])]

    # -- tables ---------------------------------------------------------------------------------------------------

    def tidy(self) -> pd.DataFrame:
        """One row a method and parameter.

        Returns
        -------
        DataFrame
            ``method, part, term, estimate, std_error, conf_low, conf_high``. ``part`` is "fixed", "random" (standard
            deviations and correlations), "auxiliary" (coefficients of dispersion and zero inflation on the predictor's
            scale) or "fit": ``logLik`` (with the standard error of an estimated one; missing for a quasi-likelihood), ``AIC``,
            ``seconds`` and ``memory`` (MB). ``std_error`` is the posterior's standard deviation of a Bayesian fit.
        """
        import pandas as pd

        rows = [row for run in self.runs if run.fit is not None for row in self._rows(run, run.fit)]
        columns = ["method", "part", "term", "estimate", "std_error", "conf_low", "conf_high"]
        return pd.DataFrame(rows, columns=columns)

    def _rows(self, run: MethodRun, fit: Fit) -> list[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = []
        for part, found in (
            (PARTS[0], fit.inference.fixed_intervals(self.level)),
            (PARTS[1], fit.inference.spread_intervals(self.level)),
            (PARTS[2], auxiliary_intervals(fit, self.level)),
        ):
            numbers = (a.tolist() for a in (found.point, found.spread, found.low, found.high))
            rows += [
                (run.name, part, name, *values) for name, *values in zip(found.names, *numbers, strict=True)
            ]
        nan = float("nan")
        memory = run.measured.memory if run.measured else None
        for name, value, error in (
            ("logLik", fit.llf, fit.llf_stderr if np.isfinite(fit.llf) else nan),
            ("AIC", fit.aic, nan),
            ("seconds", run.measured.seconds if run.measured else nan, nan),
            ("memory", nan if memory is None else memory / MB, nan),
        ):
            rows.append((run.name, "fit", name, float(value), float(error), nan, nan))
        return rows

    def table(self) -> pd.DataFrame:
        """:meth:`tidy` side by side: rows (part, term), columns (method, estimate | std_error | conf_low | conf_high)."""
        import pandas as pd

        values = ("estimate", "std_error", "conf_low", "conf_high")
        found = {row[:3]: row[3:] for row in self.tidy().itertuples(index=False, name=None)}
        keys = dict.fromkeys((part, term) for part in PARTS for _, p, term in found if p == part)
        missing = (float("nan"),) * len(values)
        cells = {
            (name, value): [found.get((name, *key), missing)[j] for key in keys]
            for name in self.fits
            for j, value in enumerate(values)
        }
        table = pd.DataFrame(cells, index=pd.MultiIndex.from_tuples(keys, names=["part", "term"]))
        return printed(table.rename_axis(columns=["method", None]))

    def differences(self, reference: str | None = None) -> pd.DataFrame:
        """Every method against one of them.

        Parameters
        ----------
        reference : str, optional
            Name of a method that was fitted; the most trusted one by default.

        Returns
        -------
        DataFrame
            ``method, part, term, estimate, reference, difference, in_se, ratio``: one row for each fixed effect, standard
            deviation and correlation of the other methods. ``in_se`` is the difference in standard errors of the
            reference (coefficients only), ``ratio`` the quotient of standard deviations.
        """
        import pandas as pd

        base = self.reference if reference is None else reference
        if base not in self.fits:
            raise DataError(f"there is no fit by {base!r}; fitted: {', '.join(map(repr, self.fits))}.")
        rows = [
            row
            for name, fit in self.fits.items()
            if name != base
            for row in _apart(name, fit, self.fits[base])
        ]
        columns = ["method", "part", "term", "estimate", "reference", "difference", "in_se", "ratio"]
        return printed(pd.DataFrame(rows, columns=columns))


def _apart(name: str, fit: Fit, reference: Fit) -> list[tuple[object, ...]]:
    rows = []
    for part, mine, theirs in (
        ("fixed", fit.inference.fixed_intervals(None), reference.inference.fixed_intervals(None)),
        ("random", fit.inference.spread_intervals(None), reference.inference.spread_intervals(None)),
    ):
        known = {n: (p, s) for n, p, s in zip(theirs.names, theirs.point, theirs.spread, strict=True)}
        for term, value in zip(mine.names, mine.point, strict=True):
            base, error = known.get(term, (float("nan"), float("nan")))
            sd = part == "random" and not term.startswith("cor_") and base > 0.0
            rows.append(
                (
                    name,
                    part,
                    term,
                    float(value),
                    float(base),
                    float(value - base),
                    float((value - base) / error) if part == "fixed" and error > 0.0 else float("nan"),
                    float(value / base) if sd else float("nan"),
                )
            )
    return rows
