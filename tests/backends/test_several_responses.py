"""Several Gaussian responses: the criterion written out in dense matrices, other units, and what becomes of the formulas."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import Fit, build, fit, load
from lmmformula.criteria.clusters import ByCluster
from lmmformula.errors import DataDroppedWarning, FormulaError, PlanError
from lmmformula.ir.problem import Problem
from lmmformula.typing import Array

MODELS = {
    "shared": "bf(mvbind(y, z) ~ x + (1 |p| g)) + set_rescor(FALSE)",
    "rescor": "bf(mvbind(y, z) ~ x + (x |p| g)) + set_rescor(TRUE)",
    "own formulas": "bf(y ~ x + (1 |p| g)) + bf(z ~ f + (1 + x |p| g) + (1 | h)) + bf(w ~ 0 + f) + set_rescor(TRUE)",
    "own sigma": "bf(y ~ x + (1 |p| g), sigma ~ f) + bf(z ~ x + (1 |p| g)) + set_rescor(FALSE)",
}


GROUPS, EACH = 18, 7
N = GROUPS * EACH


@cache
def data() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    g = np.repeat(np.arange(GROUPS), EACH)
    x, e = rng.normal(size=N), rng.normal(size=(N, 3))
    b = rng.normal(size=(GROUPS, 4)) @ np.linalg.cholesky(0.5 * np.eye(4) + 0.5)
    c = rng.normal(size=GROUPS // 3)
    return pd.DataFrame(
        {
            "x": x,
            "g": np.char.add("g", g.astype(str)),
            "h": np.char.add("h", (g // 3).astype(str)),
            "f": np.array(["a", "b", "c"])[np.arange(N) % 3],
            "y": 1 + 0.5 * x + b[g, 0] + b[g, 1] * x + 0.6 * e[:, 0],
            "z": 2 - x + b[g, 2] + 0.8 * b[g, 3] * x + c[g // 3] + 0.5 * e[:, 0] + 0.7 * e[:, 1],
            "w": e[:, 2] + 0.4 * e[:, 0],
        }
    )


@cache
def fitted(name: str) -> Fit:
    return fit(MODELS[name], data(), method="reml")


def written_out(problem: Problem, theta: Array, psi: Array, sigma2: float, reml: bool) -> float:
    """-2 log (restricted) likelihood with V as a dense matrix."""
    residual = problem.residual
    assert residual is not None
    phi, delta = residual.split(psi)
    r = residual.kind.relative(residual.positions[None], phi)[0][0]
    r = r * (residual.codes[:, None] == residual.codes)
    if residual.variance is not None:
        s = np.exp(residual.variance.directions @ delta)
        r = r * np.outer(s, s)
    v = r
    for term, at in zip(problem.terms, problem.theta_slices(), strict=True):
        lower = term.covariance.cholesky(theta[at])
        zl = np.ones((problem.n, 1)) @ lower if term.basis is None else term.basis @ lower
        v = v + (zl @ zl.T) * (term.codes[:, None] == term.codes)
    v, x = sigma2 * v, problem.X.matrix
    inverse = np.linalg.inv(v)
    information = x.T @ inverse @ x
    e = problem.y - x @ np.linalg.solve(information, x.T @ inverse @ problem.y)
    n = problem.n - problem.p * reml
    out = float(e @ inverse @ e + np.linalg.slogdet(v)[1] + n * np.log(2 * np.pi))
    return out + float(np.linalg.slogdet(information)[1]) * reml


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_criterion_is_what_it_is_written_out(name: str, reml: bool) -> None:
    problem = build(MODELS[name], data())
    model = ByCluster.of(problem, reml=reml)
    rng = np.random.default_rng(1)
    omega = model.start() + 0.2 * rng.normal(size=len(model.start()))
    point, (theta, psi) = model(omega), model.split(omega)
    assert point.value == pytest.approx(written_out(problem, theta, psi, point.sigma2, reml), rel=1e-10)
    for j in range(len(omega)):
        step = np.zeros(len(omega))
        step[j] = 1e-5
        slope = (model(omega + step).value - model(omega - step).value) / 2e-5
        assert point.gradient[j] == pytest.approx(slope, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_estimates_are_those_of_the_likelihood_in_the_units_of_the_user(name: str) -> None:
    m = fitted(name)
    assert m.converged
    value = written_out(m.problem, m.estimate.theta, m.estimate.residual, m.sigma**2, True)
    assert m.deviance == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_units_of_a_response_do_not_matter(name: str) -> None:
    m, c = fitted(name), 1e4
    other = fit(MODELS[name], data().assign(z=c * data()["z"], x=0.01 * data()["x"]), method="reml")
    n, of_z = len(data()), m.params.index.str.startswith("z:")
    slopes = m.params.index.str.endswith(":x")
    scale = np.where(of_z, c, 1.0) * np.where(slopes, 100.0, 1.0)
    np.testing.assert_allclose(other.params, m.params * scale, rtol=1e-5, atol=1e-6)
    shift = 2 * (n - of_z.sum()) * np.log(c) - 2 * slopes.sum() * np.log(100.0)
    assert other.deviance == pytest.approx(m.deviance + shift, abs=1e-6)
    mine, theirs = m.varcorr(se=True), other.varcorr(se=True)
    sds = mine["var2"].isna() & (mine["grp"] != "sigma")
    unit = np.where(mine["var1"].str.startswith("z"), c, 1.0) * np.where(
        mine["var1"].str.endswith(":x"), 100.0, 1.0
    )
    np.testing.assert_allclose(theirs["sdcor"][sds], (mine["sdcor"] * unit)[sds], rtol=1e-4)
    np.testing.assert_allclose(theirs["se"][sds], (mine["se"] * unit)[sds], rtol=1e-3)
    new = data().head(4)
    for model, frame in ((m, new), (other, new.assign(x=0.01 * new["x"]))):
        for re_form in ("all", None):
            found = model.predict(frame, se=True, re_form=re_form).xs("z", level="response")
            unit_of = 1.0 if model is m else c
            expected = m.predict(new, se=True, re_form=re_form).xs("z", level="response")
            np.testing.assert_allclose(found / unit_of, expected, rtol=1e-4)


def test_one_formula_for_all_and_one_for_each_are_the_same_model() -> None:
    together = build("mvbind(y, z) ~ x + (1 |p| g)", data())
    apart = build("mvbf(bf(y ~ x + (1 |p| g)), bf(z ~ x + (1 |p| g)), rescor = TRUE)", data())
    np.testing.assert_array_equal(together.X.matrix, apart.X.matrix)
    assert together.X.names == apart.X.names
    assert [t.columns for t in together.terms] == [t.columns for t in apart.terms]
    assert together.residual is not None
    assert apart.residual is not None
    assert together.residual.kind == apart.residual.kind


def test_without_an_id_effects_of_responses_are_independent() -> None:
    problem = build("mvbind(y, z) ~ x + (1 | g)", data())
    assert [t.columns for t in problem.terms] == [("y:(Intercept)",), ("z:(Intercept)",)]
    assert [t.n_theta for t in problem.terms] == [1, 1]


def test_responses_without_anything_in_common_are_fits_of_each() -> None:
    both = fit("bf(y ~ x + (1 | g)) + bf(z ~ f + (1 | h)) + set_rescor(FALSE)", data(), method="ml")
    one = fit("y ~ x + (1 | g)", data(), method="ml")
    other = fit("z ~ f + (1 | h)", data(), method="ml")
    assert both.llf == pytest.approx(one.llf + other.llf, abs=1e-7)
    np.testing.assert_allclose(both.params, [*one.params, *other.params], rtol=1e-5)
    np.testing.assert_allclose(both.varcorr()["sdcor"].iloc[2:], [one.sigma, other.sigma], rtol=1e-5)


def test_an_observation_that_lacks_one_response_is_left_out_of_all() -> None:
    holes = data().assign(z=data()["z"].where(np.arange(N) != 7))
    with pytest.warns(DataDroppedWarning, match=f"1 of {N} rows dropped: missing in `z`"):
        m = fit(MODELS["shared"], holes)
    assert m.nobs == 2 * (N - 1)
    assert ("y", 7) not in m.fittedvalues.index


def test_rows_of_new_data_have_a_level_for_the_response() -> None:
    m = fitted("rescor")
    labelled = data().head(3).set_axis(["i", "j", "k"])
    found = m.predict(labelled.drop(columns=["y", "z"]))
    assert found.index.names == ["response", None]
    assert list(found.unstack("response").columns) == ["y", "z"]
    np.testing.assert_allclose(found.xs("z"), m.fittedvalues.xs("z")[:3], rtol=1e-10)
    new = labelled.assign(g="nobody")
    unseen = m.predict(new, new_levels="population", se=True)
    np.testing.assert_allclose(unseen["fit"], m.predict(new, re_form=None), rtol=1e-10)
    known = m.predict(new, re_form=None, se=True)["se"]
    assert bool(np.all(np.asarray(unseen["se"]) > np.asarray(known)))


def test_draws_have_the_covariance_of_the_model() -> None:
    m = fitted("rescor")
    drawn = m.simulate(3_000, seed=4).to_numpy()
    problem, theta = m.problem, m.estimate.theta
    assert problem.residual is not None
    lower = problem.terms[0].covariance.cholesky(theta)
    assert problem.terms[0].basis is not None
    z = problem.terms[0].basis[[0, N]] @ lower
    r = problem.residual.kind.relative(np.array([[[0.0], [1.0]]]), m.estimate.residual)[0][0]
    expected = m.sigma**2 * (z @ z.T + r)
    np.testing.assert_allclose(np.cov(drawn[[0, N]]), expected, atol=0.08 * expected.max())


def test_is_kept_in_a_file(tmp_path: Any) -> None:
    m = fitted("own formulas")
    m.save(tmp_path / "fit")
    again = load(tmp_path / "fit")
    new = data().head(3)
    np.testing.assert_allclose(again.predict(new, se=True), m.predict(new, se=True), rtol=1e-10)
    np.testing.assert_allclose(again.bse, m.bse, rtol=1e-10)
    assert again.summary().__str__() == str(m.summary())


def test_relatives_and_members_are_of_independent_residuals() -> None:
    levels = sorted(set(data()["g"]))
    known = pd.DataFrame(0.5 ** np.abs(np.subtract.outer(*[np.arange(GROUPS)] * 2)), levels, levels)
    formula = "mvbind(y, z) ~ x + (1 |p| gr(g, cov = A))"
    with pytest.raises(PlanError, match=r"dependent levels.*rescor=False with method='laplace'"):
        fit(formula, data(), data2={"A": known})
    problem = build(formula, data(), data2={"A": known}, rescor=False)
    assert [t.k for t in problem.terms] == [2]
    assert problem.terms[0].covariance.across is not None
    m = fit(formula, data(), data2={"A": known}, rescor=False, method="laplace")
    new = data().head(2)
    np.testing.assert_allclose(m.predict(new).xs("z"), m.fittedvalues.xs("z")[:2], rtol=1e-10)


def test_smooths_have_places_in_each_formula() -> None:
    m = fit(["y ~ s(x, k = 5) + (1 |p| g)", "z ~ x + (1 |p| g)"], data(), rescor=False)
    assert [t.smooth for t in m.problem.terms] == ["", "y: s(x)"]
    new = data().head(2)
    np.testing.assert_allclose(m.predict(new), [*m.fittedvalues.xs("y")[:2], *m.fittedvalues.xs("z")[:2]])
    with pytest.raises(PlanError, match="curve of a smooth takes a model of one response"):
        m.smooth("s(x)")


REFUSED = {
    "bf(mvbind(y, z) ~ x, sigma ~ f) + set_rescor(TRUE)": (PlanError, "one sigma, and one has a formula"),
    "bf(y ~ x + (1 |p| g)) + bf(z ~ x + (x ||p|| g))": (FormulaError, "too many bars"),
    "bf(y ~ x + (1 |p| g)) + bf(z ~ x + cs(0 + f |p| g))": (PlanError, "covariance of its own, cs"),
    "bf(y ~ x + ar(gr = g)) + bf(z ~ x)": (PlanError, "and nothing else"),
}


@pytest.mark.parametrize("formula", REFUSED)
def test_refused_by_name(formula: str) -> None:
    kind, text = REFUSED[formula]
    with pytest.raises(kind, match=text):
        build(formula, data())


@pytest.mark.parametrize("method", ["hmc", "pql", "krylov"])
def test_other_methods_are_refused(method: str) -> None:
    with pytest.raises(PlanError, match=r"takes a model of one response, and this one has several \(y, z\)"):
        fit(MODELS["shared"], data(), method=method)


# -- families of their own ------------------------------------------------------------------------------------------------

MIXED = ["y ~ x + (1 |p| g)", "count ~ x + (1 |p| g)", "z ~ f + (1 |p| g)"]
FAMILIES = {"y": "gaussian", "count": "nbinom2", "z": "gaussian"}


@cache
def counts() -> pd.DataFrame:
    rng, frame = np.random.default_rng(2), data()
    of_group = frame["y"].to_numpy().reshape(GROUPS, EACH).mean(axis=1)
    own = np.repeat(rng.normal(size=GROUPS) + 0.5 * of_group, EACH)
    mean = np.exp(0.8 + 0.3 * frame["x"].to_numpy() + 0.6 * own)
    return frame.assign(count=rng.poisson(mean * rng.gamma(3.0, 1.0 / 3.0, size=N)).astype(float))


@cache
def mixed() -> Fit:
    return fit(MIXED, counts(), family=FAMILIES)


def test_families_may_be_written_in_the_formula_or_as_a_mapping() -> None:
    written = "bf(y ~ x + (1 |p| g)) + bf(count ~ x + (1 |p| g), family = nbinom2) + bf(z ~ f + (1 |p| g))"
    one, other = build(MIXED, counts(), family=FAMILIES), build(written, counts())
    assert str(one.family) == str(other.family)
    assert [s.family.name for s in one.responses] == list(FAMILIES.values())
    assert [a.name.split("_")[-1] for a in one.family.auxiliaries] == ["y", "count", "z"]
    with pytest.raises(PlanError, match="no entry for the response `z`"):
        build(MIXED, counts(), family={"y": "gaussian", "count": "nbinom2"})
    with pytest.raises(PlanError, match="names 'w', which is no response"):
        build(MIXED, counts(), family={**FAMILIES, "w": "gaussian"})
    with pytest.raises(PlanError, match="residuals are correlated where all responses are Gaussian"):
        build(MIXED, counts(), family=FAMILIES, rescor=True)
    with pytest.raises(PlanError, match="this formula has one response"):
        build("y ~ x", counts(), rescor=True)


def test_gaussian_responses_by_laplace_are_those_by_their_own_criterion() -> None:
    """A third response that shares nothing adds its own likelihood."""
    own = fit(["y ~ x + (1 |p| g)", "z ~ f + (1 |p| g)"], data(), method="ml", rescor=False)
    alone = fit("count ~ x", counts(), family="poisson")
    both = fit(
        ["y ~ x + (1 |p| g)", "z ~ f + (1 |p| g)", "count ~ x"],
        counts(),
        family={**FAMILIES, "count": "poisson"},
    )
    assert both.llf == pytest.approx(own.llf + alone.llf, abs=1e-6)
    np.testing.assert_allclose(both.params, [*own.params, *alone.params], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["shared", "own sigma"])
def test_gaussian_responses_by_rows_have_the_likelihood_by_clusters(name: str) -> None:
    by_clusters = fit(MODELS[name], data(), method="ml")
    by_rows = fit(MODELS[name], data(), method="laplace")
    assert by_rows.method == "Laplace"
    assert by_rows.llf == pytest.approx(by_clusters.llf, abs=1e-7)
    assert by_rows.df_model == by_clusters.df_model
    np.testing.assert_allclose(by_rows.params, by_clusters.params, rtol=1e-4, atol=1e-5)
    new = data().head(3)
    expected = by_clusters.predict(new, interval="prediction")
    np.testing.assert_allclose(by_rows.predict(new, interval="prediction"), expected, rtol=0.05, atol=0.05)
    assert fit(MODELS["rescor"], data(), method="laplace").method == "ML"


def test_units_of_a_response_do_not_matter_beside_counts() -> None:
    m, c = mixed(), 1e3
    other = fit(MIXED, counts().assign(z=c * counts()["z"]), family=FAMILIES)
    assert other.llf == pytest.approx(m.llf - N * np.log(c), abs=1e-5)
    unit = np.where(m.params.index.str.startswith("z:"), c, 1.0)
    np.testing.assert_allclose(other.params, m.params * unit, rtol=1e-4)
    np.testing.assert_allclose(other.bse, m.bse * unit, rtol=1e-3)
    assert other.estimate.aux[2][0] == pytest.approx(m.estimate.aux[2][0] + np.log(c), abs=1e-4)


def of(found: Any, response: str) -> Array:
    """The rows of a response."""
    return np.asarray(found.xs(response), dtype=float)


def test_rows_of_each_response_have_its_family() -> None:
    m, new = mixed(), counts().head(4)
    link, mean = m.predict(new, kind="link"), m.predict(new)
    np.testing.assert_allclose(of(mean, "y"), of(link, "y"), rtol=1e-12)
    np.testing.assert_allclose(of(mean, "count"), np.exp(of(link, "count")), rtol=1e-12)
    np.testing.assert_allclose(of(m.fittedvalues, "count")[:4], of(mean, "count"), rtol=1e-10)
    limits = m.predict(new, interval="prediction", seed=1)
    lower, upper = of(limits["lower"], "count"), of(limits["upper"], "count")
    assert (lower >= 0.0).all()
    assert (upper == np.round(upper)).all()
    sigma, se = np.exp(m.estimate.aux[0][0]), of(m.predict(new, se=True)["se"], "y")
    reach = (of(limits["upper"], "y") - of(limits["lower"], "y")) / 2
    np.testing.assert_allclose(reach, 1.959964 * np.sqrt(se**2 + sigma**2), rtol=1e-5)
    drawn = m.simulate(2, seed=3)
    assert (of(drawn, "count") % 1 == 0).all()
    assert (of(drawn, "y") % 1 != 0).all()
    assert abs(np.std(np.asarray(m.residuals("quantile", seed=2))) - 1.0) < 0.15
    assert list(m.augment().columns[-3:]) == [".fitted", ".resid", ".fixed"]


def test_is_fitted_again_and_kept(tmp_path: Any) -> None:
    m = mixed()
    again = m.refit(m.simulate(1, seed=5)["sim_1"])
    assert again.converged
    m.save(tmp_path / "fit")
    loaded = load(tmp_path / "fit")
    assert loaded.llf == m.llf
    new = counts().head(2)
    np.testing.assert_allclose(loaded.predict(new, se=True), m.predict(new, se=True), rtol=1e-8)
    np.testing.assert_allclose(loaded.simulate(1, seed=1), m.simulate(1, seed=1))


ASKED = {
    "R2": lambda m: m.r2(),
    "ICC": lambda m: m.icc(),
    "population means": lambda m: m.emmeans("x", average="population"),
    "conditional effects": lambda m: m.conditional_effects(),
    "drop1": lambda m: m.drop1(),
    "step": lambda m: m.step(),
    "ranova": lambda m: m.ranova(),
    "naivete": lambda m: m.naivete(),
    "cross-validation": lambda m: m.cross_validate(folds=3, seed=1),
    "full": lambda m: m.predict(data().head(2), se=True, uncertainty="full"),
    "all optimisers": lambda m: m.allfit(),
}


@pytest.mark.parametrize("what", ASKED)
def test_what_needs_one_response_says_so(what: str) -> None:
    for m in (fitted("shared"), mixed()):
        if what == "full" and m is not mixed():
            continue
        with pytest.raises(PlanError, match=r"responses|several") as caught:
            ASKED[what](m)
        assert "y" in str(caught.value)


def test_is_reported(tmp_path: Any) -> None:
    from lmmformula import report

    for m in (fitted("shared"), mixed()):
        page = report(m, tmp_path / "page.html", plots=False)
        text = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert "y:(Intercept)" in text
        assert page is not None


def test_new_positions_beside_another_response() -> None:
    """A series of one response alone goes on as it does in a model of its own."""
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"g": np.repeat(np.arange(8), 10), "t": np.tile(np.arange(10.0), 8)})
    walk = np.cumsum(rng.normal(size=(8, 10)), axis=1).ravel()
    data["y"], data["n"] = walk + 1.5 * rng.normal(size=80), rng.poisson(2.0, 80)
    new = pd.DataFrame({"g": [0, 3], "t": [10.5, 4.5]})
    alone = fit("y ~ 1 + ou(0 + t | g)", data, method="laplace", dispformula="~ 1")
    both = fit("bf(y ~ 1 + ou(0 + t | g)) + bf(n ~ 1, family = poisson)", data)
    found = both.predict(new, new_levels="population").loc["y"]
    np.testing.assert_allclose(found, alone.predict(new, new_levels="population"), rtol=1e-4)
