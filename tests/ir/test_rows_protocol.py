"""Rows in chunks of any size give the numbers and messages of rows in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from chunked import chunked
from oracle import LAYOUTS, make_problem, random_theta

from lmmformula import Fit, FitError, PlanError, anova, fit
from lmmformula.backends.exact import Exact
from lmmformula.backends.laplace import LaplaceBackend
from lmmformula.backends.pql import PQL
from lmmformula.criteria.family_rows import family_rows
from lmmformula.criteria.laplace import Laplace
from lmmformula.criteria.profiled import Profiled
from lmmformula.criteria.quadrature import Quadrature
from lmmformula.criteria.sensitivity import mode_sensitivity
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.families import resolve
from lmmformula.inference.robust.clusters import clusters_of
from lmmformula.inference.same_rows import same_columns
from lmmformula.ir import memory_rows as module
from lmmformula.ir.design import FixedBlock
from lmmformula.ir.problem import Problem
from lmmformula.ir.rows import range_of, total
from lmmformula.methods.planning import make_plan
from lmmformula.reporting.html_report.data import data_summary
from lmmformula.reporting.html_report.mathematics import equations
from lmmformula.solving import solve
from lmmformula.typing import Array

SIZES = [1, 37, 1_000]


def counts(layout: str, family: str = "poisson", *, seed: int = 3, n: int = 150) -> Problem:
    """A problem of `LAYOUTS` with small counts, or zeros and ones, and columns of like scale."""
    rng = np.random.default_rng(seed)
    base = make_problem(layout, n=n, weighted=False)
    x = np.column_stack([np.ones(base.n), rng.normal(size=base.n)])
    eta = x @ [0.4, 0.3] + 0.5 * rng.normal(size=base.terms[0].m)[base.terms[0].codes]
    mixing = rng.gamma(1.0, size=base.n) if family == "nbinom2" else 1.0
    y = rng.poisson(mixing * np.exp(eta)).astype(float)
    own = resolve(family)
    aux = tuple(FixedBlock(x, ("(Intercept)", "x"), (0, 1), ("x",)) for _ in own.auxiliaries)
    y = np.minimum(y, 1.0) if family == "binomial" else y
    offset = 0.1 * rng.normal(size=base.n)
    return replace(base, y=y, X=replace(base.X, matrix=x), family=own, offset=offset, aux=aux)


def joined(values: Any) -> Any:
    return np.concatenate(values.values) if hasattr(values, "values") else values


def alike(one: Any, other: Any, rtol: float = 1e-12) -> None:
    """Equal to `rtol` of the largest element."""
    one, other = np.asarray(joined(one)), np.asarray(joined(other))
    np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * max(np.abs(other).max(initial=0.0), 1e-300))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layout", ["slopes", "crossed slopes", "same factor twice"])
def test_products(layout: str, size: int) -> None:
    problem = make_problem(layout)
    whole, parts, rng = problem.data, chunked(problem, size).data, np.random.default_rng(0)
    assert parts.n == problem.n
    beta, groups = rng.normal(size=2), whole.levels.groups
    effects = [rng.normal(size=(g.m, g.k)) for g in groups]
    for offset in (True, False):
        alike(parts.apply(beta, effects, offset=offset), whole.apply(beta, effects, offset=offset))
    alike(parts.apply(None, effects), whole.apply(None, effects))
    r = [rows.apply(beta, effects) for rows in (parts, whole)]
    for ours, theirs in zip(parts.adjoint(r[0]), whole.adjoint(r[1]), strict=True):
        alike(ours, theirs)
    grams = [
        rows.gram(rows.weights, fixed=True, more=(v,)) for rows, v in zip((parts, whole), r, strict=True)
    ]
    alike(grams[0].vv, grams[1].vv)
    for pair, values in grams[0].cross.items():
        alike(values, grams[1].cross[pair])
    for ours, theirs in zip((*grams[0].diag, *grams[0].rhs), (*grams[1].diag, *grams[1].rhs), strict=True):
        alike(ours, theirs)
    own = [rng.normal(size=(g.m, g.k, g.k)) for g in groups]
    own = [c + c.swapaxes(1, 2) for c in own]
    pairs: dict[tuple[int, int], Array] = {
        pair: rng.normal(size=values.shape) for pair, values in grams[1].cross.items()
    }
    alike(parts.row_quadratic(own, pairs), whole.row_quadratic(own, pairs))
    alike(parts.level_sums(0, r[0]), whole.level_sums(0, r[1]))


@pytest.mark.parametrize("size", SIZES)
def test_columns(size: int) -> None:
    problem = make_problem("crossed")
    whole, parts = problem.data, chunked(problem, size).data
    w = (parts.weights, whole.weights)
    alike(parts.fixed.gram(w[0]), whole.fixed.gram(w[1]))
    alike(parts.fixed.products(parts.fixed, parts.y), whole.fixed.products(whole.fixed, whole.y))
    alike(np.abs(parts.fixed.triangle(w[0])), np.abs(whole.fixed.triangle(w[1])))
    alike(parts.fixed.transposed(parts.y, w[0]), whole.fixed.transposed(whole.y, w[1]))
    alike(parts.fixed.square(parts.y, w[0]), whole.fixed.square(whole.y, w[1]))
    alike(parts.fixed.largest(), whole.fixed.largest())
    for ours, theirs in zip(parts.fixed.columns(parts.y), whole.fixed.columns(whole.y), strict=True):
        alike(ours, theirs)


def test_maps_and_sums_of_slices_are_those_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem("crossed")
    rows = problem.data
    seen = []

    def both(chunk: Any, eta: Any, number: float) -> Any:
        seen.append(chunk.n)
        return eta * chunk.weights + number, number

    def sums(chunk: Any, eta: Any) -> Any:
        return chunk.offset @ eta, np.array([eta.sum(), chunk.n])

    once = rows.map(both, rows.y, 2.0), rows.reduce(sums, rows.y), range_of(rows, rows.y), total(rows, rows.y)
    assert seen == [problem.n]
    monkeypatch.setattr(module, "SLICE", 16)
    sliced = rows.map(both, rows.y, 2.0)
    np.testing.assert_array_equal(sliced[0], once[0][0])
    assert sliced[1] == once[0][1] == 2.0
    assert max(seen[1:]) == 16
    assert sum(seen[1:]) == problem.n
    for ours, theirs in zip(rows.reduce(sums, rows.y), once[1], strict=True):
        alike(ours, theirs)
    assert range_of(rows, rows.y) == once[2]
    assert total(rows, rows.y) == pytest.approx(once[3], rel=1e-13)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_gaussian_criterion(layout: str, reml: bool) -> None:
    problem = make_problem(layout)
    theta = random_theta(problem)
    ours, theirs = (Profiled.of(p, BlockedEngine(), reml=reml)(theta) for p in (chunked(problem), problem))
    names = ["deviance", "gradient", "beta", "hessian"]
    if (
        "rank" in layout
    ):  # a curvature through the inverse of a singular L is rounding where Sigma has no inverse
        names.remove("hessian")
    for name in names:
        alike(getattr(ours, name), getattr(theirs, name), 1e-10)


@pytest.mark.parametrize(("family", "size"), [("poisson", 37), ("nbinom2", 20), ("binomial", 1_000)])
def test_laplace_criterion(family: str, size: int) -> None:
    problem = counts("slopes", family)
    psi = np.concatenate([[0.3, 0.2], 0.5 * random_theta(problem), np.tile([0.3, 0.1], len(problem.aux))])
    points = [Laplace.of(p, BlockedEngine())(psi) for p in (chunked(problem, size), problem)]
    for name in ("deviance", "gradient", "hessian"):
        alike(getattr(points[0], name), getattr(points[1], name), 1e-9)
    for ours, theirs in zip(*(mode_sensitivity(p) for p in points), strict=True):
        alike(ours, theirs, 1e-9)
    ours, theirs = (Quadrature(p.model, 5)(psi).deviance for p in points)
    assert ours == pytest.approx(theirs, rel=1e-10)


def estimates_agree(ours: Any, theirs: Any) -> None:
    one, other = ours.estimate, theirs.estimate
    for name in ("beta", "vcov", "theta", "sigma"):
        alike(getattr(one, name), getattr(other, name), 1e-8)
    if np.isfinite(other.deviance):
        assert one.deviance == pytest.approx(other.deviance, rel=1e-10)
    for a, b in zip((*one.modes, *one.aux), (*other.modes, *other.aux), strict=True):
        alike(a, b, 1e-7)
    assert (one.convergence.status, one.singular) == (other.convergence.status, other.singular)


@pytest.mark.parametrize("reml", [True, False])
def test_gaussian_fits(reml: bool) -> None:
    problem = make_problem("crossed slopes")
    backend = Exact(reml=reml, tolerance=1e-14)
    found = backend.fit(problem)
    estimates_agree(backend.fit(chunked(problem)), found)


@pytest.mark.parametrize("layout", ["slopes", "crossed"])
def test_laplace_fits(layout: str) -> None:
    problem = counts(layout, n=300)
    backend = LaplaceBackend(tolerance=1e-14)
    estimates_agree(backend.fit(chunked(problem)), backend.fit(problem))


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("poisson", {}),
        ("poisson", {"traces": "exact"}),
        ("poisson", {"correction": "laplace"}),
        ("nbinom2", {}),
        ("gamma", {}),
    ],
)
def test_quasi_likelihood_fits(family: str, options: dict[str, Any]) -> None:
    problem = counts("crossed", family)
    if family == "gamma":
        ones = FixedBlock(np.ones((problem.n, 1)), ("(Intercept)",), (0,), ())
        problem = replace(problem, y=problem.y + 0.5, aux=(ones,), family=resolve("gamma(link='log')"))
    backend = PQL(tolerance=1e-11, **options)
    estimates_agree(backend.fit(chunked(problem)), backend.fit(problem))


@pytest.mark.parametrize("size", SIZES)
def test_messages(size: int) -> None:
    problem = make_problem("crossed", weighted=False)
    exact = replace(problem, y=problem.X.matrix @ [2.0, 3.0])
    texts = []
    for p in (exact, chunked(exact, size)):
        with pytest.raises(FitError, match="reproduce the response exactly") as raised:
            Exact().fit(p)
        texts.append(str(raised.value).split("(")[0])
    assert texts[0] == texts[1]


def test_family_rows_have_numbers_where_all_rows_have_one() -> None:
    problem = counts("crossed", "binomial")
    parts = chunked(problem).data
    found = family_rows(
        problem.family, parts, parts.y, (), information="observed", derivatives=True, constant=0.0
    )
    whole = problem.family.rows(problem.y, problem.y, (), None, constant=0.0)
    for name in ("loglik", "score", "weight", "weight_eta"):
        alike(getattr(found, name), getattr(whole, name))


# -- what follows from a fit --------------------------------------------------------------------------------------------


def fitted(formula: str, family: str, method: str) -> tuple[Fit, Fit]:
    """A fit, and the same with its rows in chunks."""
    rng, n = np.random.default_rng(4), 360
    g, h = rng.integers(0, 12, n), rng.integers(0, 6, n)
    x, f, w = rng.normal(1.0, 1.0, n), rng.choice(["a", "b", "c"], n), rng.uniform(0.5, 2.0, n)
    b = rng.normal(size=(12, 2)) @ [[0.6, 0.2], [0.0, 0.5]]
    eta = 0.3 * x + 0.5 * (f == "b") + b[g, 0] + b[g, 1] * x + 0.6 * rng.normal(size=6)[h]
    y = {
        "gaussian": eta + 0.3 * rng.normal(size=n),
        "poisson": rng.poisson(np.exp(eta)),
        "binomial": rng.uniform(size=n) < 1.0 / (1.0 + np.exp(-eta)),
    }[family].astype(float)
    data = pd.DataFrame({"y": y, "x": x, "f": f, "g": g.astype(str), "h": h.astype(str), "w": w})
    weights = "w" if family == "gaussian" else None
    one = fit(formula, data, family=family, method=method, weights=weights, offset=0.1 * x, tolerance=1e-13)
    problem = chunked(one.problem)
    planned = make_plan(problem, method, {"tolerance": 1e-13})
    return one, solve(problem, planned, one.recall, False, 0.0)


@pytest.fixture(scope="module", params=[("gaussian", "reml"), ("poisson", "laplace"), ("binomial", "pql")])
def both(request: pytest.FixtureRequest) -> tuple[Fit, Fit]:
    family, method = request.param
    return fitted("y ~ x * f + (x | g) + (1 | h)", family, method)


ANSWERS: dict[str, Callable[[Fit], Any]] = {
    "summary": lambda m: str(m.summary()).split("Engine")[0],
    "data": data_summary,
    "mathematics": equations,
    "fitted values": lambda m: m.fittedvalues,
    "response residuals": lambda m: m.residuals(),
    "working residuals": lambda m: m.residuals("working"),
    "pearson residuals": lambda m: m.residuals("pearson"),
    "deviance residuals": lambda m: m.residuals("deviance"),
    "quantile residuals": lambda m: m.residuals("quantile", seed=1),
    "predictions": lambda m: m.predict(se=True, interval="confidence"),
    "population": lambda m: m.predict(re_form=None, kind="link", se=True),
    "one term": lambda m: m.predict(re_form="~ (1 | g)"),
    "simulations": lambda m: m.simulate(2, seed=3),
    "random effects": lambda m: m.ranef(condsd=True),
    "variances": lambda m: m.varcorr(se=m.method != "PQL"),
    "type 1": lambda m: m.anova(1),
    "type 2": lambda m: m.anova(2),
    "type 3": lambda m: m.anova(3),
    "R2": lambda m: m.r2(),
    "ICC": lambda m: m.icc(),
    "naivete": lambda m: m.naivete(),
    "tidy": lambda m: m.tidy(conf_int=True),
    "glance": lambda m: m.glance().drop(columns="method"),
    "augmented": lambda m: m.augment(),
    "augmented without data": lambda m: replace(m, recall=replace(m.recall, data=None)).augment(),
}


@pytest.mark.parametrize("name", list(ANSWERS))
def test_rows_elsewhere_give_the_same_answers(both: tuple[Fit, Fit], name: str) -> None:
    theirs, ours = (ANSWERS[name](m) for m in both)
    if isinstance(theirs, pd.DataFrame):
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-5, atol=1e-8)
    elif isinstance(theirs, pd.Series):
        pd.testing.assert_series_equal(ours, theirs, rtol=1e-5, atol=1e-8)
    else:
        assert ours == theirs


def test_limits_for_new_observations(both: tuple[Fit, Fit]) -> None:
    """Drawn for one chunk after another, so of other draws unless the response is normal."""
    theirs, ours = (pd.DataFrame(m.predict(interval="prediction", seed=1)) for m in both)
    if both[0].problem.is_linear:
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-5)
    else:
        width = theirs["upper"] - theirs["lower"]
        for end in ("lower", "upper"):
            apart = np.abs(ours[end].to_numpy() - theirs[end].to_numpy())
            assert (apart <= 1.0 + 0.1 * width.to_numpy()).all()
            assert (apart == 0.0).mean() > 0.8


@pytest.mark.parametrize(
    ("what", "ask"),
    [
        ("a bootstrap", lambda m: m.bootstrap(2, seed=1)),
        ("simulation of residuals", lambda m: m.simulated_residuals(20, seed=1)),
        ("influence of rows", lambda m: m.influence()),
        ("a covariance matrix by clusters", lambda m: clusters_of(m, "h")),
        ("another response", lambda m: m.refit(m.problem.data.whole(m.problem.data.y))),
        (
            "method='hmc' with marginalize='none'",
            lambda m: make_plan(m.problem, "hmc", {"marginalize": "none"}),
        ),
    ],
)
def test_rows_elsewhere_are_refused_by_name(
    both: tuple[Fit, Fit], what: str, ask: Callable[[Fit], Any]
) -> None:
    with pytest.raises(PlanError, match=f"^{what} takes all 360 rows in memory at once"):
        ask(both[1])


def test_comparison_of_rows_elsewhere(both: tuple[Fit, Fit]) -> None:
    if "likelihood ratio" not in both[0].inference.refused:
        assert len(anova(*both, refit=False)) == 2
    x = both[0].problem.X
    moved = replace(both[0], problem=replace(both[0].problem, X=replace(x, matrix=x.matrix + 1.0)))
    assert same_columns(*both)
    assert not same_columns(moved, both[1])
