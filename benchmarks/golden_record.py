"""What the golden record holds of one fit, found through its public calls alone.

An entry ``{"is": kind, "values": [...]}`` is of kind

- "numbers", with ``"scale"``, the size against which a difference of each counts. Long vectors are kept as their products with
  three fixed random vectors and their norm;
- "draws": some of them raw, sums and standard deviations; besides, ``"means"`` and their standard ``"errors"``, by which two
  sets of draws can be told apart;
- "text";
- "refused": a call that this fit does not answer, with the kind of error.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from benchmarks.golden_cases import Case
    from lmmformula import Fit

__all__ = ["Entry", "record"]

Entry = dict[str, Any]

LONGEST = 16
"""Numbers of a vector that are kept one by one."""


def record(case: Case, at: Sequence[float] | None = None) -> dict[str, Any]:
    """Every entry of one fit.

    Parameters
    ----------
    case : Case
    at : sequence of float, optional
        Covariance parameters at which the criterion is evaluated besides; by default the estimates, moved and rounded.
    """
    from lmmformula import fit

    begun = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = fit(case.formula, case.data(), progress=False, **case.options)
        said = sorted({w.category.__name__ for w in caught})
    entries: dict[str, Entry] = {"warnings": _text(*said)}
    fixed = _nearby(made) if at is None else list(at)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, ask in _questions(made, case, fixed):
            try:
                entries[name] = ask()
            except Exception as error:  # whatever a call refuses is part of the record
                entries[name] = {"is": "refused", "values": [type(error).__name__]}
    return {"seconds": round(time.perf_counter() - begun, 3), "at": fixed, "entries": entries}


Question = tuple[str, Callable[[], Entry]]


def _questions(m: Fit, case: Case, fixed: list[float]) -> Iterator[Question]:
    yield from _estimates(m)
    yield from _rows(m)
    yield from _predictions(m, case)
    if m.posterior is None:
        yield from _likelihood(m, case, fixed)
    else:
        yield from _draws_of(m)


def _estimates(m: Fit) -> Iterator[Question]:
    yield "engine", lambda: _text(m.estimate.engine, m.method, m.plan.method, m.plan.engine)
    yield "ended", lambda: _text(m.estimate.convergence.status.value, *m.estimate.singular)
    yield "evaluations", lambda: _text(m.estimate.convergence.evaluations, m.estimate.convergence.iterations)
    yield "plan", lambda: _text(*_reasons(m), *(t.role for t in m.plan.terms), m.plan.dense)
    yield "names", lambda: _text(*m.params.index, *m.theta.index)
    for name in (
        "params",
        "bse",
        "theta",
        "sigma",
        "llf",
        "llf_stderr",
        "deviance",
        "aic",
        "bic",
        "df",
        "pvalues",
    ):
        yield name, lambda name=name: _numbers(getattr(m, name))
    yield "counts", lambda: _numbers([m.df_model, m.df_resid, m.nobs])
    yield "dispersion", lambda: _numbers(list(m.dispersion.values()))
    yield "vcov", lambda: _numbers(m.cov_params())
    yield "joint_vcov", lambda: _numbers([] if m.joint_vcov is None else m.joint_vcov)
    yield "varcorr", lambda: _numbers(m.varcorr()[["vcov", "sdcor"]])
    yield "varcorr se", lambda: _numbers(m.varcorr(se=True)["se"])
    yield "ranef", lambda: _numbers(m.ranef()["condval"])
    yield "condsd", lambda: _numbers(m.ranef(condsd=True)["condsd"])
    yield "coef", lambda: _numbers(np.concatenate([np.ravel(c.to_numpy(float)) for c in m.coef().values()]))
    yield "conf_int", lambda: _numbers(m.conf_int())
    yield "conf_int all", lambda: _numbers(m.conf_int(parameters="all"))
    yield "r2", lambda: _numbers(m.r2())
    yield "icc", lambda: _numbers(m.icc())
    yield "naivete", lambda: _numbers(m.naivete())
    if m.posterior is None:  # else they hold R-hat and effective draws, by ranks, which ties leave open
        yield "tidy", lambda: _numbers(m.tidy(conf_int=True))
        yield "glance", lambda: _numbers(m.glance())
        yield "summary", lambda: _text(*str(m.summary()).splitlines())


def _reasons(m: Fit) -> list[str]:
    """Those of the plan, but for what depends on whether JAX is loaded already."""
    return [reason for reason in m.plan.reasons if not reason.startswith("of the time")]


def _rows(m: Fit) -> Iterator[Question]:
    yield "fitted", lambda: _numbers(m.fittedvalues)
    for kind in ("response", "pearson", "deviance", "working", "quantile"):
        yield f"residuals {kind}", lambda kind=kind: _numbers(m.residuals(kind, seed=5))
    yield "overdispersion", lambda: _numbers(m.overdispersion())
    yield "augment", lambda: _numbers(m.augment())
    yield "simulate", lambda: _simulated(m.simulate(20, seed=7))
    if m.posterior is not None:
        yield "log_likelihood", lambda: _spread(m.log_likelihood([0, 1, 2]))


def _predictions(m: Fit, case: Case) -> Iterator[Question]:
    new = _new_rows(case.data())
    for kind in ("response", "link", "conditional", "zi"):
        yield f"predict {kind}", lambda kind=kind: _numbers(m.predict(new, kind=kind))
    yield "predict fixed", lambda: _numbers(m.predict(new, re_form=None, se=True))
    yield "predict confidence", lambda: _numbers(m.predict(new, interval="confidence", se=True))
    yield "predict prediction", lambda: _numbers(m.predict(new, interval="prediction", seed=3))
    unseen = _unseen(new, list(m.ngroups))
    for policy in ("population", "sample"):
        yield (
            f"predict {policy}",
            lambda policy=policy: _numbers(
                m.predict(unseen, new_levels=policy, interval="confidence", seed=4)
            ),
        )
    if "full" in case.extras:
        yield (
            "predict full",
            lambda: _numbers(m.predict(new, interval="confidence", uncertainty="full", seed=4)),
        )


def _likelihood(m: Fit, case: Case, fixed: list[float]) -> Iterator[Question]:
    if fixed:
        yield "deviance at", lambda: _numbers(_at(m, fixed).deviance)
        yield "params at", lambda: _numbers(_at(m, fixed).params)
    for kind in (1, 2, 3):
        yield f"anova {kind}", lambda kind=kind: _numbers(m.anova(kind))
    if "kenward-roger" in case.extras:
        yield "kenward-roger", lambda: _numbers(m.anova(3, "kenward-roger"))
        yield "conf_int kr", lambda: _numbers(m.conf_int(ddf="kenward-roger"))
    if "profile" in case.extras:
        yield "conf_int profile", lambda: _numbers(m.conf_int(method="profile"))
        yield "profile", lambda: _numbers(m.profile(points=4)[["value", "zeta", "deviance"]])
    if "bootstrap" in case.extras:
        yield "bootstrap", lambda: _numbers(m.bootstrap(5, seed=9))
    if "refit" in case.extras:
        yield "refit", lambda: _numbers(m.refit(np.asarray(m.simulate(1, seed=2))[:, 0]).params)
        yield "anova of two", lambda: _compared(m)


def _draws_of(m: Fit) -> Iterator[Question]:
    assert m.posterior is not None
    posterior = m.posterior
    yield "posterior", lambda: _text(posterior.marginalized, posterior.sampler, *posterior.names)
    yield "priors", lambda: _text(*str(m.priors).splitlines())
    for name in (*posterior.beta_names, *posterior.names):
        yield f"draws {name}", lambda name=name: _spread(posterior[name][..., None])
    yield "draws of effects", lambda: _spread(_three_effects(posterior))
    yield "effect sds", lambda: _numbers(np.concatenate([s.ravel() for s in posterior.effect_sds]))
    yield "log evidence", lambda: _numbers([posterior.log_evidence, posterior.pareto_k])
    yield "extended", lambda: _numbers(m.extend(8).params)


def _three_effects(posterior: Any) -> np.ndarray:
    draws = posterior.effects[0]
    return draws.reshape(*draws.shape[:2], -1)[..., :3]


def _nearby(m: Fit) -> list[float]:
    """Covariance parameters near the estimates that later fits can be asked for exactly."""
    return [round(1.1 * float(t) + 0.05, 2) for t in m.theta]


def _at(m: Fit, theta: list[float]) -> Fit:
    return (
        m.update(start=np.array(theta), max_evaluations=1) if m.plan.method != "pql" else _one_sweep(m, theta)
    )


def _one_sweep(m: Fit, theta: list[float]) -> Fit:
    return m.update(start=np.array(theta), max_outer=1, max_inner=1)


def _compared(m: Fit) -> Entry:
    from lmmformula import anova

    return _numbers(anova(m, m.update("~ . - Days")))


# -- entries ------------------------------------------------------------------------------------------------------------


def _numbers(values: Any) -> Entry:
    """Numbers that must not move; of a table, the numeric columns each by its own scale."""
    if hasattr(values, "columns"):
        found = values.select_dtypes("number").to_numpy(float)
        parts = [_vector(column) for column in found.T]
        return {
            "is": "numbers",
            "values": [x for part, _ in parts for x in part],
            "scale": [s for part, s in parts for _ in part],
        }
    flat, scale = _vector(np.atleast_1d(np.asarray(values, dtype=float)).ravel())
    return {"is": "numbers", "values": flat, "scale": [scale] * len(flat)}


def _vector(values: np.ndarray) -> tuple[list[float], float]:
    """A short vector and its largest element, or three products of a long one, its norm, and the norm."""
    finite = np.where(np.isfinite(values), values, 0.0)
    if len(values) <= LONGEST:
        return [float(v) for v in values], float(np.abs(finite).max(initial=0.0))
    norm = float(np.linalg.norm(finite))
    products = _projection(len(values)) @ finite
    gone = float(len(values) - np.isfinite(values).sum())
    return [*map(float, products), norm, gone], norm


def _projection(n: int) -> np.ndarray:
    return np.random.default_rng(n).normal(size=(3, n))


def _simulated(frame: pd.DataFrame) -> Entry:
    """Draws of responses: of each, its mean and its products."""
    found = frame.to_numpy(float).T
    statistics = np.column_stack(
        [found.mean(axis=1), found.std(axis=1), found @ _projection(found.shape[1]).T]
    )
    return _spread(statistics[None])


def _spread(draws: Any) -> Entry:
    """Draws (chain, draw, parameter): the first of each chain, and means with standard errors by batches of 20."""
    draws = np.asarray(draws, dtype=float)
    length = min(20, max(draws.shape[1] // 5, 1))
    used = draws[:, : draws.shape[1] // length * length]
    batches = used.reshape(-1, length, draws.shape[2]).mean(axis=1)
    sds = draws.reshape(-1, draws.shape[2]).std(axis=0, ddof=1)
    return {
        "is": "draws",
        "values": [*draws[:, :3].ravel().tolist(), *draws.sum(axis=(0, 1)).tolist(), *sds.tolist()],
        "means": batches.mean(axis=0).tolist(),
        "errors": (batches.std(axis=0, ddof=1) / math.sqrt(len(batches))).tolist(),
    }


def _text(*values: Any) -> Entry:
    return {"is": "text", "values": [str(v) for v in values]}


# -- new data -----------------------------------------------------------------------------------------------------------


def _new_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Five rows of the data, numbers a little between those that were seen."""
    new = frame.iloc[np.linspace(0, len(frame) - 1, 5).astype(int)].reset_index(drop=True).copy()
    for name in ("x", "z", "Days", "age", "nitro", "HEIGHT"):
        if name in new:
            new[name] = 0.9 * new[name] + 0.01
    return new


def _unseen(new: pd.DataFrame, groups: list[str]) -> pd.DataFrame:
    """The same with another level of each group that is a column, in the first two rows."""
    out = new.copy()
    for group in groups:
        if group in out:
            out[group] = ["elsewhere"] * 2 + [str(v) for v in out[group][2:]]
    return out
