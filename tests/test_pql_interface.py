"""``method="pql"`` as a user meets it: planning, options, results without a likelihood, naivete."""

from __future__ import annotations

import json
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, Fit, PlanError, SingularFitWarning, anova, fit, load, load_dataset, plan
from lmmformula.cli import main
from lmmformula.errors import ConvergenceWarning, LmmformulaWarning, SeparationWarning
from lmmformula.ir.estimate import Status

FORMULA = "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)"


@pytest.fixture(scope="module")
def verbal():
    return fit(FORMULA, load_dataset("VerbAgg"), family="binomial", method="pql")


def test_the_plan_says_which_traces_the_size_allows() -> None:
    data = load_dataset("VerbAgg")
    small = plan(FORMULA, data, family="binomial", method="pql")
    assert (small.method, small.engine) == ("pql", "blocked")
    asked = plan(FORMULA, data, family="binomial", method="pql", traces="diagonal")
    assert (asked.engine, asked.dense) == ("backfitting", 0)
    assert "backfitted" in str(asked)


def test_results_have_no_likelihood_and_say_so(verbal) -> None:
    assert np.isnan(verbal.llf)
    text = str(verbal.summary())
    assert "PQL (exact traces)" in text
    assert "logLik" not in text
    with pytest.raises(PlanError, match="no likelihood to compare"):
        anova(verbal, verbal.update("r2 ~ Anger + (1 | id) + (1 | item)"))
    assert verbal.anova().loc["btype", "Df"] == 2


def test_naivete_of_a_plain_glm(verbal) -> None:
    table = verbal.naivete()
    assert list(table.index) == list(verbal.params.index)
    assert (table["naivete"] > 5).all()
    assert (table["inefficiency"] > 1).all()


def test_a_search_that_stopped_early_goes_on_from_its_estimate() -> None:
    data = load_dataset("VerbAgg")
    with pytest.warns(match="limit of outer iterations"):
        part = fit(FORMULA, data, family="binomial", method="pql", traces="diagonal", max_outer=2)
    rest = fit(FORMULA, data, family="binomial", method="pql", traces="diagonal", start=part.estimate)
    whole = fit(FORMULA, data, family="binomial", method="pql", traces="diagonal")
    np.testing.assert_allclose(rest.params, whole.params, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "pql", "traces": "guess"}, "traces='guess'"),
        ({"method": "pql", "nagq": 5}, "'nagq' is no option of method='pql'"),
        ({"method": "laplace", "traces": "exact"}, "'traces' is an option of method='pql' only"),
        ({"method": "pql", "dispersion": "some"}, "dispersion='some'"),
    ],
)
def test_options(arguments, message) -> None:
    with pytest.raises(PlanError, match=message):
        fit(FORMULA, load_dataset("VerbAgg"), family="binomial", **arguments)


# -- the search ----------------------------------------------------------------------------------------------------


def interrupt_after(count: int) -> Callable[[int, float, float], None]:
    """A progress function that presses Ctrl-C."""

    def report(outer: int, phi: float, change: float) -> None:
        if outer == count:
            signal.raise_signal(signal.SIGINT)

    return report


