"""A mixed model as a scikit-learn estimator, for pipelines and cross-validation on data frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lmmformula.api import fit
from lmmformula.errors import DataError
from lmmformula.formula import model_spec
from lmmformula.formula.spec import ModelSpec, Name
from lmmformula.frame.table import open_table
from lmmformula.frame.values import Factor
from lmmformula.typing import Arguments, Array, Data, Entries, Record

if TYPE_CHECKING:
    from sklearn.utils import Tags

    from lmmformula.families.family import Family


try:
    from sklearn.base import BaseEstimator, RegressorMixin
    from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, column_or_1d
except ImportError as missing:
    raise ImportError(
        "scikit-learn is not installed, and MixedModelRegressor needs it: pip install 'lmmformula[sklearn]'."
    ) from missing

__all__ = ["MixedModelRegressor"]

_AS_THEY_ARE: Record = {"dtype": None, "ensure_all_finite": "allow-nan"}
"""How scikit-learn looks at arrays: of any type, and nan is a missing value."""


class MixedModelRegressor(RegressorMixin, BaseEstimator):
    """Mixed model given by a formula.

    Parameters
    ----------
    formula : str
        For example ``"y ~ x + (1 + x | g)"``. The left side may be missing (``"~ x + (1 | g)"``); then ``fit`` needs `y`.
    family : str or Family
        Distribution of the response.
    method : str
        As in :func:`lmmformula.fit`.
    re_form : "all", None or str
        Random effects that predictions use.
    new_levels : {"population", "error", "sample", "na"}
        Levels that the fit has not seen; "population" predicts them with an effect of zero, as a fold that holds whole groups
        out needs it.
    fit_arguments : dict, optional
        Further arguments of :func:`lmmformula.fit`, such as ``{"weights": "w", "nagq": 9}``.

    Attributes
    ----------
    model_ : Fit
        The fit, with everything it offers.
    feature_names_in_ : array of str
        Columns of the frame that was fitted, the response included if it was one of them. Not there for a plain array.
    n_features_in_ : int

    Notes
    -----
    Tables are read by column name, so that the order of columns does not matter and others may be there. The columns of a plain
    array are called ``x0, x1, ...``. Rows with missing values are left out of the fit and are predicted as nan.

    Examples
    --------
    >>> from lmmformula import load_dataset
    >>> from lmmformula.interfaces.sklearn import MixedModelRegressor
    >>> sleep = load_dataset("sleepstudy")
    >>> model = MixedModelRegressor("Reaction ~ Days + (Days | Subject)").fit(sleep)
    >>> model.predict(sleep.head(2)).round(1).tolist()
    [253.7, 273.3]
    """

    def __init__(
        self,
        formula: str,
        *,
        family: str | Family = "gaussian",
        method: str = "auto",
        re_form: str | None = "all",
        new_levels: str = "population",
        fit_arguments: Arguments | None = None,
    ) -> None:
        self.formula = formula
        self.family = family
        self.method = method
        self.re_form = re_form
        self.new_levels = new_levels
        self.fit_arguments = fit_arguments

    def fit(self, X: Data, y: Data = None) -> MixedModelRegressor:
        """Fit the model.

        Parameters
        ----------
        X : data frame, dict of columns, or (n, p) array
        y : (n,) array, optional
            Takes the place of the whole left side of the formula; without it `X` must hold the response.

        Returns
        -------
        MixedModelRegressor
            Itself.
        """
        table, names = _table(X)
        formula = self.formula
        if y is not None:
            formula, name = _with_response(formula, names)
            table = _joined(table, name, _response(y, X))
        elif _spec(formula, names).response is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y is None: the formula "
                f"{formula!r} has no left side."
            )
        arguments = dict(self.fit_arguments or {})
        self.model_ = fit(formula, table, family=self.family, method=self.method, **arguments)
        self.n_features_in_ = len(names)
        if _has_names(X):
            self.feature_names_in_ = np.asarray(names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self

    def predict(self, X: Data) -> Array:
        """Expected response of each row.

        Parameters
        ----------
        X : data frame, dict of columns, or (n, p) array
            Needs the columns of the predictors, and the grouping factors that `re_form` uses.

        Returns
        -------
        (n,) float64 array
            nan for incomplete rows.
        """
        check_is_fitted(self, "model_")
        table, names = _table(X)
        if not _has_names(X) and len(names) != self.n_features_in_:
            raise ValueError(
                f"X has {len(names)} features, but {type(self).__name__} is expecting {self.n_features_in_} features as input."
            )
        kind = "mean" if self.model_.problem.family.outcomes else "response"
        out = self.model_.predict(table, re_form=self.re_form, new_levels=self.new_levels, kind=kind)
        return np.asarray(out, dtype=float)

    def score(self, X: Data, y: Data = None, sample_weight: Data = None) -> float:
        """R2 of the predictions; `y` defaults to the response's column of `X`."""
        check_is_fitted(self, "model_")
        return float(super().score(X, self._observed(X) if y is None else y, sample_weight))

    def _observed(self, X: Data) -> Entries:
        """The response in `X`, where it is a column of numbers."""
        response = _spec(self.model_.formula, _table(X)[1]).response
        match response.parts if response is not None else ():
            case (Name(name),):
                values = open_table(X).column(name).at(None)
                if not isinstance(values, Factor):
                    return values
        raise DataError(
            f"score() cannot read the response of {self.model_.formula!r} off the table, as it is not a column of numbers: "
            "pass y, on the scale of the predictions."
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = True
        tags.target_tags.required = False
        return tags


def _has_names(X: Data) -> bool:
    """Whether `X` has named columns; an array, a list or a sparse matrix has none."""
    return hasattr(X, "columns") or (isinstance(X, Mapping) and not hasattr(X, "toarray"))


def _table(X: Data) -> tuple[Data, list[str]]:
    """A table that the package reads, and its columns' names."""
    if not _has_names(X):
        values = check_array(X, **_AS_THEY_ARE)
        X = pd.DataFrame(values, columns=[f"x{j}" for j in range(values.shape[1])])
    return X, list(open_table(X).names)


def _spec(formula: str, columns: list[str]) -> ModelSpec:
    return model_spec(formula, columns=columns) if "." in formula else model_spec(formula)


def _with_response(formula: str, names: list[str]) -> tuple[str, str]:
    """The formula with a column of its own on the left, and that column's name."""
    response = _spec(formula, names).response
    name = next(n for n in ("y", *(f"y{i}" for i in range(len(names) + 1))) if n not in names)
    if response is None:
        return f"{name} {formula.strip()}", name
    match response.parts:
        case (Name(column),):
            return formula, column
        case (_,):
            start, stop = response.span
            return f"{formula[:start]}{name}{formula[stop:]}", name
    raise DataError(
        f"y cannot stand for {response.label!r}, which has two columns: leave y out, or write the proportion on the left "
        "and the trials as weights."
    )


def _response(y: Data, X: Data) -> Data:
    """One value a row, not infinite; a pandas column keeps its type."""
    values = y.array if isinstance(y, pd.Series) else column_or_1d(np.asarray(y), warn=True)
    check_consistent_length(next(iter(X.values())) if isinstance(X, Mapping) else X, values)
    if isinstance(values, np.ndarray) and values.dtype.kind == "O" and not _has_names(X):
        values = values.astype(float)
    if isinstance(values, np.ndarray) and values.dtype.kind in "fc":
        check_array(values, ensure_2d=False, input_name="y", **_AS_THEY_ARE)
    return values


def _joined(table: Data, name: str, values: Data) -> Data:
    """The table with a column more, or another in its place."""
    if isinstance(table, pd.DataFrame):
        return table.assign(**{name: values})
    if isinstance(table, Mapping):
        return {**table, name: values}
    import narwhals as nw

    frame = nw.from_native(table, eager_only=True)
    column = nw.new_series(name, np.asarray(values), backend=frame.implementation)
    return frame.with_columns(column).to_native()
