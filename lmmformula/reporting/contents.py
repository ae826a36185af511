"""What a summary holds, however it is printed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lmmformula.inference.records import PosteriorPart

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AuxiliaryPart", "Contents", "SharedTerm"]

DDF_OF = {
    "satterthwaite": "Satterthwaite's",
    "kenward-roger": "Kenward-Roger's",
    "bell-mccaffrey": "Bell-McCaffrey's",
}


@dataclass(frozen=True, slots=True, eq=False)
class AuxiliaryPart:
    """One auxiliary parameter in a summary.

    Attributes
    ----------
    title : str
        With the scale of the coefficients, or the meaning of the number.
    value : float or None
        The parameter on the user's scale, where it is one number for all rows.
    table : DataFrame or None
        Otherwise the coefficients of its predictor: ``Estimate, Std. Error, z value, Pr(>|z|)``.
    note : str
        What there is to say of the value.
    """

    title: str
    value: float | None
    table: pd.DataFrame | None = field(repr=False)
    note: str = ""


@dataclass(frozen=True, slots=True)
class SharedTerm:
    """A term whose columns share one correlation: its covariance kind, columns, and whether they share the spread too."""

    kind: str
    columns: tuple[str, ...]
    one_spread: bool


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """What a summary holds.

    Attributes
    ----------
    title : str
    formula : str
    data : str
        Rows used and dropped, and the size of each grouping factor.
    criteria : dict of str to float
        ``logLik, -2 log L (REML criterion), AIC, BIC, df.resid``.
    residuals : dict of str to float
        Quantiles of the standardised residuals: normal under the model if it is Gaussian, else Pearson residuals over the
        root of the dispersion, that of a quasi-likelihood included.
    random : DataFrame
        As :meth:`Fit.varcorr`; the residual's row for Gaussian models and dispersions of a quasi-likelihood only.
    fixed : DataFrame
        ``Estimate, Std. Error, df, t value, Pr(>|t|)``; ``Estimate, Std. Error, z value, Pr(>|z|)`` if not Gaussian.
    notes : tuple of str
        What else a careful reader must know: how the search ended, singular terms, dropped columns.
    family : str
        Empty for Gaussian models.
    links : str
        The link of the mean and of each further parameter, ``mu = log; phi = log``; empty for Gaussian models.
    formulas : dict of str to str
        ``ziformula`` and ``dispformula``, where they were given.
    auxiliary : tuple of AuxiliaryPart
        Dispersion, zero inflation: one number or a table of coefficients each.
    posterior : tuple of PosteriorPart
        Tables of a posterior in brms' columns, which then stand in place of random and fixed effects; `criteria` are numbers of
        draws and the worst diagnostics, `fixed` has these columns too.
    correlation : DataFrame or None
        Of the fixed effects, where it is shown.
    shared : dict of str to SharedTerm
        Groups whose columns share one correlation.
    ddf : str
        Whose denominator degrees of freedom t tests have.
    smooths : DataFrame or None
        As :meth:`Fit.smooths`, where there are any.
    structured : bool
        Whether residuals have a structure.
    monotonic : DataFrame or None
        As :meth:`Fit.monotonic`, where there are such effects.
    """

    title: str
    formula: str
    data: str
    criteria: dict[str, float]
    residuals: dict[str, float] = field(repr=False)
    random: pd.DataFrame = field(repr=False)
    fixed: pd.DataFrame = field(repr=False)
    notes: tuple[str, ...] = field(repr=False)
    family: str = ""
    links: str = ""
    formulas: dict[str, str] = field(default_factory=dict)
    auxiliary: tuple[AuxiliaryPart, ...] = field(default=(), repr=False)
    posterior: tuple[PosteriorPart, ...] = field(default=(), repr=False)
    correlation: pd.DataFrame | None = field(default=None, repr=False)
    shared: dict[str, SharedTerm] = field(default_factory=dict, repr=False)
    ddf: str = "satterthwaite"
    smooths: pd.DataFrame | None = field(default=None, repr=False)
    structured: bool = False
    monotonic: pd.DataFrame | None = field(default=None, repr=False)

    @property
    def about(self) -> tuple[str, ...]:
        """Family, links and further formulas, a line each."""
        lines = (("Family", self.family), ("Links", self.links), *self.formulas.items())
        return tuple(f"{label}: {text}" for label, text in lines if text)

    @property
    def residuals_are(self) -> str:
        """Heading of the residuals' quantiles."""
        return "Scaled (Pearson) residuals" if self.family else "Standardised residuals"

    @property
    def is_mixed(self) -> bool:
        """Whether there are random effects."""
        return bool(self.random["var1"].notna().any())

    @property
    def random_are(self) -> str:
        """Heading of the variances."""
        return "Random effects" if self.is_mixed else "Residual variance"

    @property
    def tests_are(self) -> str:
        """Heading of the fixed effects."""
        if self.posterior:
            return "Fixed effects"
        if "df" not in self.fixed:
            return "Fixed effects (z tests)"
        named = self.is_mixed or self.structured or self.ddf == "bell-mccaffrey"
        how = f"with {DDF_OF[self.ddf]} df" if named else "on n - p df"
        return f"Fixed effects (t tests {how})"