@pytest.mark.parametrize("traces", ["diagonal", "exact"])
@pytest.mark.parametrize("kept", [False, True])
def test_an_interrupt_gives_a_fit_that_goes_on(traces: str, kept: bool, tmp_path: Path) -> None:
    data = load_dataset("VerbAgg")
    whole = fit(FORMULA, data, family="binomial", method="pql", traces=traces)
    message = r"stopped by the user \(3 outer iterations, \d+ sweeps\).*tolerance 1e-08.*m\.update\(start=m\.estimate\)"
    with pytest.warns(ConvergenceWarning, match=message):
        part = fit(FORMULA, data, family="binomial", method="pql", traces=traces, progress=interrupt_after(3))
    assert part.estimate.convergence.status is Status.INTERRUPTED
    assert not part.converged
    assert part.diagnostics["status"] == "stopped by the user"
    assert "NOT CONVERGED" in str(part.summary())
    if kept:
        part.save(tmp_path / "part.lmm")
        part = load(tmp_path / "part.lmm")
    rest = part.update(data=data, start=part.estimate)
    assert rest.converged
    np.testing.assert_allclose(rest.params, whole.params, rtol=1e-6)
    np.testing.assert_allclose(rest.theta, whole.theta, rtol=1e-6)
    other = rest.update("r2 ~ Anger + (1 | id)", data=data)  # the start is not carried along
    assert other.converged


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_an_interrupt_of_other_methods_is_raised(method: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(
            "Reaction ~ Days + (Days | Subject)",
            load_dataset("sleepstudy"),
            method=method,
            progress=interrupt_after(1),
        )


def test_the_limit_is_explained() -> None:
    data = load_dataset("VerbAgg")
    message = (
        r"stopped at the limit of outer iterations \(2 outer iterations, \d+ sweeps\); the last outer iteration changed the "
        r"linear predictors by 0\.\d+ of their size \(tolerance 1e-08\)\. The likely cause is that max_outer is low .*"
        r"m\.update\(start=m\.estimate, max_outer=100\)"
    )
    with pytest.warns(ConvergenceWarning, match=message):
        fit(FORMULA, data, family="binomial", method="pql", traces="diagonal", max_outer=2)


def test_likely_causes_of_a_slow_search() -> None:
    data = load_dataset("VerbAgg")
    far = data.assign(Anger=data["Anger"] + 1e7)
    with pytest.warns(ConvergenceWarning, match="all but collinear.*centre the numeric predictors"):
        fit("r2 ~ Anger + (1 | id)", far, family="binomial", method="pql", max_outer=5)
    rows = data.iloc[:400].assign(row=np.arange(400).astype(str))
    with (
        pytest.warns(LmmformulaWarning, match="held at 1"),
        pytest.warns(ConvergenceWarning, match=r"a variance near zero, of \(1 \| row\)"),
    ):
        fit("r2 ~ Anger + (1 | row)", rows, family="binomial", method="pql", max_outer=20)


def test_the_estimate_of_another_method_is_a_start() -> None:
    data = load_dataset("sleepstudy")
    reml = fit("Reaction ~ Days + (Days | Subject)", data)
    again = reml.update(start=reml.estimate)
    assert again.llf == pytest.approx(reml.llf, abs=1e-8)
    assert again.estimate.convergence.evaluations <= reml.estimate.convergence.evaluations


# -- the dispersion ------------------------------------------------------------------------------------------------

EPIL = "y ~ lbase * trt + lage + (1 | subject)"


@pytest.fixture(scope="module")
def counts():
    return fit(EPIL, load_dataset("epil"), family="poisson", method="pql")


def test_a_free_dispersion_is_shown_as_glmmpql_shows_it(counts) -> None:
    """MASS::glmmPQL: (Intercept) 0.4410, Residual 1.4284."""
    phi = counts.estimate.sigma**2
    assert counts.sigma == pytest.approx(1.42838, abs=1e-5)
    assert counts.dispersion == {"phi": pytest.approx(phi)}
    last = counts.varcorr().iloc[-1]
    assert (last["grp"], last["sdcor"], last["vcov"]) == ("Residual", counts.sigma, pytest.approx(phi))
    table = counts.tidy("ran_pars")
    assert table["estimate"].tolist() == pytest.approx([0.44098, 1.42838], abs=1e-5)
    assert table["term"].tolist() == ["sd__(Intercept)", "sd__Observation"]
    row = counts.glance().iloc[0]
    assert row["sigma"] == counts.sigma
    assert row["npar"] == counts.df_model == 7
    assert np.isnan([row["logLik"], row["AIC"], row["BIC"], row["deviance"]]).all()
    text = str(counts.summary())
    assert "Dispersion (phi): 2.040 (estimated)" in text
    assert "Residual               2.0403   1.4284" in text
    assert "Dispersion (phi): 2.040 (estimated)" in counts._repr_html_()
    scaled = counts.residuals("pearson") / counts.sigma
    assert counts.summary().residuals["Max"] == pytest.approx(scaled.max())


def test_a_dispersion_that_is_held(counts) -> None:
    held = counts.update(dispersion="fixed")
    assert (held.sigma, held.df_model, held.dispersion) == (1.0, 6, {})
    assert "Residual" not in held.varcorr()["grp"].tolist()
    assert "Dispersion (phi): 1.000 (held at 1)" in str(held.summary())
    assert held.diagnostics["dispersion_is"] == "held at 1"


def test_families_with_a_dispersion_of_their_own() -> None:
    gamma = fit(
        "Reaction ~ Days + (Days | Subject)",
        load_dataset("sleepstudy"),
        family="gamma(link='log')",
        method="pql",
    )
    assert gamma.dispersion == {"sigma": pytest.approx(gamma.estimate.sigma)}
    assert gamma.diagnostics["dispersion_is"] == "the family's"
    assert "phi" not in str(gamma.summary())


def test_diagnostics_of_the_search_and_of_the_approximation(verbal, counts) -> None:
    found = verbal.diagnostics
    assert found["traces"] == "exact"
    assert found["outer_iterations"] == found["evaluations"]
    assert found["sweeps"] == found["iterations"]
    assert found["relative_change"] <= found["tolerance"]
    assert found["dispersion"] == verbal.dispersion["phi"]
    assert set(found["variance_gap"]) == {"id.(Intercept)", "item.(Intercept)"}
    diagonal = verbal.update(traces="diagonal")
    ratio = diagonal.varcorr()["sdcor"] / verbal.varcorr()["sdcor"] - 1.0
    np.testing.assert_allclose(list(found["variance_gap"].values()), ratio[:2], atol=1e-6)
    assert "puts the standard deviations -0.83% to -0.16% off these" in str(verbal.summary()).replace(
        "\n  ", " "
    )
    assert diagonal.diagnostics["variance_gap"] is None
    assert "diagonal approximation" in str(diagonal.summary()).replace("\n  ", " ")
    assert "outer_iterations" not in counts.update(method="laplace").diagnostics


def test_a_saved_fit_knows_the_same(verbal, tmp_path: Path) -> None:
    verbal.save(tmp_path / "verbal.lmm")
    again = load(tmp_path / "verbal.lmm")
    assert str(again.summary()) == str(verbal.summary())
    assert again.diagnostics == verbal.diagnostics


def test_slopes_have_a_gap_for_each_standard_deviation() -> None:
    m = fit(
        "r2 ~ Anger + situ + (1 + situ | id) + (1 | item)",
        load_dataset("VerbAgg"),
        family="binomial",
        method="pql",
    )
    gaps = m.diagnostics["variance_gap"]
    assert list(gaps) == ["id.(Intercept)", "id.situself", "item.(Intercept)"]
    assert all(-0.02 < gap < 0.0 for gap in gaps.values())


# -- what follows from a fit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dispersion", ["free", "fixed"])
@pytest.mark.parametrize(
    ("formula", "data", "family"),
    [("r2 ~ Anger + situ + (1 | id) + (1 | item)", "VerbAgg", "binomial"), (EPIL, "epil", "poisson")],
)
def test_everything_works_or_refuses(formula: str, data: str, family: str, dispersion: str) -> None:
    table = load_dataset(data)
    m = fit(formula, table, family=family, method="pql", dispersion=dispersion)
    for kind in ("response", "pearson", "deviance", "working", "quantile"):
        assert np.isfinite(m.residuals(kind, seed=1)).all()
    interval = m.predict(table.iloc[:5], interval="confidence")
    assert np.all(interval["lower"] < interval["fit"])
    np.testing.assert_allclose(interval["fit"], m.fittedvalues.iloc[:5])
    assert np.all(m.ranef(condsd=True)["condsd"] > 0)
    assert m.conf_int().shape == (m.problem.p, 2)
    np.testing.assert_allclose(m.refit(m.problem.y).params, m.params, rtol=1e-6)
    marginal, conditional = m.r2().tolist()
    assert 0 < marginal < conditional < 1
    for call in (m.profile, lambda: m.conf_int(method="profile")):
        with pytest.raises(PlanError, match=r"quasi-likelihood has none.*bootstrap"):
            call()
    with pytest.raises(PlanError, match="no denominator degrees of freedom"):
        m.anova(ddf="kenward-roger")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LmmformulaWarning)
        draws = m.bootstrap(3, seed=1)
    assert ("sigma" in draws) == (dispersion == "free")
    assert draws.notna().all(axis=None)


