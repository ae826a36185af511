r"""Predictions with and without random effects, for seen and unseen levels, with standard errors.

For a row with fixed part x and random part z the prediction is ``x'beta + z'b``. Its error against the row's own
``x'beta + z'b`` has variance (Henderson 1975; Robinson 1991, sec. 5)::

    sigma^2 [ z'Lambda M^-1 Lambda'z + |R^-T (x - (z'Lambda M^-1 Lambda'Z'WX)')|^2 ]

A level the fit has not seen has mode 0 and adds ``z'Sigma z``. A new observation adds sigma^2 / weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, FormulaError
from lmmformula.formula import model_spec
from lmmformula.frame.recipe import MISSING
from lmmformula.inference.conditional import covariance_matrices
from lmmformula.inference.posterior_predict import Wanted, predict_from_draws
from lmmformula.inference.residuals import auxiliary
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
        Limits for the row's own mean, or for a new observation on it. Conditional on the estimated variances; of a posterior,
        quantiles over its draws of everything.
    level : float
    se : bool
        Add the standard error of the mean.
    seed : int or Generator, optional
        For ``new_levels="sample"``, and for whatever a posterior has to draw: effects of unseen levels, new observations.

    Returns
    -------
    Series, or DataFrame with columns ``fit[, se][, lower, upper]``

    Raises
    ------
    DataError
        Missing columns, unseen levels under "error", unknown options.
    """
    _check(fit, kind, new_levels, interval, level)
    if newdata is None and re_form == "all" and kind == "response" and interval is None and not se:
        return fit.fittedvalues.rename("fit")
    rows = _rows(fit, newdata, _selection(fit, re_form))
    drawn = fit.posterior is not None and new_levels == "sample"
    draws = _new_effects(fit, rows, "population" if drawn else new_levels, seed)
    mean = rows.X @ fit.estimate.beta + rows.offset
    for part in rows.parts:
        seen = np.where((part.codes >= 0)[:, None], fit.estimate.modes[part.term][part.codes], 0.0)
        mean = mean + np.einsum("nk,nk->n", part.basis, seen)
    if fit.posterior is not None and _needs_draws(fit, kind, new_levels, interval, se=se):
        wanted = Wanted(kind, new_levels, interval, level, se)
        return predict_from_draws(fit, rows, mean + draws, wanted, seed)
    return _dressed(fit, rows, mean + draws, kind, new_levels, interval, level, se)


def _needs_draws(fit: Fit, kind: str, new_levels: str, interval: str | None, *, se: bool) -> bool:
    """Whether posterior means of coefficients and effects do not give the prediction."""
    linear = fit.problem.family.is_linear and kind in ("response", "link", "conditional")
    return not linear or new_levels == "sample" or interval is not None or se


def _check(fit: Fit, kind: str, new_levels: str, interval: str | None, level: float) -> None:
    family = fit.problem.family
    kinds = ["response", "link", "conditional", *(a.name for a in family.auxiliaries)]
    if family.is_zero_inflated:
        kinds.append("zprob")
    if kind not in kinds:
        raise DataError(f"kind={kind!r} is unknown; use one of {', '.join(kinds)}.")
    if new_levels not in POLICIES:
        raise DataError(f"new_levels={new_levels!r} is unknown; use one of {', '.join(POLICIES)}.")
    if interval not in (None, "confidence", "prediction"):
        raise DataError(f"interval={interval!r} is unknown; use None, 'confidence' or 'prediction'.")
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


def _rows(fit: Fit, newdata: Any, selection: list[tuple[int, NDArray[np.bool_]]]) -> _Rows:
    problem = fit.problem
    if newdata is None:
        parts = []
        for i, mask in selection:
            t = problem.terms[i]
            basis = np.ones((problem.n, 1)) if t.basis is None else t.basis
            parts.append(_Part(i, t.codes, np.full(problem.n, -1, np.int32), (), basis * mask))
        offset = np.zeros(problem.n) if problem.offset is None else problem.offset
        columns = tuple(b.matrix for b in problem.aux)
        return _Rows(problem.X.matrix, offset, tuple(parts), problem.rows, auxiliary(fit), columns)
    design = problem.recipe.replay(newdata, terms=[i for i, _ in selection], aux=bool(problem.aux))
    if design.offset_missing:
        raise DataError(
            "the fit had an offset given as an array, which new data do not carry. Put the offset in a column and "
            "write offset(column) in the formula, or pass its name as offset=."
        )
    parts = []
    for (i, mask), new in zip(selection, design.terms, strict=True):
        basis = np.ones((design.n, 1)) if new.basis is None else new.basis
        parts.append(_Part(i, new.codes, new.new_codes, new.new_levels, basis * mask))
    offset = np.zeros(design.n) if design.offset is None else design.offset
    index = getattr(newdata, "index", None)
    if problem.aux:
        aux = tuple(a @ alpha for a, alpha in zip(design.aux, fit.estimate.aux, strict=True))
    else:
        aux = tuple(a.predictor(np.full(design.n, fit.sigma)) for a in problem.family.auxiliaries)
    index = index if hasattr(index, "dtype") else None
    return _Rows(design.X, offset, tuple(parts), index, aux, tuple(design.aux) if problem.aux else ())


def population_rows(fit: Fit, newdata: Any) -> _Rows:
    """X, offset and auxiliary predictors of `newdata`, without random effects; NaN in incomplete rows."""
    return _rows(fit, newdata, [])


