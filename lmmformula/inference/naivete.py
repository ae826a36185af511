r"""What a plain GLM would get wrong: its variances, and its efficiency, coefficient by coefficient.

Let beta_LR be the estimate of the GLM without random effects, linear in its working response: beta_LR = H z with
H = (X'W_0X)^-1 X'W_0. Under the mixed model ``Var(z) = V = phi (Z L L'Z' + W^-1)``, so::

    cov_LR(beta_LR)     = phi_0 (X'W_0X)^-1                 what the GLM believes
    cov_GLMM(beta_LR)   = H V H'                            what is true of it
    cov_GLMM(beta_GLMM) = (X'V^-1X)^-1                      what the mixed model attains

Naivete is the second over the first, by how much the GLM's variances are too small; inefficiency the second over the
third, at least one by Gauss and Markov since H X = I (Ghosh, Hastie & Owen 2022, sec. 6). The largest eigenvalue of one
matrix against the other is the ratio for the worst linear combination of coefficients. phi_0 is one, or Pearson's estimate for
families with a dispersion.

Everything is for the estimate at hand, by whatever method: V is the working model's at its fitted values, so a Laplace fit
has its own variances in it and a quasi-likelihood its dispersion.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lmmformula.backends.pql_states import resumed
from lmmformula.criteria.family_rows import start_eta
from lmmformula.criteria.pql import PQLPoint
from lmmformula.criteria.working import WorkingModel
from lmmformula.criteria.working_rows import State, pearson
from lmmformula.engines.registry import sweeping
from lmmformula.errors import FitError, LmmformulaError, PlanError
from lmmformula.ir.estimate import Estimate
from lmmformula.ir.problem import Problem
from lmmformula.ir.rows import Chunk, RowVector, total
from lmmformula.numerics.batched import matmul
from lmmformula.typing import Array, Axes, Drawn

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.families.records import Rows as FamilyRows

__all__ = ["naivete", "plot_naivete"]

MAX_STEPS = 50


def naivete(fit: Any) -> pd.DataFrame:
    """Compare a mixed model with the GLM without its random effects.

    Parameters
    ----------
    fit : Fit, or anything with ``problem`` and ``estimate``
        A fit by any method.

    Returns
    -------
    DataFrame
        One row a coefficient: ``glm, glm_se`` (estimate and believed standard error), ``mixed, mixed_se``, ``naivete``,
        ``inefficiency`` (ratios of variances). In ``attrs``: ``worst_naivete``, ``worst_inefficiency`` (largest
        eigenvalues) and ``worst_naivete_combination``, ``worst_inefficiency_combination`` (their vectors).

    Raises
    ------
    PlanError
        For models without fixed effects, with predictors of the dispersion or zero inflation, or with coefficients that the
        data do not determine.
    """
    fit.problem.refuse_responses("naivete()", "Ask it of a fit of one response.")
    import pandas as pd

    _refuse(fit.problem, fit.estimate)
    model, state = _mixed(fit.problem, fit.estimate)
    point = PQLPoint(model, state)
    beta, rows = _plain(model, state)
    bread = np.linalg.inv(model.data.fixed.gram(rows.weight))
    phi = pearson(model.data, rows) / max(model.n_rows - model.problem.p, 1) if model.scale else 1.0
    believed, attained = phi * bread, state.phi * (point.half @ point.half.T)
    true = bread @ _spread(point, rows.weight) @ bread
    worst_n, along_n = _largest(true, believed)
    worst_i, along_i = _largest(true, attained)
    names = list(fit.problem.X.names)
    table = pd.DataFrame(
        {
            "glm": beta,
            "glm_se": np.sqrt(np.diagonal(believed)),
            "mixed": fit.estimate.beta,
            "mixed_se": np.sqrt(np.diagonal(attained)),
            "naivete": np.diagonal(true) / np.diagonal(believed),
            "inefficiency": np.diagonal(true) / np.diagonal(attained),
        },
        index=names,
    )
    table.attrs.update(
        worst_naivete=worst_n,
        worst_inefficiency=worst_i,
        worst_naivete_combination=dict(zip(names, along_n.tolist(), strict=True)),
        worst_inefficiency_combination=dict(zip(names, along_i.tolist(), strict=True)),
    )
    return table


def plot_naivete(table: pd.DataFrame, ax: Axes | None = None) -> Drawn:
    """Scatter plot of inefficiency against naivete, both on log scales; returns the axes."""
    ax = _new_axes() if ax is None else ax
    ax.scatter(table["naivete"], table["inefficiency"])
    for name, row in table.iterrows():
        ax.annotate(
            str(name),
            (row["naivete"], row["inefficiency"]),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize="small",
            parse_math=False,
        )
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="naivete: true over believed variance of the GLM",
        ylabel="inefficiency: variance of the GLM\nover that of the mixed model",
    )
    ax.axvline(1.0, color="0.7", zorder=0)
    ax.axhline(1.0, color="0.7", zorder=0)
    for axis, name in ((ax.xaxis, "naivete"), (ax.yaxis, "inefficiency")):
        ratios = [1.0, *table[name].tolist()]
        places = _ratio_ticks(min(ratios), max(ratios))
        axis.set_ticks(places, [f"{place:.10g}" for place in places])
        axis.set_ticks([], minor=True)
    ax.margins(0.15)
    return ax


def _ratio_ticks(low: float, high: float) -> list[float]:
    """At most eight places for plain numbers on a log axis that holds `low` to `high`, 1 among them."""
    from matplotlib.ticker import MaxNLocator

    if high < 4.0 * low:
        found = [float(v) for v in MaxNLocator(5).tick_values(low, high) if v > 0.0]
    else:
        powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
        steps = (1.0,) if len(powers) > 5 else (1.0, 3.0) if len(powers) > 3 else (1.0, 2.0, 5.0)
        found = [step * 10.0**power for power in powers for step in steps]
    inside = [v for v in found if low / 1.2 <= v <= 1.2 * high]
    inside = inside[:: -(-len(inside) // 8)]
    apart = np.log(high / low) / 12.0  # of names that can be told apart
    return sorted([1.0, *(v for v in inside if abs(np.log(v)) > apart)])


def _new_axes() -> Axes:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise LmmformulaError(
            "plots need matplotlib, which is not installed: pip install 'lmmformula[plots]'. The numbers are in naivete()."
        ) from error
    return plt.subplots()[1]


def _refuse(problem: Problem, estimate: Estimate) -> None:
    """Models that no plain GLM stands next to."""
    if not problem.terms:
        raise PlanError(
            "the model has no random effects: it is the plain GLM that naivete() would compare a mixed model with. Call it "
            "on the fit with random effects."
        )
    if not problem.p:
        raise PlanError(
            "the model has no fixed effects, so there is no coefficient to compare with a plain GLM's."
        )
    if estimate.undetermined:
        raise PlanError(
            f"the data do not determine {', '.join(estimate.undetermined)} (separation), in a plain GLM no more than here: "
            "drop or merge that predictor first."
        )
    predicted = any(not block.is_constant for block in problem.aux)
    if predicted or problem.family.zeros_at is not None:
        raise PlanError(
            "naivete() compares with a GLM of one linear predictor; this model has predictors of the dispersion or zero "
            "inflation. Fit the model of the mean alone."
        )


def _mixed(problem: Problem, estimate: Estimate) -> tuple[WorkingModel, State]:
    """The working model at an estimate by any method, theta relative to a free dispersion."""
    prepared = sweeping().prepare(problem.data.levels)
    model = WorkingModel(problem, prepared, None, False, problem.family.has_dispersion)
    if model.scale and estimate.aux and estimate.sigma == 1.0:  # variances absolute, dispersion among aux
        sigma = float(np.exp(estimate.aux[0][0]))
        scales = np.array([role.scales for t in problem.terms for role in t.covariance.roles], dtype=bool)
        theta = np.where(scales, estimate.theta / sigma, estimate.theta)
        estimate = replace(estimate, theta=theta, sigma=sigma)
    return model, resumed(model, estimate)


def _plain(model: WorkingModel, state: State) -> tuple[Array, FamilyRows]:
    """beta of the GLM on the fixed columns alone by Fisher scoring with step halving, and its rows there."""
    data, p = model.data, model.problem.p

    def working(chunk: Chunk, eta: Array, weight: Array, score: Array) -> tuple[Array]:
        return (weight * (eta if chunk.offset is None else eta - chunk.offset) + score,)

    beta, eta, value = np.zeros(p), start_eta(model.problem.family, data), np.inf
    rows = model.rows(eta, state.alpha)
    for step in range(MAX_STEPS):
        (wz,) = data.map(working, eta, rows.weight, rows.score)
        full = np.linalg.solve(data.fixed.gram(rows.weight), data.fixed.transposed(wz))
        t, moved = 1.0, np.zeros(p)
        while True:
            moved = t * (full - beta)
            trial = data.apply(beta + moved, ())
            new = model.rows(trial, state.alpha)
            down = -total(data, new.loglik)
            if np.isfinite(down) and down <= value + 1e-10 * abs(value):
                break
            t *= 0.5
            if t < 1e-4:
                raise FitError(
                    "the plain GLM next to the mixed model does not converge; centre and scale the predictors."
                )
        gain = value - down if step else np.inf
        beta, eta, rows, value = beta + moved, trial, new, down
        if gain <= 1e-12 * max(1.0, abs(value)):
            return beta, rows
    return beta, rows


def _spread(point: PQLPoint, plain: RowVector) -> Array:
    """X'W_0 V W_0 X, W_0 the weights of the GLM."""
    data = point.model.data

    def over(chunk: Chunk, plain: Array, w: Array) -> tuple[Array]:
        return (np.divide(plain**2, w, out=np.zeros_like(w), where=w > 0.0),)

    out = data.fixed.gram(*data.map(over, plain, point.state.rows.weight))
    for lower, sums in zip(point.factors, data.weighted_columns(plain)[0], strict=True):
        flat = matmul(lower.T, sums).reshape(-1, len(out))
        out += flat.T @ flat
    return point.state.phi * out


def _largest(top: Array, bottom: Array) -> tuple[float, Array]:
    """Largest c'top c / c'bottom c, and the c of unit length that attains it."""
    from scipy.linalg import eigh

    values, vectors = eigh(top, bottom)
    c = vectors[:, -1] / np.linalg.norm(vectors[:, -1])
    return float(values[-1]), c * np.sign(c[np.argmax(np.abs(c))])