def test_draws_have_no_free_dispersion_and_say_so(counts, verbal) -> None:
    message = (
        "dispersion of 2.04, which no poisson distribution has: draws have dispersion 1, so they vary less"
    )
    for call in (counts.simulate, lambda: counts.bootstrap(1, seed=1)):
        with pytest.warns(LmmformulaWarning, match=message):
            call()
    verbal.simulate(seed=1)  # 0.88: not worth a word


def test_r2_counts_the_dispersion(counts) -> None:
    """ln(1 + phi / lambda), lambda at the typical mean (Nakagawa, Johnson & Schielzeth 2017, table 1)."""
    phi, tau2 = counts.dispersion["phi"], counts.varcorr()["vcov"].iloc[0]
    eta = counts.problem.X.matrix @ counts.estimate.beta
    typical, fixed = np.exp(eta + 0.5 * tau2).mean(), np.var(eta, ddof=1)
    total = fixed + tau2 + np.log1p(phi / typical)
    assert counts.r2()["marginal"] == pytest.approx(fixed / total)
    assert counts.icc()["subject"] == pytest.approx(tau2 / (total - fixed))


def test_a_gaussian_fit_by_pql_has_z_tests() -> None:
    m = fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"), method="pql")
    text = str(m.summary())
    assert "Linear mixed model fitted by penalised quasi-likelihood" in text
    assert "Fixed effects (z tests)" in text
    assert "phi" not in text
    with pytest.raises(PlanError, match="or fit with method='ml'"):
        m.profile()
    with pytest.raises(PlanError, match="or fit with method='reml'"):
        m.anova(ddf="kenward-roger")


