r"""A fit as a model of the package marginaleffects: predictions, comparisons and slopes for the population.

The package asks for the coefficients, their covariance matrix, the design matrix of any rows, and predictions from both::

    E(y | b = 0) = mean(X gamma + offset),        Var = J V(gamma) J',        J = d prediction / d gamma'

gamma are the fixed effects and the penalised coefficients of smooths (:mod:`lmmformula.inference.location`). Random effects
are zero throughout, as with ``predict(re_form=None)``. For a nonlinear link that is the response of a level
with average effects, not the average over levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.formula import model_spec
from lmmformula.formula.spec import Name
from lmmformula.frame.table import Table, open_table
from lmmformula.frame.values import Factor, labels_of
from lmmformula.inference.location import coefficients as location
from lmmformula.inference.location.known import known_of_mean
from lmmformula.inference.prediction_rows import population_rows
from lmmformula.typing import Argument, Array, Data, Numbers

try:
    import polars as pl
    from marginaleffects.classes.model import ModelAbstract, ModelVault

    from lmmformula.interfaces.polars_levels import LevelsFrame
except ImportError as missing:
    raise ImportError(
        "the package marginaleffects (0.6 or later) is not installed, and to_marginaleffects() needs it: "
        "pip install 'lmmformula[marginaleffects]'."
    ) from missing

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from lmmformula.inference.fitted import Fitted

__all__ = ["PopulationModel"]

KINDS = ("response", "link", "conditional")
_RESERVED = frozenset(
    (
        *("rowid", "type", "group", "term", "contrast"),
        *("estimate", "std_error", "statistic", "p_value", "s_value", "conf_low", "conf_high"),
    )
)
"""Column names that marginaleffects keeps for itself."""


class PopulationModel(ModelAbstract):
    """The fixed part of a fit, in the shape that marginaleffects reads.

    Parameters
    ----------
    fit : Fit
    data : table, optional
        Rows to summarise over; by default those of the fit.
    kind : {"response", "link", "conditional"}
        Scale of the predictions, as in :meth:`Fit.predict`.

    Attributes
    ----------
    df_resid : float
        Denominator degrees of freedom of all tests and intervals of marginaleffects, which has one number for them: the
        smallest of the coefficients' (Satterthwaite) where :attr:`Fit.pvalues` are those of t tests, else infinite, for z
        tests. :meth:`t_tests` has the degrees of freedom of each estimate.

    Raises
    ------
    DataError
        No data at hand, an unknown `kind`, an offset that was given as an array, or a predictor with a reserved name.
    """

    def __init__(self, fit: Fitted, data: Data = None, kind: str = "response") -> None:
        if kind not in KINDS:
            raise DataError(f"kind={kind!r} is unknown; use one of {', '.join(KINDS)}.")
        recipe = fit.problem.recipe
        if recipe.offset_array:
            raise DataError(
                "the fit had an offset given as an array, which other rows do not carry. Put the offset in a column "
                "and write offset(column) in the formula, or pass its name as offset=."
            )
        predictors = list(location.variables(fit))
        if taken := [name for name in predictors if name in _RESERVED]:
            raise DataError(
                f"marginaleffects keeps the name {taken[0]!r} for itself: rename that column and fit again."
            )
        response = _response(fit)
        self.kind = kind
        vault = ModelVault(
            coef=location.coefficients(fit),
            coefnames=np.asarray(location.names(fit)),
            formula=_surrogate(response, predictors),
            modeldata=LevelsFrame.of(_model_data(fit, data, predictors)),
            variable_names=[response, *predictors],
            package="lmmformula",
        )
        super().__init__(fit, vault)

    def validation(self) -> None:
        """Take the types of the variables from the data; their rows are known to be complete."""
        self.coef, self.response_name = self.get_coef(), self.find_response()
        self.formula = self.get_formula()
        data, names = self.get_modeldata(), self.find_variables() or []
        if data is not None:
            self.vault.variables_type = {name: _type(data[name]) for name in names if name in data.columns}

    @property
    def df_resid(self) -> float:
        df = self.model.df.to_numpy()
        return float(np.min(df)) if df.size and np.isfinite(df).all() else float("inf")

    def t_tests(self, result: Data, conf_level: float = 0.95) -> Data:
        """Estimates of marginaleffects with the degrees of freedom of each.

        Parameters
        ----------
        result : MarginaleffectsResult
            Of ``predictions()``, ``comparisons()``, ``slopes()`` or their averages, for this model.
        conf_level : float

        Returns
        -------
        polars DataFrame
            The columns of `result`, with a column ``df`` and with ``p_value, s_value, conf_low, conf_high`` of t on it:
            Satterthwaite's approximation for the estimate's row of the Jacobian in the coefficients, as for
            :attr:`Fit.pvalues`; infinite, for z tests, where those are.

        Raises
        ------
        DataError
            If `result` has no Jacobian (``vcov=False``) or one of other coefficients.
        """
        from scipy.special import stdtr, stdtrit

        jacobian = np.asarray([[]] if result.jacobian is None else result.jacobian, dtype=float)
        count = len(location.names(self.model))
        if jacobian.shape != (result.data.height, count):
            raise DataError(
                f"t_tests() needs the Jacobian of {result.data.height} estimates in the {count} coefficients of "
                f"this model, and the result has one of shape {jacobian.shape}: compute it from this model, with its vcov."
            )
        df = known_of_mean(self.model).df(jacobian)
        df = np.where(np.isfinite(df), df, np.inf)
        estimate, error = (result.data[name].to_numpy() for name in ("estimate", "std_error"))
        p = 2.0 * stdtr(df, -np.abs(result.data["statistic"].to_numpy()))
        reach = stdtrit(df, 0.5 + conf_level / 2) * error
        with np.errstate(divide="ignore"):
            surprise = -np.log2(p)
        columns = {
            "p_value": p,
            "s_value": surprise,
            "conf_low": estimate - reach,
            "conf_high": estimate + reach,
            "df": df,
        }
        return result.data.with_columns(**{name: pl.Series(values) for name, values in columns.items()})

    def get_vcov(self, vcov: Argument = True) -> Array | None:
        """Covariance matrix of the coefficients; None if `vcov` is false."""
        count = len(location.names(self.model))
        if isinstance(vcov, str):
            raise DataError(
                f"vcov={vcov!r}: a mixed model has its own covariance matrix only. Use vcov=True, or pass a matrix "
                f"of {count} x {count}."
            )
        return np.asarray(known_of_mean(self.model).covariance, dtype=float) if vcov else None

    def get_exog(self, newdata: Data) -> Array:
        """Columns of the mean, the offset, and the auxiliary linear predictors of `newdata`."""
        rows = population_rows(self.model, newdata)
        return np.column_stack([location.columns(self.model, rows), rows.offset, *rows.aux])

    def get_predict(self, params: ArrayLike, newdata: Data) -> Data:
        """Predictions at the coefficients `params`, for rows of :meth:`get_exog`."""
        family, p = self.model.problem.family, len(location.names(self.model))
        eta = newdata[:, :p] @ np.asarray(params, dtype=float) + newdata[:, p]
        if self.kind == "response":
            value = family.mean(eta, tuple(newdata[:, p + 1 :].T))
        else:
            value = eta if self.kind == "link" else family.location(eta)
        return pl.DataFrame({"rowid": np.arange(len(value), dtype=np.int32), "estimate": value})


def _type(column: Data) -> str:
    """marginaleffects' word for the type of a column; what holds only 0 and 1 is binary."""
    if not column.dtype.is_numeric():
        return "boolean" if column.dtype == pl.Boolean else "character"
    if np.isin(column.drop_nulls().to_numpy(), (0, 1)).all():
        return "binary"
    return "integer" if column.dtype.is_integer() else "numeric"


