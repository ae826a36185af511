"""PQL by backfitting: its fixed point, MASS::glmmPQL, Gaussian ML, and inputs that are hard on it."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmmformula import build, fit, load_dataset
from lmmformula.backends.exact import Exact
from lmmformula.backends.pql import PQL
from lmmformula.criteria.working import WorkingModel
from lmmformula.errors import FitError, LmmformulaWarning, PlanError
from lmmformula.families import resolve
from lmmformula.interrupts import interrupts_keep
from lmmformula.ir.estimate import Estimate, Status
from lmmformula.ir.problem import Problem
from lmmformula.methods.options import Quasi

REFERENCES = Path(__file__).parent.parent / "reference"


def crossed(n: int, seed: int = 1, sd: tuple[float, float] = (0.8, 0.4)) -> dict[str, Any]:
    """Ghosh, Hastie & Owen's design: about n^.56 levels of each of two factors."""
    rng = np.random.default_rng(seed)
    m = round(n**0.56)
    a, b, x = rng.integers(0, m, n), rng.integers(0, m, n), rng.normal(size=n)
    eta = -0.5 + 0.3 * x + sd[0] * rng.normal(size=m)[a] + sd[1] * rng.normal(size=m)[b]
    y = (rng.random(n) < 1.0 / (1.0 + np.exp(-eta))).astype(float)
    return {"y": y, "x": x, "a": a.astype(str), "b": b.astype(str)}


@pytest.mark.parametrize("name", ["pql_bacteria", "pql_epil", "pql_verbagg"])
def test_exact_traces_are_glmmpql(name: str) -> None:
    ref = json.loads((REFERENCES / f"{name}.json").read_text(encoding="utf-8"))
    problem = build(
        ref["formula"], load_dataset(ref["dataset"]), family=f"{ref['family']}(link='{ref['link']}')"
    )
    e = PQL(traces="exact").fit(problem).estimate
    assert e.convergence.status is Status.CONVERGED
    se = np.array(ref["fixef"]["se_unadjusted"])
    assert np.abs((e.beta - np.array(ref["fixef"]["estimate"])) / se).max() < 1e-5
    assert e.sigma == pytest.approx(ref["sigma"], rel=1e-6)
    assert e.sigma * e.theta[0] == pytest.approx(ref["varcorr"][0]["sd"][0], rel=1e-5)
    np.testing.assert_allclose(np.sqrt(np.diagonal(e.vcov)), se, rtol=1e-5)
    np.testing.assert_allclose(e.vcov, ref["vcov"], rtol=1e-4, atol=1e-6 * float(se.max() ** 2))
    effects = np.array(ref["ranef"][0]["values"])
    np.testing.assert_allclose(e.modes[0][: len(effects)], effects, atol=1e-5)


FIXED_POINTS: dict[str, tuple[str, str, str]] = {
    "crossed": ("r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)", "VerbAgg", "binomial"),
    "slopes": ("r2 ~ Anger + situ + (1 + situ | id) + (1 | item)", "VerbAgg", "binomial"),
    "diagonal": ("r2 ~ Anger + situ + (1 + situ || id) + (1 | item)", "VerbAgg", "binomial"),
    "equal": ("r2 ~ Anger + situ + cs(1 + situ | id)", "VerbAgg", "binomial"),
    "poisson": ("y ~ lbase * trt + lage + (1 | subject)", "epil", "poisson"),
    "gamma": ("Reaction ~ Days + (Days | Subject)", "sleepstudy", "gamma(link='log')"),
    "probit": ("y ~ trt + I(week > 2) + (1 | ID)", "bacteria", "binomial(link='probit')"),
}


