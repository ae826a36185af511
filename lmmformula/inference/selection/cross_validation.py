r"""How well a model predicts what it was not fitted to: K folds, each fitted without, and predicted.

What is predicted depends on what is left out. Whole levels of a factor (`by` names it): new levels, whose effects are
integrated out (elpd, limits) or averaged over (means). Single rows: new rows of known levels, whose effects the other rows
tell. The two differ by what random effects are worth, so a level that lies in several folds is refused where levels are left
out. Everything that is learned from rows, levels, contrasts, bases, ranges, is learned by each fold from its own.

Scores are sums over units (levels, or rows), which are independent of each other, S_g over n_g rows (trials): a mean is ``sum
S_g / sum n_g`` with the linearised error ``sqrt(G / (G - 1) sum (S_g - mean n_g)^2) / sum n_g``, a sum has ``sqrt(G)
sd(S_g)`` (Vehtari, Gelman & Gabry 2017). Folds share most of their data, which these errors do not know of (Bengio &
Grandvalet 2004).

References
----------
Bengio & Grandvalet (2004), J. Mach. Learn. Res. 5, 1089-1105.
Gneiting & Raftery (2007), J. Am. Statist. Assoc. 102, 359-378 (proper scores).
Vehtari, Gelman & Gabry (2017), Statist. Comput. 27, 1413-1432.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmmformula.backends.optimum import off_boundary
from lmmformula.errors import DataError, FitError, PlanError
from lmmformula.inference.prediction_error import row_errors
from lmmformula.inference.prediction_rows import at_means, rows_of, selected
from lmmformula.inference.predictive import response_limits
from lmmformula.inference.rows import row_labels
from lmmformula.inference.selection.folds import ROW, Folds, folds_of, grouping_factors
from lmmformula.inference.selection.predictive_density import log_predictive, predictive_mean
from lmmformula.inference.selection.refits import call_of, refitted
from lmmformula.typing import Array, Record

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["SCORES", "CrossValidation", "column_of", "cross_validate"]

SCORES = ("elpd", "rmse", "mae", "brier", "log_loss", "coverage")
OF_TRIALS = ("brier", "log_loss")
"""Of successes and failures only."""


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Predictions of rows left out, and what they are worth.

    Attributes
    ----------
    formula : str
    by : str
        What was left out as a whole: a factor, or "row".
    measures : str
        What the predictions are of, in words.
    n_folds, n_units : int
    level : float
        Of the prediction intervals.
    frame : DataFrame
        A row for each row of the fit: ``fold, unit, y, predicted, elpd, ...``, the contribution to each score.
    scores : tuple of str
    unfinished : tuple of int
        Folds whose fit stopped before its tolerance was met.
    """

    formula: str
    by: str
    measures: str
    n_folds: int
    n_units: int
    level: float
    frame: pd.DataFrame = field(repr=False)
    scores: tuple[str, ...]
    unfinished: tuple[int, ...] = ()

    @property
    def units(self) -> pd.DataFrame:
        """Sums over the rows of each unit: ``rows[, trials]``, and each score's contributions."""
        import pandas as pd

        counted = self.frame.assign(rows=1.0)
        columns = ["rows", *(["trials"] if "trials" in counted else []), *map(column_of, self.scores)]
        return pd.DataFrame(counted.groupby("unit", sort=False, observed=True)[columns].sum())

    @property
    def summary(self) -> pd.DataFrame:
        """Each score with its standard error over units: ``estimate, se``."""
        import pandas as pd

        units = self.units
        found = {}
        for score in self.scores:
            sums = units[column_of(score)].to_numpy(dtype=float)
            if score == "elpd":
                found[score] = (float(sums.sum()), float(np.sqrt(len(sums)) * sums.std(ddof=1)))
                continue
            size = units["trials" if score in OF_TRIALS else "rows"].to_numpy(dtype=float)
            mean, error = _ratio(sums, size)
            found[score] = (
                (np.sqrt(mean), error / (2.0 * np.sqrt(mean))) if score == "rmse" else (mean, error)
            )
        return pd.DataFrame.from_dict(found, orient="index", columns=["estimate", "se"])

    def minus(self, other: CrossValidation) -> pd.Series:
        """Difference of the elpd of two models, paired by unit: ``difference, se``; positive if this one predicts better.

        Raises
        ------
        DataError
            If other rows, units or folds were left out.
        """
        import pandas as pd

        mine, theirs = self.frame, other.frame
        same = (
            self.by == other.by
            and mine.index.equals(theirs.index)
            and all(np.array_equal(mine[c].to_numpy(), theirs[c].to_numpy()) for c in ("fold", "y"))
        )
        if not same or "elpd" not in self.scores or "elpd" not in other.scores:
            raise DataError(
                "the two cross-validations differ in rows, in what was left out, in folds, or lack the elpd: "
                "call both with the same by=, folds= and seed=, on the same data."
            )
        gained = mine["elpd"].to_numpy(dtype=float) - theirs["elpd"].to_numpy(dtype=float)
        sums = np.bincount(pd.factorize(mine["unit"])[0], gained)
        error = float(np.sqrt(len(sums)) * sums.std(ddof=1))
        return pd.Series({"difference": float(sums.sum()), "se": error})