def _new_effects(fit: Fit, rows: _Rows, policy: str, seed: int | np.random.Generator | None) -> Array:
    """What unseen levels add to the mean under `policy`."""
    out = np.zeros(rows.n)
    rng = np.random.default_rng(seed)
    covariances = covariance_matrices(fit)
    for part in rows.parts:
        unseen = part.new_codes >= 0
        if not unseen.any():
            continue
        group = fit.problem.terms[part.term].group
        if policy == "error":
            raise DataError(
                f"{int(unseen.sum())} of {rows.n} rows have levels of {group} that the fit has not seen: "
                f"{_listed(part)}. Choose new_levels='population' (effect zero), 'sample' (drawn) or 'na', or re_form=None."
            )
        if policy == "na":
            out[unseen] = np.nan
        elif policy == "sample":
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
    fit: Fit, rows: _Rows, eta: Array, kind: str, policy: str, interval: str | None, level: float, se: bool
) -> pd.Series | pd.DataFrame:
    """On the scale asked for, with standard errors and limits: limits are those of eta, carried over."""
    import pandas as pd

    family = fit.problem.family
    names = [a.name for a in family.auxiliaries]
    if (name := "zi" if kind == "zprob" else kind) in names:
        if interval is not None or se:
            raise DataError(f"kind={kind!r} has no standard errors; leave out se and interval.")
        at = names.index(name)
        return pd.Series(family.auxiliaries[at].value(rows.aux[at]), index=rows.index, name=name)

    def scaled(values: Array) -> Array:
        if kind == "link":
            return values
        return family.link_function.mean(values) if kind == "conditional" else family.mean(values, rows.aux)

    if interval is None and not se:
        return pd.Series(scaled(eta), index=rows.index, name="fit")
    from scipy.special import ndtri

    variance = _variance(fit, rows, drawn=policy == "sample")
    out = {"fit": scaled(eta)}
    if se:  # by the delta method on the response scale
        slope = 1.0 if kind == "link" else _slope(family, eta, rows.aux)
        out["se"] = np.sqrt(variance) * slope
    if interval == "prediction":
        if not family.is_linear:
            raise DataError(
                f"interval='prediction' needs a Gaussian response; for family {family.name!r} use "
                "interval='confidence' for the mean, or quantiles of simulate()."
            )
        variance = variance + fit.estimate.sigma**2
    if interval is not None:
        reach = float(ndtri(0.5 + level / 2)) * np.sqrt(variance)
        ends = scaled(eta - reach), scaled(eta + reach)
        out |= {"lower": np.minimum(*ends), "upper": np.maximum(*ends)}
    return pd.DataFrame(out, index=rows.index)


def _slope(family: Any, eta: Array, aux: tuple[Array, ...]) -> Array:
    """|d mean / d eta| by central differences, which every family allows."""
    if family.is_linear:
        return np.ones_like(eta)
    step = 1e-6 * np.maximum(1.0, np.abs(eta))
    return np.abs(family.mean(eta + step, aux) - family.mean(eta - step, aux)) / (2 * step)


def _variance(fit: Fit, rows: _Rows, *, drawn: bool) -> Array:
    """Variance of the prediction error of the mean, (n,); see the module's head."""
    point, standard = fit.optimum, fit.standard
    sigma2 = (standard.slope * standard.sigma_in(fit.estimate)) ** 2
    out = np.empty(rows.n)
    for batch, spherical in _spherical(fit, rows):
        solved = point.factor.solve(tuple(spherical))
        own = sum(np.einsum("mkn,mkn->n", s, x) for s, x in zip(spherical, solved, strict=True))
        # x - (z'Lambda M^-1 Lambda'Z'WX)', with M^-1 Lambda'Z'W X R^-1 = H and X R^-1 = X half
        through = sum(np.einsum("mkn,mkp->np", s, h) for s, h in zip(spherical, point.h, strict=True))
        fixed = standard.fixed_in(rows.X[batch]) @ point.half - through
        out[batch] = sigma2 * (own + np.einsum("np,np->n", fixed, fixed))
    if not drawn:
        for part, cov in zip(rows.parts, (covariance_matrices(fit)[q.term] for q in rows.parts), strict=True):
            unseen = part.new_codes >= 0
            z = part.basis[unseen]
            out[unseen] += np.einsum("nk,kl,nl->n", z, cov, z)
    return out


def _spherical(fit: Fit, rows: _Rows) -> Iterator[tuple[slice, list[Array]]]:
    """Lambda'z of the rows in batches, per group (m, k, batch)."""
    point = fit.optimum
    groups = point.model.prepared.blocks.groups
    parts = {part.term: part for part in rows.parts}
    step = max(1, min(256, int(20_000_000 // max(1, fit.problem.q))))
    for start in range(0, rows.n, step):
        batch = slice(start, min(start + step, rows.n))
        out = []
        for group, factor in zip(groups, point.factors, strict=True):
            z = np.zeros((group.m, group.k, batch.stop - start))
            for i, columns in group.members:
                if i in parts:
                    codes = parts[i].codes[batch]
                    seen = np.flatnonzero(codes >= 0)
                    z[codes[seen], columns, seen] = fit.standard.basis_in(i, parts[i].basis[batch][seen])
            out.append(np.einsum("ij,mic->mjc", factor, z))
        yield batch, out