@pytest.mark.parametrize("traces", ["diagonal", "exact"])
@pytest.mark.parametrize("case", list(FIXED_POINTS))
def test_the_equations_hold_at_the_solution(case: str, traces: Any) -> None:
    formula, data, family = FIXED_POINTS[case]
    solution = PQL(traces=traces).fit(build(formula, load_dataset(data), family=family))
    e, point = solution.estimate, solution.point
    assert e.convergence.status is Status.CONVERGED
    assert np.abs(point.gradient).max() < 2e-4  # Schall's equations
    rows, model = point.state.rows, point.model
    np.testing.assert_allclose(
        model.problem.X.matrix.T @ rows.score, 0.0, atol=1e-4 * np.abs(rows.score).sum() / 100
    )
    for s, f, u in zip(model.data.adjoint(rows.score), point.factors, point.u, strict=True):
        np.testing.assert_allclose(s @ f, u, atol=1e-5 * max(1.0, float(np.abs(u).max())))
    divisor = model.divisor(model.traces(point.gram, model.factors(e.theta), exact=True))
    assert e.sigma**2 == pytest.approx(point.residual / divisor, rel=1e-6)
    # the sandwich is the inverse information once backfitting has converged
    np.testing.assert_allclose(e.vcov, e.sigma**2 * point.half @ point.half.T, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(
    ("formula", "data"),
    [
        ("Reaction ~ Days + (Days | Subject)", "sleepstudy"),
        ("Reaction ~ Days + (Days || Subject)", "sleepstudy"),
        ("diameter ~ 1 + (1 | plate) + (1 | sample)", "Penicillin"),
        ("strength ~ 1 + (1 | batch) + (1 | batch:cask)", "Pastes"),
        ("score ~ Machine + (1 | Worker) + (1 | Worker:Machine)", "Machines"),
        ("Yield ~ 1 + (1 | Batch)", "Dyestuff2"),
    ],
)
def test_gaussian_models_are_maximum_likelihood(formula: str, data: str) -> None:
    problem = build(formula, load_dataset(data))
    ml, ours = Exact(reml=False).fit(problem).estimate, PQL(traces="exact").fit(problem).estimate
    assert ours.convergence.status is Status.CONVERGED
    np.testing.assert_allclose(ours.theta, ml.theta, atol=1e-5 * max(1.0, float(ml.theta.max())))
    np.testing.assert_allclose(ours.beta, ml.beta, rtol=1e-8)
    np.testing.assert_allclose(ours.vcov, ml.vcov, rtol=1e-4)
    assert ours.sigma == pytest.approx(ml.sigma, rel=1e-6)
    for a, b in zip(ours.modes, ml.modes, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * ml.sigma)


def test_the_diagonal_approximation_improves_with_n() -> None:
    gaps = []
    for n in (1_000, 8_000, 64_000):
        problem = build("y ~ x + (1 | a) + (1 | b)", crossed(n), family="binomial")
        gaps.append(np.abs(PQL(traces="exact").fit(problem).point.variance_gap).max())
    assert gaps[1] < 0.6 * gaps[0]
    assert gaps[2] < 0.6 * gaps[1]
    assert gaps[2] < 0.01


def test_a_gap_is_between_the_two_estimates() -> None:
    problem = build("y ~ x + (1 | a) + (1 | b)", crossed(3_000), family="binomial")
    exact, diagonal = PQL(traces="exact").fit(problem), PQL().fit(problem).estimate
    sds = (e.sigma * e.theta for e in (diagonal, exact.estimate))
    np.testing.assert_allclose(exact.point.variance_gap, np.divide(*sds) - 1.0, atol=1e-6)


def test_an_interrupted_fit_goes_on_where_it_stood() -> None:
    problem = build("y ~ x + (1 | a) + (1 | b)", crossed(3_000), family="binomial")
    whole = PQL(tolerance=1e-10).fit(problem).estimate

    def interrupt(outer: int, phi: float, change: float) -> None:
        if outer == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # as one step of a larger computation
        PQL().fit(problem, progress=interrupt)
    with interrupts_keep():
        part = PQL().fit(problem, progress=interrupt).estimate
    assert part.convergence.status is Status.INTERRUPTED
    assert part.convergence.evaluations == 3
    rest = PQL(start=part, tolerance=1e-10).fit(problem).estimate
    assert rest.convergence.status is Status.CONVERGED
    assert rest.convergence.evaluations < whole.convergence.evaluations
    np.testing.assert_allclose(rest.theta, whole.theta, rtol=1e-6)
    np.testing.assert_allclose(rest.beta, whole.beta, rtol=1e-6)


def test_stopping_at_a_limit_is_said() -> None:
    problem = build("y ~ x + (1 | a) + (1 | b)", crossed(1_000), family="binomial")
    convergence = PQL(max_outer=2).fit(problem).estimate.convergence
    assert convergence.status is Status.OUTER_LIMIT
    assert convergence.evaluations == 2
    assert convergence.decrement > convergence.tolerance


def test_an_interrupt_of_the_search_with_exact_traces_keeps_what_was_found() -> None:
    problem = build("y ~ x + (1 | a) + (1 | b)", crossed(3_000), family="binomial")
    diagonal = PQL().fit(problem).estimate
    seen: list[int] = []

    def interrupt(outer: int, phi: float, change: float) -> None:
        seen.append(outer)
        if outer > diagonal.convergence.evaluations:
            raise KeyboardInterrupt

    with interrupts_keep():
        part = PQL(traces="exact").fit(problem, progress=interrupt).estimate
    assert seen == list(range(1, diagonal.convergence.evaluations + 2))  # counts go on in the second search
    assert part.convergence.status is Status.INTERRUPTED
    np.testing.assert_allclose(part.theta, diagonal.theta, rtol=0.1)
    assert part.quasi is not None
    assert part.quasi.gaps is None


def test_an_interrupt_before_the_first_iteration_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = build("y ~ x + (1 | a)", crossed(1_000), family="binomial")

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(WorkingModel, "summed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        PQL().fit(problem)


def test_evaluate_and_refit() -> None:
    problem = build("y ~ x + (1 | a) + (1 | b)", crossed(2_000), family="binomial")
    recipe = PQL()
    solution = recipe.fit(problem)
    again = recipe.evaluate(problem, solution.estimate)
    np.testing.assert_allclose(again.vcov, solution.estimate.vcov, rtol=1e-8)
    same = recipe.refit(problem, solution.estimate, solution.point).estimate
    np.testing.assert_allclose(same.beta, solution.estimate.beta, rtol=1e-6)
    np.testing.assert_allclose(same.theta, solution.estimate.theta, rtol=1e-5)


# -- hard inputs ---------------------------------------------------------------------------------------------------


def test_a_start_of_zero_variance_does_not_stay_there() -> None:
    problem = build("y ~ x + (1 | a) + (1 | b)", crossed(3_000), family="binomial")
    usual = PQL().fit(problem).estimate
    zero = PQL(start=np.zeros(2)).fit(problem).estimate
    np.testing.assert_allclose(zero.theta, usual.theta, rtol=1e-5)


def test_a_variance_that_is_lost_in_a_rough_model_comes_back() -> None:
    """Ten rows to a level of `a`, one to a level of `r`, which the first working models see hardly any variance in."""
    rng = np.random.default_rng(1)
    a, x = rng.integers(0, 40, 2_000), rng.normal(size=2_000)
    eta = -0.25 + 0.15 * x + 0.45 * rng.normal(size=40)[a] + 0.2 * rng.normal(size=2_000)
    data = {"c": rng.poisson(np.exp(eta)), "x": x, "a": a.astype(str), "r": np.arange(2_000).astype(str)}
    problem = build("c ~ x + (1 | r) + (1 | a)", data, family="poisson")
    ours = PQL(traces="exact", dispersion="fixed").fit(problem).estimate
    plain = PQL(traces="exact", dispersion="fixed", max_inner=1, max_outer=2_000).fit(problem).estimate
    assert ours.convergence.status is plain.convergence.status is Status.CONVERGED
    assert ours.convergence.evaluations < 40
    assert ours.theta[0] > 0.1
    np.testing.assert_allclose(ours.theta, plain.theta, rtol=1e-4)


def iterated_ml(problem: Problem, steps: int = 30) -> Estimate:
    """What MASS::glmmPQL does: Gaussian ML of the working response, again and again."""
    eta = problem.family.start(problem.y, problem.weights)
    while True:
        rows = problem.family.rows(
            problem.y, eta, (), problem.weights, information="expected", derivatives=False
        )
        response = eta + rows.score / rows.weight
        linear = replace(problem, family=resolve("gaussian"), y=response, weights=rows.weight)
        found, steps = Exact(reml=False).fit(linear).estimate, steps - 1
        if not steps:
            return found
        effects = (t.apply(b) for t, b in zip(problem.terms, found.modes, strict=True))
        eta = problem.X.matrix @ found.beta + sum(effects, np.zeros(problem.n))


@pytest.mark.parametrize("random", ["(1 + x | a)", "(1 + x || a)"])
@pytest.mark.parametrize("seed", [2, 3, 8])
def test_slopes_with_and_without_variance_are_iterated_ml(random: str, seed: int) -> None:
    """A singular covariance matrix: mixing must not let the falling variance drag the others along."""
    rng = np.random.default_rng(seed)
    a, b, x = rng.integers(0, 40, 1_500), rng.integers(0, 25, 1_500), rng.normal(size=1_500)
    eta = -0.5 + 0.3 * x + 0.8 * rng.normal(size=40)[a] + 0.4 * rng.normal(size=25)[b]
    y = (rng.random(1_500) < 1.0 / (1.0 + np.exp(-eta))).astype(float)
    data = {"y": y, "x": x, "a": a.astype(str), "b": b.astype(str)}
    problem = build(f"y ~ x + {random} + (1 | b)", data, family="binomial")
    ours, theirs = PQL(traces="exact").fit(problem).estimate, iterated_ml(problem)
    assert ours.convergence.status is Status.CONVERGED
    assert ours.singular == theirs.singular
    np.testing.assert_allclose(ours.theta, theirs.theta, atol=3e-4)
    np.testing.assert_allclose(ours.beta, theirs.beta, atol=1e-4)
    assert ours.sigma == pytest.approx(theirs.sigma, rel=1e-5)


def test_a_variance_of_zero_is_exactly_zero() -> None:
    data = crossed(3_000, sd=(0.8, 0.0), seed=3)
    data["b"] = np.arange(3_000) % 30  # balanced over y below, so less spread than chance
    data["y"] = data["y"][np.argsort(data["y"], kind="stable")]
    data["b"] = data["b"].astype(str)
    e = PQL().fit(build("y ~ 1 + (1 | b)", data, family="binomial")).estimate
    assert e.convergence.status is Status.CONVERGED
    assert e.theta[0] == 0.0
    assert e.singular


def test_nested_factors_get_exact_traces_and_a_word() -> None:
    problem = build("strength ~ 1 + (1 | batch) + (1 | batch:cask)", load_dataset("Pastes"))
    with pytest.warns(LmmformulaWarning, match="lies within one level of `batch`"):
        ours = PQL().fit(problem).estimate
    np.testing.assert_allclose(ours.theta, Exact(reml=False).fit(problem).estimate.theta, rtol=1e-5)


def test_a_perfectly_predicted_group_is_shrunk() -> None:
    data = crossed(2_000)
    data["y"] = np.where(np.asarray(data["a"]) == "7", 1.0, data["y"])
    e = PQL().fit(build("y ~ x + (1 | a) + (1 | b)", data, family="binomial")).estimate
    assert e.convergence.status is Status.CONVERGED
    assert max(float(np.abs(m).max()) for m in e.modes) < 10.0


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_a_predictor_that_separates_is_named_and_the_others_stand(family: str) -> None:
    data = crossed(2_000)
    split = np.arange(2_000) % 3 == 0
    data["s"] = split.astype(float)
    data["y"] = np.where(split, 0.0, data["y"])
    e = PQL().fit(build("y ~ x + s + (1 | a) + (1 | b)", data, family=family)).estimate
    assert e.convergence.status is Status.CONVERGED
    assert e.undetermined == ("s",)
    assert np.isinf(e.vcov[2, 2])
    rest = {k: np.asarray(v)[~split] for k, v in data.items()}
    without = PQL(dispersion="fixed").fit(build("y ~ x + (1 | a) + (1 | b)", rest, family=family)).estimate
    fixed = PQL(dispersion="fixed").fit(build("y ~ x + s + (1 | a) + (1 | b)", data, family=family)).estimate
    np.testing.assert_allclose(fixed.beta[:2], without.beta, rtol=1e-4)
    # p counts in the divisor of free dispersions only, so the fixed fits agree
    np.testing.assert_allclose(fixed.theta, without.theta, rtol=1e-3)
    np.testing.assert_allclose(fixed.vcov[:2, :2], without.vcov, rtol=1e-3)


def test_complete_separation() -> None:
    data = crossed(2_000)
    data["s"] = 2.0 * np.asarray(data["y"]) - 1.0 + 0.1 * np.asarray(data["x"])
    problem = build("y ~ s + (1 | a) + (1 | b)", data, family="binomial")
    with pytest.raises(FitError, match=r"dispersion is estimated as .* predicts every row .* separates"):
        PQL().fit(problem)
    e = PQL(dispersion="fixed").fit(problem).estimate
    assert set(e.undetermined) == {"(Intercept)", "s"}
    assert np.isinf(np.diagonal(e.vcov)).all()


@pytest.mark.parametrize(("family", "agrees"), [("binomial", True), ("binomial", False), ("poisson", False)])
def test_an_offset_out_of_scale_is_named(family: str, agrees: bool) -> None:
    data = crossed(1_000)
    up = np.asarray(data["y"]) == 1.0 if agrees else np.arange(1_000) % 2 == 0
    problem = build("y ~ x + (1 | a)", data, family=family, offset=np.where(up, 800.0, -800.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FitError, match="offset runs from -800 to 800"):
            PQL().fit(problem)


def test_weights_that_underflow_in_many_rows_are_no_harm() -> None:
    """Half the rows are certain: their offset agrees with what happened."""
    data = crossed(2_000)
    certain = np.arange(2_000) % 2 == 0
    offset = np.where(certain, np.where(np.asarray(data["y"]) == 1.0, 60.0, -60.0), 0.0)
    e = PQL(dispersion="fixed").fit(build("y ~ x + (1 | a)", data, family="binomial", offset=offset)).estimate
    rest = {k: np.asarray(v)[~certain] for k, v in data.items()}
    without = PQL(dispersion="fixed").fit(build("y ~ x + (1 | a)", rest, family="binomial")).estimate
    np.testing.assert_allclose(e.beta, without.beta, rtol=1e-6)
    np.testing.assert_allclose(e.theta, without.theta, rtol=1e-5)


def test_a_level_for_each_row_fixes_the_dispersion() -> None:
    data = load_dataset("grouseticks")
    problem = build("TICKS ~ YEAR + cHEIGHT + (1 | INDEX)", data, family="poisson")
    with pytest.warns(LmmformulaWarning, match="held at 1"):
        free = PQL().fit(problem).estimate
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fixed = PQL(dispersion="fixed").fit(problem).estimate
    assert free.sigma == fixed.sigma == 1.0
    np.testing.assert_allclose(free.theta, fixed.theta)


def test_huge_predictors_do_not_overflow() -> None:
    data = crossed(2_000)
    data["x"] = 1e6 * np.asarray(data["x"])
    small = PQL().fit(build("y ~ x + (1 | a)", crossed(2_000), family="binomial")).estimate
    large = PQL().fit(build("y ~ x + (1 | a)", data, family="binomial")).estimate
    assert large.beta[1] * 1e6 == pytest.approx(small.beta[1], rel=1e-5)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"traces": "none"}, "traces"),
        ({"dispersion": "some"}, "dispersion"),
        ({"tolerance": 0.0}, "tolerance=0.0 must be a number above 0"),
        ({"max_outer": 0}, "max_outer=0 must be a whole number of at least 1"),
    ],
)
def test_options_are_checked(options: dict[str, Any], match: str) -> None:
    with pytest.raises(PlanError, match=match):
        Quasi(**options)