def column_of(score: str) -> str:
    """What a score sums over rows."""
    return {"rmse": "squared_error", "mae": "absolute_error", "coverage": "covered"}.get(score, score)


def _ratio(sums: Array, sizes: Array) -> tuple[float, float]:
    """sum S / sum n, and its error."""
    count, total = len(sums), float(sizes.sum())
    mean = float(sums.sum()) / total
    spread = float(np.sum((sums - mean * sizes) ** 2)) * count / max(count - 1, 1)
    return mean, float(np.sqrt(spread)) / total


def cross_validate(
    fit: Fitted,
    by: str | None = None,
    folds: int | ArrayLike | None = None,
    seed: int | np.random.Generator | None = None,
    score: str | Sequence[str] | None = None,
    level: float = 0.95,
) -> CrossValidation:
    """K-fold cross-validation; see :meth:`lmmformula.Fit.cross_validate`."""
    fit.problem.refuse_responses(
        "cross-validation", "Leave observations out by m.update(data=...) and predict them."
    )
    fit.inference.check("cross-validation")
    wanted = _wanted(fit, score)
    fit.problem.refuse_elsewhere("cross-validation")
    if fit.problem.aux_terms and any(fit.problem.aux_terms):
        raise PlanError(
            "the fit has random effects in the formula of another parameter than the mean, whose predictive "
            "distribution has no quadrature here: use kfold() of a fit by method='hmc'."
        )
    rng = np.random.default_rng(seed)
    split = folds_of(fit, by, folds, rng)
    parts, unfinished = [], []
    for k in range(split.n_folds):
        out = np.flatnonzero(split.fold == k)
        try:
            trained = _trained(fit, np.flatnonzero(split.fold != k))
            parts.append(_predicted(fit, trained, out, wanted, level, rng))
        except (DataError, FitError) as error:
            raise type(error)(
                f"fold {k + 1} of {split.n_folds}, without {len(out):,} rows: {error}"
            ) from None
        if not trained.converged:
            unfinished.append(k + 1)
    frame = _joined(fit, split, parts)
    return CrossValidation(
        fit.formula,
        split.by,
        _measures(fit, split.by),
        split.n_folds,
        split.n_units,
        level,
        frame,
        wanted,
        tuple(unfinished),
    )


def _wanted(fit: Fitted, score: str | Sequence[str] | None) -> tuple[str, ...]:
    of_trials = fit.problem.family.weights_are == "trials"
    if score is None:
        return tuple(s for s in SCORES if s != "mae" and (of_trials or s not in OF_TRIALS))
    wanted = (score,) if isinstance(score, str) else tuple(score)
    if unknown := [s for s in wanted if s not in SCORES]:
        raise DataError(f"score={unknown[0]!r} is unknown; use some of {', '.join(map(repr, SCORES))}.")
    if not wanted:
        raise DataError(f"score is empty; use some of {', '.join(map(repr, SCORES))}.")
    if not of_trials and (odd := [s for s in wanted if s in OF_TRIALS]):
        raise DataError(
            f"score={odd[0]!r} is for successes and failures, and this is {fit.problem.family}: use 'elpd', "
            "'rmse' or 'coverage'."
        )
    return tuple(dict.fromkeys(wanted))