def _response(fit: Fitted) -> str:
    """The response's column; of an expression, its label."""
    columns = [record.name for record in fit.problem.recipe.columns]
    response = model_spec(fit.formula, columns=columns).response
    match response.parts if response is not None else ():
        case (Name(value),):
            return value
    return "response" if response is None else response.label


def _surrogate(response: str, predictors: Sequence[str]) -> str:
    """A formula that names the columns whose rows must be complete; marginaleffects does not know bars."""
    left = response if response.isidentifier() else "response"
    return f"{left} ~ " + (" + ".join(f"`{name}`" for name in predictors) or "1")


def _model_data(fit: Fitted, data: Data, predictors: Sequence[str]) -> Data:
    """The rows as polars columns; factors are an Enum in the order of the fit, whose first level is the reference."""
    source = fit.recall.data if data is None else data
    if source is None:
        raise DataError("a loaded fit does not carry its data: pass data= to to_marginaleffects().")
    rows = fit.problem.rows if data is None else None
    table = open_table(source)
    levels = {record.name: record.levels for record in fit.problem.recipe.columns}
    columns = []
    for name in table.names:
        if name in _RESERVED or (values := _values(table, name, rows, needed=name in predictors)) is None:
            continue
        columns.append(_column(name, values, levels.get(name)))
    return pl.DataFrame(columns)


def _values(table: Table, name: str, rows: Numbers, *, needed: bool) -> Data:
    """Values of a column; None for one that has no place in a model and is not asked for."""
    try:
        return table.column(name).at(rows)
    except DataError:
        if needed:
            raise
        return None


def _column(name: str, values: Data, levels: Sequence[str] | None) -> Data:
    if not isinstance(values, Factor):
        return pl.Series(name, values, nan_to_null=True)
    if values.kind == "logical":
        return pl.Series(name, [None if v is None else v == "TRUE" for v in labels_of(values)], pl.Boolean)
    known = list(levels or values.levels)
    return pl.Series(name, labels_of(values), dtype=pl.Enum(known), strict=False)