def test_a_gaussian_dispersion_cannot_be_fixed() -> None:
    problem = build("Reaction ~ Days + (1 | Subject)", load_dataset("sleepstudy"))
    with pytest.raises(PlanError, match="gaussian"):
        PQL(dispersion="fixed").fit(problem)


def test_an_estimate_of_another_model_is_no_start() -> None:
    data = crossed(1_000)
    other = PQL().fit(build("y ~ x + (1 | a)", data, family="binomial")).estimate
    with pytest.raises(PlanError, match=r"another model: it has 2 fixed effects, 1 covariance.* 2, 2 and"):
        PQL(start=other).fit(build("y ~ x + (1 | a) + (1 | b)", data, family="binomial"))


def test_warnings_are_given_once(tmp_path: Path) -> None:
    """By the fit, not by what is asked of it afterwards."""
    problem = build("TICKS ~ YEAR + (1 | INDEX)", load_dataset("grouseticks"), family="poisson")
    with pytest.warns(LmmformulaWarning, match="held at 1"):
        solution = PQL().fit(problem)
    PQL().evaluate(problem, solution.estimate)
    PQL().refit(problem, solution.estimate, solution.point)


def test_a_start_of_the_wrong_length() -> None:
    problem = build("Reaction ~ Days + (1 | Subject)", load_dataset("sleepstudy"))
    with pytest.raises(PlanError, match="1 elements"):
        PQL(start=np.ones(3)).fit(problem)