def _measures(fit: Fitted, by: str) -> str:
    known = [factor for factor in grouping_factors(fit) if factor != by]
    if by == ROW:
        where = f" of known levels of {', '.join(known)}" if known else ""
        return f"new rows{where}"
    beside = f"; levels of {', '.join(known)} that a fold has seen are known to it" if known else ""
    return f"rows of new levels of {by}, their effects integrated out{beside}"


def _trained(fit: Fitted, rows: NDArray[np.intp]) -> Fitted:
    """The model on some rows of the fit, from the theta of all."""
    call = call_of(fit, fit.problem.rows[rows])
    start = _start(fit)
    try:
        trained = refitted(fit, call=call, **start)
    except PlanError:
        if not start:
            raise
        trained = refitted(
            fit, call=call
        )  # a level of a factor in the random part is missing, and theta is another one
    if not np.array_equal(trained.problem.y, fit.problem.y[rows]):
        raise DataError(
            "the response is transformed by what is learned from the rows (scale() or the like), so that folds "
            "predict different numbers: transform it before the fit, by constants."
        )
    return trained


def _start(fit: Fitted) -> Record:
    """theta off the boundary, in the user's units."""
    if not fit.problem.n_theta:
        return {}
    inside = off_boundary(fit.standard.inward(fit.estimate).theta)
    s = fit.standard
    ratio = fit.estimate.sigma / s.sigma_in(fit.estimate)
    return {"start": s.theta_out(inside, ratio).tolist()}


def _predicted(
    fit: Fitted,
    trained: Fitted,
    out: NDArray[np.intp],
    wanted: tuple[str, ...],
    level: float,
    rng: np.random.Generator,
) -> dict[str, Array]:
    """Contributions of the rows left out to each score."""
    problem, family = fit.problem, trained.problem.family
    rows = rows_of(trained, call_of(fit, problem.rows[out]).data, selected(trained, "all"))
    errors = row_errors(trained, rows, drawn=False)
    eta, variance = at_means(trained, rows), errors.variance(1.0)
    y = problem.y[out]
    weights = None if problem.weights is None else problem.weights[out]
    if not np.isfinite(eta).all():
        raise DataError(
            "some rows cannot be predicted, as values of theirs are missing: drop them before the fit."
        )
    mean = predictive_mean(family, eta, variance, rows.aux)
    found: dict[str, Array] = {"row": out.astype(float), "y": y, "predicted": mean}
    if family.weights_are == "trials":
        found["trials"] = np.ones(len(y)) if weights is None else weights
    if "elpd" in wanted:
        found["elpd"] = log_predictive(family, y, eta, variance, rows.aux, weights)
    if "rmse" in wanted:
        found["squared_error"] = (y - mean) ** 2
    if "mae" in wanted:
        found["absolute_error"] = np.abs(y - mean)
    if "brier" in wanted:
        found["brier"] = found["trials"] * (y * (1.0 - mean) ** 2 + (1.0 - y) * mean**2)
    if "log_loss" in wanted:
        inside = np.clip(mean, np.finfo(float).tiny, 1.0 - np.finfo(float).eps)
        found["log_loss"] = -found["trials"] * (y * np.log(inside) + (1.0 - y) * np.log1p(-inside))
    if "coverage" in wanted:
        lower, upper = response_limits(trained, rows, eta, errors, weights, level, rng)
        found |= {"lower": lower, "upper": upper, "covered": ((y >= lower) & (y <= upper)).astype(float)}
    return found


def _joined(fit: Fitted, split: Folds, parts: list[dict[str, Array]]) -> pd.DataFrame:
    """A row for each row of the fit, in its order."""
    import pandas as pd

    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(columns.pop("row"))
    frame = pd.DataFrame(
        {name: values[order] for name, values in columns.items()}, index=row_labels(fit.problem)
    )
    frame.insert(0, "fold", split.fold + 1)
    frame.insert(1, "unit", split.units)
    return frame