def test_the_comparison_is_refused_with_advice(verbal) -> None:
    assert np.isnan([verbal.aic, verbal.bic, verbal.deviance]).all()
    with pytest.raises(PlanError, match=r"AIC and BIC are nan\. Fit both models with method='laplace'"):
        anova(verbal, verbal)


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    a, b, x = rng.integers(0, 40, 2_000), rng.integers(0, 25, 2_000), rng.normal(size=2_000)
    eta = -0.5 + 0.3 * x + 0.8 * rng.normal(size=40)[a] + 0.4 * rng.normal(size=25)[b]
    y = (rng.random(2_000) < 1.0 / (1.0 + np.exp(-eta))).astype(float)
    return pd.DataFrame({"y": y, "x": x, "a": [f"a{i:02d}" for i in a], "b": [f"b{i:02d}" for i in b]})


CROSSED = "y ~ x + (1 | a) + (1 | b)"


def quick(formula: str, data: pd.DataFrame, **options: Any) -> Fit:
    return fit(formula, data, **{"family": "binomial", "method": "pql", "traces": "diagonal", **options})


def test_a_level_without_rows_is_dropped(small) -> None:
    unused = small.assign(a=pd.Categorical(small["a"], categories=[*sorted(small["a"].unique()), "none"]))
    m = quick(CROSSED, unused)
    assert m.ngroups == {"a": 40, "b": 25}
    np.testing.assert_allclose(m.params, quick(CROSSED, small).params, rtol=1e-8)


def test_rows_without_weight_are_refused(small) -> None:
    weights = np.where(small["a"] == "a07", 0.0, 1.0)
    with pytest.raises(DataError, match=f"zero in {int((weights == 0).sum())} rows: drop these rows"):
        quick(CROSSED, small, weights=weights)


def test_groups_that_are_all_alike(small) -> None:
    sure = small.assign(y=np.select([small["a"] == "a07", small["a"] == "a08"], [1.0, 0.0], small["y"]))
    m = quick(CROSSED, sure)
    assert m.converged
    modes = m.ranef().query("grpvar == 'a'").set_index("grp")["condval"]
    assert (modes.idxmax(), modes.idxmin()) == ("a07", "a08")
    assert np.abs(modes.to_numpy()).max() < 6.0


