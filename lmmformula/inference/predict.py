r"""Predictions with and without random effects, for seen and unseen levels, with standard errors.

For a row with fixed part x and random part z the prediction is ``x'beta + z'b``. Its error is that of
:mod:`lmmformula.inference.prediction_error`, limits for a new observation those of :mod:`lmmformula.inference.predictive`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import ArgumentError, DataError, FormulaError
from lmmformula.formula import model_spec
from lmmformula.frame.recipe import MISSING, NewTerm
from lmmformula.inference.conditional import covariance_matrices
from lmmformula.inference.posterior_predict import Wanted, predict_from_draws
from lmmformula.inference.prediction_error import row_errors
from lmmformula.inference.prediction_scale import Scale
from lmmformula.inference.predictive import new_weights, response_limits
from lmmformula.inference.residuals import auxiliary
from lmmformula.inference.rows import row_labels
from lmmformula.inference.simulate import warn_of_dispersion
from lmmformula.ir.design import GroupBlock, gathered
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.result import Fit

__all__ = ["population_rows", "predict"]


POLICIES = ("error", "population", "sample", "na")


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One random-effects term on the rows to predict: level of the fit (-1 unseen), values of its columns."""

    term: int
    codes: NDArray[np.int32]
    new_codes: NDArray[np.int32]
    new_levels: tuple[str, ...]
    basis: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Everything about the rows to predict."""

    X: Array
    offset: Array
    parts: tuple[_Part, ...]
    index: Any
    aux: tuple[Array, ...]
    aux_columns: tuple[Array, ...] = ()
    aux_parts: tuple[tuple[_Part, ...], ...] = ()

    @property
    def n(self) -> int:
        return len(self.X)


def predict(
    fit: Fit,
    newdata: Any = None,
    *,
    re_form: str | None = "all",
    kind: str = "response",
    new_levels: str = "error",
    interval: str | None = None,
    level: float = 0.95,
    se: bool = False,
    uncertainty: str | None = None,
    weights: Any = None,
    seed: int | np.random.Generator | None = None,
) -> pd.Series | pd.DataFrame:
    """Predict the response.

    Parameters
    ----------
    newdata : table, dict of columns or path, optional
        Default: the rows of the fit.
    re_form : "all", None, or str
        Which random effects to use: all, none (population), or a one-sided formula such as ``"~ (1 | g)"``.
    kind : {"response", "link", "conditional"} or the name of a parameter
        The mean of the response, the linear predictor, the mean without zero-inflation, or a parameter of the family such as
        "zi" (also "zprob"), the probability of a structural zero.
    new_levels : {"error", "population", "sample", "na"}
        Levels the fit has not seen: refuse; effect zero; an effect drawn from the estimated distribution, one for each name;
        nan. A row whose group is missing has such a level too (lme4's rule), and all of them have one and the same.
    interval : {None, "confidence", "prediction"}
        Limits for the row's own mean, or for a new observation on it; of a posterior, quantiles over its draws of everything.

        "confidence": those of the linear predictor, carried over. The covariance of the errors is the one that `bse` shows: of
        beta and the effects given the estimated variances in a Gaussian model (as lme4), of all parameters together in a
        model by Laplace's approximation (as glmmTMB).

        Of a linear model without random effects both are t limits on n - p degrees of freedom, as R's ``predict.lm``.

        "prediction": a normal response has ``eta -+ z sqrt(v + sigma^2 / weight)``, sigma that of the row where it has a
        formula. Limits of any other response are quantiles of 4,000 responses drawn for each row, with effects and parameters
        drawn from their normal approximation; of a discrete one they are possible values, a proportion for a binomial one.
    level : float
    se : bool
        Add the standard error of what is predicted (by the delta method), parameters such as "zi" included.
    uncertainty : {None, "full"}
        What `se` and `interval` hold. None: what is said there. "full": the uncertainty of the variances too, which matters for
        new levels of a factor that has few. A Gaussian model's theta is averaged over its restricted likelihood (500
        evaluations of the criterion, and as many solves for the rows); of a model by Laplace's approximation everything is
        drawn from the joint normal approximation. A posterior has it always.
    weights : str or array, optional
        For ``interval="prediction"`` of new data: prior weights, or the trials of a proportion; a column's name or a number for
        each row. By default the columns that the fit had them from, and where the new data lack these, or the fit was given
        an array, 1 with a warning (R's rule in ``predict.lm``). Rows of the fit have their own.
    seed : int or Generator, optional
        For whatever is drawn: effects under ``new_levels="sample"``, responses that are not normal, and what a posterior has to
        draw. The same seed gives the same numbers.

    Returns
    -------
    Series, or DataFrame with columns ``fit[, se][, lower, upper]``

    Raises
    ------
    DataError
        Missing columns, unseen levels under "error", unknown options.
    """
    _check(fit, kind, new_levels, interval, level)
    if weights is not None and interval != "prediction":
        raise ArgumentError(
            "weights= of new rows make the width of interval='prediction'; leave them out without it."
        )
    if newdata is None and re_form == "all" and kind == "response" and interval is None and not se:
        return fit.fittedvalues.rename("fit")
    rng = np.random.default_rng(seed)
    rows = _rows(fit, newdata, _selection(fit, re_form), aux_terms=re_form == "all")
    own = new_weights(fit, newdata, weights) if interval == "prediction" else None
    drawn = fit.posterior is not None and new_levels == "sample"
    draws = _new_effects(fit, rows, "population" if drawn else new_levels, rng)
    mean = rows.X @ fit.estimate.beta + rows.offset
    for part in rows.parts:
        seen = gathered(fit.estimate.modes[part.term], part.codes, None)
        mean = mean + np.einsum("nk,nk->n", part.basis, seen)
    wanted = Wanted(kind, new_levels, interval, level, se, full=uncertainty == "full")
    if fit.posterior is not None and _needs_draws(fit, wanted):
        return predict_from_draws(fit, rows, mean + draws, wanted, own, rng)
    return _dressed(fit, rows, mean + draws, draws, wanted, own, rng)


def _needs_draws(fit: Fit, wanted: Wanted) -> bool:
    """Whether posterior means of coefficients and effects do not give the prediction."""
    linear = fit.problem.family.is_linear and wanted.kind in ("response", "link", "conditional")
    return not linear or wanted.new_levels == "sample" or wanted.interval is not None or wanted.se


def _check(fit: Fit, kind: str, new_levels: str, interval: str | None, level: float) -> None:
    family = fit.problem.family
    kinds = ["response", "link", "conditional", *(a.name for a in family.auxiliaries)]
    if family.zeros_at is not None:
        kinds.append("zprob")
    if kind not in kinds:
        raise DataError(f"kind={kind!r} is unknown; use one of {', '.join(kinds)}.")
    if new_levels not in POLICIES:
        raise DataError(f"new_levels={new_levels!r} is unknown; use one of {', '.join(POLICIES)}.")
    if interval not in (None, "confidence", "prediction"):
        raise DataError(f"interval={interval!r} is unknown; use None, 'confidence' or 'prediction'.")
    same = family.is_linear and kind in ("link", "conditional")
    if interval == "prediction" and kind != "response" and not same:
        raise DataError(
            f"interval='prediction' is that of a new response, not of kind={kind!r}: use kind='response'."
        )
    if not 0 < level < 1:
        raise DataError(f"level={level!r} must lie between 0 and 1, for example 0.95.")


def _selection(fit: Fit, re_form: str | None) -> list[tuple[int, NDArray[np.bool_]]]:
    """(term, which of its columns) to be used."""
    terms = fit.problem.terms
    if re_form is None or re_form in ("NA", "~0", "~ 0"):
        return []
    if re_form == "all":
        return [(i, np.ones(t.k, dtype=bool)) for i, t in enumerate(terms)]
    if not isinstance(re_form, str):
        raise DataError(f"re_form={re_form!r} must be 'all', None or a formula such as '~ (1 | g)'.")
    wanted = model_spec(re_form).random
    if not wanted:
        raise FormulaError(
            "re_form names no random-effects term", re_form, None, "write '~ (1 | g)', or None"
        )
    masks: dict[int, NDArray[np.bool_]] = {}
    for term in wanted:
        labels = {t.label for t in term.design.terms} | ({"(Intercept)"} if term.design.intercept else set())
        found = _matching(fit, term.group_label, labels, masks)
        if missing := labels - found:
            have = "; ".join(f"({', '.join(t.columns)} | {t.group})" for t in terms)
            raise FormulaError(
                f"the fit has no random effect of {', '.join(sorted(missing))} for {term.group_label}",
                re_form,
                term.span,
                f"it has {have}",
            )
    return sorted(masks.items())


def _matching(fit: Fit, group: str, labels: set[str], masks: dict[int, NDArray[np.bool_]]) -> set[str]:
    """Mark in `masks` the columns of the terms on `group` that belong to `labels`; return the labels found."""
    found: set[str] = set()
    for i, term in enumerate(fit.problem.terms):
        if term.group != group:
            continue
        recipe = fit.problem.recipe.terms[i]
        design = recipe.design
        for j, owner in enumerate(recipe.owners):
            label = "(Intercept)" if owner == 0 else design.term_labels[owner - 1]
            if label in labels:
                masks.setdefault(i, np.zeros(term.k, dtype=bool))[j] = True
                found.add(label)
    return found


def _rows(
    fit: Fit, newdata: Any, selection: list[tuple[int, NDArray[np.bool_]]], *, aux_terms: bool = False
) -> _Rows:
    """The rows with the columns of `selection`, and if `aux_terms` those of the random effects of auxiliary predictors."""
    problem = fit.problem
    if newdata is None:
        parts = tuple(p for i, mask in selection for p in _own_parts(i, problem.terms[i], mask))
        beside = problem.aux_terms if aux_terms else ()
        own = tuple(tuple(p for i, t in enumerate(terms) for p in _own_parts(i, t, 1.0)) for terms in beside)
        offset = np.zeros(problem.n) if problem.offset is None else problem.offset
        columns = tuple(b.matrix for b in problem.aux)
        return _Rows(problem.X.matrix, offset, parts, row_labels(problem), auxiliary(fit), columns, own)
    design = problem.recipe.replay(
        newdata, terms=[i for i, _ in selection], aux=bool(problem.aux), aux_terms=aux_terms
    )
    if design.offset_missing:
        raise DataError(
            "the fit had an offset given as an array, which new data do not carry. Put the offset in a column and "
            "write offset(column) in the formula, or pass its name as offset=."
        )
    chosen = zip(selection, design.terms, strict=True)
    parts = tuple(_new_part(i, new, mask) for (i, mask), parts in chosen for new in parts)
    own = tuple(
        tuple(_new_part(i, new, 1.0) for i, parts in enumerate(terms) for new in parts)
        for terms in design.aux_terms
    )
    offset = np.zeros(design.n) if design.offset is None else design.offset
    if problem.aux:
        aux = tuple(a @ alpha for a, alpha in zip(design.aux, fit.estimate.aux, strict=True))
    else:
        aux = tuple(a.predictor(np.full(design.n, fit.sigma)) for a in problem.family.auxiliaries)
    columns = tuple(design.aux) if problem.aux else ()
    return _Rows(design.X, offset, parts, design.index, aux, columns, own)


def _own_parts(term: int, block: GroupBlock, mask: Any) -> list[_Part]:
    """A term on the rows of the fit, for each of the levels that a row has; `mask` says which of its columns are used."""
    nobody = np.full(len(block.codes), -1, np.int32)
    return [_Part(term, codes, nobody, (), basis * mask) for codes, basis in block.parts()]


def _new_part(term: int, new: NewTerm, mask: Any) -> _Part:
    """A term on new rows."""
    basis = np.ones((len(new.codes), 1)) if new.basis is None else new.basis
    return _Part(term, new.codes, new.new_codes, new.new_levels, basis * mask)


def population_rows(fit: Fit, newdata: Any) -> _Rows:
    """X, offset and auxiliary predictors of `newdata`, without random effects; NaN in incomplete rows."""
    return _rows(fit, newdata, [])


def _new_effects(fit: Fit, rows: _Rows, policy: str, rng: np.random.Generator) -> Array:
    """What unseen levels add to the mean under `policy`."""
    out, covariances = np.zeros(rows.n), covariance_matrices(fit)
    beside = zip(fit.problem.aux_terms, rows.aux_parts, strict=False)
    groups = [(fit.problem.terms[part.term].group, part, True) for part in rows.parts]
    groups += [(terms[part.term].group, part, False) for terms, parts in beside for part in parts]
    for group, part, of_mean in groups:
        unseen = part.new_codes >= 0
        if not unseen.any():
            continue
        if policy == "error":
            raise DataError(
                f"{int(unseen.sum())} of {rows.n} rows have levels of {group} that the fit has not seen: "
                f"{_listed(part)}. Choose new_levels='population' (effect zero), 'sample' (drawn) or 'na', or re_form=None."
            )
        if policy == "na":
            out[unseen] = np.nan
        elif policy == "sample" and of_mean:
            size = (len(part.new_levels), part.basis.shape[1])
            effects = rng.multivariate_normal(
                np.zeros(size[1]), covariances[part.term], size=size[0], method="eigh"
            )
            out[unseen] += np.einsum("nk,nk->n", part.basis[unseen], effects[part.new_codes[unseen]])
    return out


def _listed(part: _Part) -> str:
    """The unseen levels of a term, and how many rows name none."""
    nameless = (
        int((part.new_codes == len(part.new_levels) - 1).sum()) if part.new_levels[-1] == MISSING else 0
    )
    names = [repr(v) for v in part.new_levels[: -1 if nameless else None]]
    shown = [*names[:5], *(["..."] if len(names) > 5 else [])]
    return ", ".join([*shown, *([f"missing in {nameless}"] if nameless else [])])


def _dressed(
    fit: Fit,
    rows: _Rows,
    eta: Array,
    effects: Array,
    wanted: Wanted,
    weights: Array | None,
    rng: np.random.Generator,
) -> pd.Series | pd.DataFrame:
    """On the scale asked for, with standard errors and limits; those for a mean are limits of eta, carried over.

    `effects` are the drawn effects of unseen levels, which eta contains.
    """
    import pandas as pd

    scale = Scale.of(fit.problem.family, wanted.kind)
    values = scale.value(eta, rows.aux)
    if wanted.interval is None and not wanted.se:
        return pd.Series(values, index=rows.index, name=scale.name)
    if scale.parameter is not None and not fit.problem.aux:
        raise DataError(
            f"kind={wanted.kind!r} is profiled out of this fit and has no standard error in predict(): leave out se and "
            "interval, and see conf_int(method='profile')."
        )
    out = {"fit": values}
    exact = fit.problem.is_linear and not fit.problem.terms and fit.estimate.quasi is None  # t limits, as lm
    if wanted.full or (exact and wanted.interval is not None):
        from lmmformula.inference.full_uncertainty import full_errors

        out |= full_errors(fit, rows, eta, effects, wanted, weights, rng)
        if wanted.full or not wanted.se:
            return pd.DataFrame(out, index=rows.index)
    errors = row_errors(fit, rows, drawn=wanted.new_levels == "sample")
    if wanted.se:
        out["se"] = scale.standard_errors(eta, rows.aux, errors)
    if exact:
        return pd.DataFrame(out, index=rows.index)
    if wanted.interval == "prediction":
        warn_of_dispersion(fit)
        limits = response_limits(fit, rows, eta, errors, weights, wanted.level, rng)
        out |= dict(zip(("lower", "upper"), limits, strict=True))
    elif wanted.interval is not None:
        limits = scale.limits(eta, rows.aux, errors, wanted.level)
        out |= dict(zip(("lower", "upper"), limits, strict=True))
    return pd.DataFrame(out, index=rows.index)