# -- the correction to Laplace's approximation ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "formula", "family"),
    [
        ("VerbAgg", "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)", "binomial"),
        ("grouseticks", "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)", "poisson"),
        ("Arabidopsis", "total.fruits ~ nutrient + amd + (nutrient | gen) + (1 | popu)", "poisson"),
    ],
)
def test_corrected_with_exact_traces_is_laplace(name: str, formula: str, family: str) -> None:
    data = load_dataset(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LmmformulaWarning)
        laplace = fit(formula, data, family=family)
        ours = fit(formula, data, family=family, method="pql", traces="exact", correction="laplace")
    assert ours.converged
    assert ((ours.params - laplace.params).abs() / laplace.bse).max() < 2e-4
    np.testing.assert_allclose(ours.theta, laplace.theta, rtol=2e-4, atol=2e-4)
    assert ours.estimate.sigma == 1.0
    assert "corrected to Laplace" in str(ours.summary())


def test_corrected_with_diagonal_traces_comes_close() -> None:
    """O(N), and an order of magnitude nearer to Laplace than PQL is."""
    data = load_dataset("VerbAgg")
    formula = "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)"
    laplace = fit(formula, data, family="binomial")
    plain = fit(formula, data, family="binomial", method="pql", traces="diagonal")
    ours = fit(formula, data, family="binomial", method="pql", traces="diagonal", correction="laplace")
    far, near = (((m.params - laplace.params).abs() / laplace.bse).max() for m in (plain, ours))
    assert near < 0.01 < 0.1 < far
    np.testing.assert_allclose(ours.theta, laplace.theta, rtol=0.01)


def test_the_correction_needs_a_canonical_link() -> None:
    data = load_dataset("VerbAgg")
    with pytest.raises(PlanError, match="canonical link"):
        fit(
            "r2 ~ Anger + (1 | id)",
            data,
            family="binomial(link='probit')",
            method="pql",
            correction="laplace",
        )
    with pytest.raises(PlanError, match="correction='full'"):
        fit("r2 ~ Anger + (1 | id)", data, family="binomial", method="pql", correction="full")