def test_a_predictor_that_separates(small) -> None:
    split = np.arange(2_000) % 3 == 0
    data = small.assign(s=np.where(split, "all", "some"), y=np.where(split, 1.0, small["y"]))
    with pytest.warns(SeparationWarning, match=r"no information on \(Intercept\), ssome"):
        m = quick("y ~ x + s + (1 | a) + (1 | b)", data)
    assert m.converged
    assert np.isfinite(m.bse["x"])
    assert np.isinf(m.bse["ssome"])
    assert m.pvalues.tolist()[2] == 1.0
    assert "Not determined by the data" in str(m.summary())
    with pytest.raises(PlanError, match="do not determine"):
        m.naivete()


def test_nested_factors_are_both_named(small) -> None:
    data = small.assign(h=small["a"].str[:2])
    with pytest.warns(
        LmmformulaWarning, match="every level of `a` lies within one level of `h`.*Exact traces are used"
    ):
        nested = quick("y ~ x + (1 | h) + (1 | a)", data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact = quick("y ~ x + (1 | h) + (1 | a)", data, traces="exact")
    np.testing.assert_allclose(nested.theta, exact.theta, rtol=1e-4)


def test_a_start_of_zeros(small) -> None:
    np.testing.assert_allclose(
        quick(CROSSED, small, start=[0, 0]).theta, quick(CROSSED, small).theta, rtol=1e-5
    )


def test_a_predictor_of_huge_scale(small) -> None:
    usual, huge = quick(CROSSED, small), quick(CROSSED, small.assign(x=1e6 * small["x"]))
    assert huge.converged
    assert 1e6 * huge.estimate.beta[1] == pytest.approx(usual.estimate.beta[1], rel=1e-6)
    np.testing.assert_allclose(huge.theta, usual.theta, rtol=1e-6)


def test_an_offset_that_contradicts_some_rows(small) -> None:
    offset = np.zeros(2_000)
    offset[::50] = 60.0
    with (
        pytest.warns(
            LmmformulaWarning, match=r"dispersion is estimated at .*Row \d+ of the data alone makes up"
        ),
        pytest.warns(SingularFitWarning),
    ):
        quick(CROSSED, small, offset=offset)


def test_one_row_per_level(small) -> None:
    rows = small.assign(r=np.arange(2_000).astype(str))
    with (
        pytest.warns(LmmformulaWarning, match="`r` has one row for each of its 2,000 levels.*held at 1"),
        pytest.warns(LmmformulaWarning, match="every level of `r` lies within one level of `a`"),
        pytest.warns(SingularFitWarning, match=r"\(1 \| r\)"),
    ):
        m = quick("y ~ x + (1 | r) + (1 | a)", rows)
    assert m.converged
    assert m.theta.tolist()[0] == 0.0


@pytest.mark.parametrize(
    ("family", "message"),
    [("binomial", "nothing but failures"), ("poisson", "0 in all 2,000 rows"), ("gaussian", "constant")],
)
def test_a_response_of_zeros(small, family: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        quick(CROSSED, small.assign(y=0.0), family=family)


# -- command line --------------------------------------------------------------------------------------------------


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["fit", EPIL, "--data", "epil", "--family", "poisson", "--method", "pql"]
    assert main(command) == 0
    out = capsys.readouterr()
    assert "fitted by penalised quasi-likelihood" in out.out
    assert "Dispersion (phi): 2.040 (estimated)" in out.out
    assert out.err == ""
    assert main([*command, "--traces", "diagonal", "--dispersion", "fixed", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["sigma"], record["aic"], record["diagnostics"]["traces"]) == (1.0, None, "diagonal")
    assert main([*command, "--max-outer", "2"]) == 3  # fitted, not converged
    assert "stopped at the limit of outer iterations (4 outer" in capsys.readouterr().err
    assert main([*command[:-1], "laplace", "--traces", "exact"]) == 1
    assert "'traces' is an option of method='pql' only" in capsys.readouterr().err
