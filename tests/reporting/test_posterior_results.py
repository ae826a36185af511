"""What a posterior offers: tables, predictions, draws for ArviZ, and what it refuses."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lmmformula import ConvergenceWarning, DataError, Fit, PlanError, anova, fit, load_dataset

SLEEP = "Reaction ~ Days + (Days | Subject)"
HMC: dict[str, Any] = {"method": "hmc", "sampler": "importance", "seed": 1}
NAMES = [
    "(Intercept)",
    "Days",
    "sd:Subject:Intercept",
    "sd:Subject:Days",
    "cor:Subject:Intercept:Days",
    "sigma",
]


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return load_dataset("sleepstudy")


@pytest.fixture(scope="module")
def m(data: pd.DataFrame) -> Fit:
    return fit(SLEEP, data, **HMC)


@pytest.fixture(scope="module")
def lognormal(data: pd.DataFrame) -> Fit:
    return fit(SLEEP, data, family="lognormal", draws=500, **HMC)


def flat(fitted: Fit, name: str) -> np.ndarray:
    assert fitted.posterior is not None
    return fitted.posterior[name].reshape(-1)


# -- tables -----------------------------------------------------------------------------------------------------------


def test_summary_as_text(m: Fit) -> None:
    text = str(m.summary())
    lines = text.splitlines()
    assert lines[0] == "Linear mixed model, posterior by importance sampling"
    header = "Estimate Est.Error l-95% CI u-95% CI  Rhat Bulk_ESS Tail_ESS"
    assert sum(header in line for line in lines) == 3
    assert "Random effects, Subject (18 levels):" in lines
    starts = [line.split()[0] for line in lines if line.startswith(" ") and line.strip()]
    for name in ("sd(Intercept)", "sd(Days)", "cor(Intercept,Days)", "(Intercept)", "Days", "sigma"):
        assert name in starts
    row = next(line for line in lines if line.startswith(" Days")).split()
    assert float(row[1]) == pytest.approx(m.params["Days"], abs=0.006)
    assert float(row[3]) == pytest.approx(m.conf_int().loc["Days"].iloc[0], abs=0.006)
    assert "Pareto k" in text
    assert "seed 1" in text
    assert "p-value" not in text
    assert max(map(len, lines)) <= 100


def test_summary_as_html(m: Fit) -> None:
    html = m.summary()._repr_html_()
    assert "Random effects, Subject (18 levels)" in html
    assert html.count("<table") == 4
    assert "Bulk_ESS" in html


def test_coefficients(m: Fit) -> None:
    """Means and standard deviations without sampling error, near those of the draws; no tests."""
    assert m.posterior is not None
    draws = m.posterior.beta.reshape(-1, 2)
    error = draws.std(axis=0) / np.sqrt(len(draws))
    assert np.abs(m.params - draws.mean(axis=0)).to_numpy() == pytest.approx(0.0, abs=4 * error.max())
    np.testing.assert_allclose(m.bse, draws.std(axis=0), rtol=0.05)
    np.testing.assert_allclose(np.sqrt(np.diagonal(m.cov_params())), m.bse)
    for missing in (m.pvalues, m.tvalues, m.df):
        assert missing.isna().all()
    interval = m.conf_int(level=0.5)
    assert list(interval.columns) == ["25 %", "75 %"]
    np.testing.assert_allclose(interval.iloc[:, 0], np.quantile(draws, 0.25, axis=0))
    with pytest.raises(DataError, match=r"'sd:Subjekt'.*sd:Subject:Days"):
        m.conf_int(parameters=["sd:Subjekt"])


def test_tidy(m: Fit) -> None:
    table: Any = m.tidy(conf_int=True)
    assert list(table.columns) == [
        "effect", "group", "term", "estimate", "std_error", "conf_low", "conf_high", "rhat", "ess_bulk", "ess_tail",
    ]  # fmt: skip
    assert table["term"].tolist() == [
        "(Intercept)", "Days", "sd__(Intercept)", "sd__Days", "cor__(Intercept).Days", "sd__Observation",
    ]  # fmt: skip
    for row, name in zip(table.to_dict("records"), NAMES, strict=True):
        draws = flat(m, name)
        assert row["estimate"] == pytest.approx(draws.mean(), rel=0.1, abs=0.02)
        assert row["conf_low"] == pytest.approx(np.quantile(draws, 0.025))
        assert row["ess_bulk"] > 400
    assert (table["conf_low"] < table["estimate"]).all()
    modes: Any = m.tidy("ran_vals", conf_int=True)
    assert len(modes) == 36
    assert ((modes["conf_low"] < modes["estimate"]) & (modes["estimate"] < modes["conf_high"])).all()
    assert len(m.tidy("fixed")) == 2
    assert len(m.tidy("ran_pars")) == 4


def test_glance_and_diagnostics(m: Fit) -> None:
    row = m.glance().iloc[0]
    assert row["nobs"] == 180
    assert row["npar"] == 6
    assert row["sampler"] == "importance"
    assert row["rhat"] < 1.01
    assert row["converged"]
    assert np.isnan(m.aic)
    assert np.isnan(m.bic)
    told = m.diagnostics
    assert list(told["rhat"]) == NAMES
    assert told["chains"] * told["draws"] == 4_000
    assert told["seed"] == 1
    assert told["advice"] == ()
    assert np.isfinite(told["log_evidence"])


def test_random_effects(m: Fit) -> None:
    assert m.posterior is not None
    assert m.posterior.effects is not None
    table = m.ranef(condsd=True)
    draws = m.posterior.effects[0].reshape(-1, 18, 2)
    np.testing.assert_allclose(table["condval"], draws.mean(axis=0).T.ravel(), atol=5 * 15 / np.sqrt(4_000))
    np.testing.assert_allclose(table["condsd"], draws.std(axis=0).T.ravel(), rtol=0.06)
    np.testing.assert_allclose(
        m.coef()["Subject"].to_numpy(), m.params.to_numpy() + m.posterior.effect_means[0]
    )
    spreads = m.varcorr()
    assert spreads["sdcor"].tolist() == pytest.approx([flat(m, n).mean() for n in NAMES[2:]])
    variances = [np.mean(flat(m, NAMES[i]) ** 2) for i in (2, 3, 5)]
    assert spreads["vcov"].iloc[[0, 1, 3]].tolist() == pytest.approx(variances)


# -- predictions ------------------------------------------------------------------------------------------------------


def test_predictions_of_known_subjects(m: Fit, data: pd.DataFrame) -> None:
    assert m.posterior is not None
    assert m.posterior.effects is not None
    new = data.iloc[[3, 100]]
    found: Any = m.predict(new, interval="confidence", se=True, level=0.9)
    subjects = [list(m.problem.terms[0].levels).index(s) for s in new["Subject"].astype(str)]
    beta, b = m.posterior.beta.reshape(-1, 2), m.posterior.effects[0].reshape(-1, 18, 2)
    for r, (days, s) in enumerate(zip(new["Days"], subjects, strict=True)):
        eta = beta[:, 0] + b[:, s, 0] + (beta[:, 1] + b[:, s, 1]) * days
        assert found["lower"].iloc[r] == pytest.approx(np.quantile(eta, 0.05))
        assert found["se"].iloc[r] == pytest.approx(eta.std(ddof=1))
        assert found["fit"].iloc[r] == pytest.approx(eta.mean(), abs=4 * eta.std() / np.sqrt(4_000))
    np.testing.assert_array_equal(found["fit"], m.predict(new))
    np.testing.assert_array_equal(m.predict(), m.fittedvalues)
    assert list(found.index) == list(new.index)
    wide = m.predict(new, interval="prediction", level=0.9, seed=1)
    sd = np.sqrt(found["se"] ** 2 + flat(m, "sigma").mean() ** 2)
    np.testing.assert_allclose(wide["upper"] - wide["lower"], 2 * 1.645 * sd, rtol=0.08)


def test_predictions_of_new_subjects(m: Fit) -> None:
    new = {"Days": [0.0, 9.0], "Subject": ["308", "new"]}
    with pytest.raises(DataError, match="'new'"):
        m.predict(new)
    zero: Any = m.predict(new, new_levels="population", interval="confidence", seed=1)
    drawn: Any = m.predict(new, new_levels="sample", interval="confidence", seed=1)
    assert zero["fit"].iloc[1] == pytest.approx(m.params["(Intercept)"] + 9 * m.params["Days"])
    assert drawn["fit"].iloc[1] == pytest.approx(zero["fit"].iloc[1], abs=5)
    np.testing.assert_array_equal(zero[["lower", "upper"]], drawn[["lower", "upper"]])
    other = fit(SLEEP, load_dataset("sleepstudy"))
    theirs: Any = other.predict(new, new_levels="population", interval="confidence")
    ours, reml = (f["upper"].iloc[1] - f["lower"].iloc[1] for f in (zero, theirs))
    assert 1.0 < ours / reml < 1.35
    gone: Any = m.predict(new, new_levels="na", interval="confidence")
    assert gone.iloc[1].isna().all()
    assert gone.iloc[0].notna().all()
    alone: Any = m.predict(new, re_form=None, interval="confidence")
    assert alone["upper"].iloc[1] - alone["lower"].iloc[1] < 0.6 * ours


def test_prediction_intervals_hold_new_observations() -> None:
    """95% intervals of new rows, of known and of unseen groups, over fits to simulated data."""
    rng = np.random.default_rng(7)
    inside: dict[str, list[np.ndarray]] = {"known": [], "unseen": []}
    for k in range(8):
        g, x = rng.integers(0, 12, 120), rng.normal(size=120)
        b = rng.normal(size=(20, 2)) * [1.0, 0.5]
        y = 1 + b[g, 0] + (0.5 + b[g, 1]) * x + rng.normal(size=120)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = fit(
                "y ~ x + (x | g)", {"y": y, "x": x, "g": g.astype(str)}, draws=250, **{**HMC, "seed": k}
            )
        for name, low, high in (("known", 0, 12), ("unseen", 12, 20)):
            h, z = rng.integers(low, high, 60), rng.normal(size=60)
            new = 1 + b[h, 0] + (0.5 + b[h, 1]) * z + rng.normal(size=60)
            found: Any = model.predict(
                {"x": z, "g": h.astype(str)}, interval="prediction", new_levels="sample", seed=k
            )
            inside[name].append((found["lower"] < new) & (new < found["upper"]))
    assert 0.92 < float(np.concatenate(inside["known"]).mean()) < 0.98
    assert 0.88 < float(np.concatenate(inside["unseen"]).mean()) < 0.995


def test_lognormal_predictions_are_means_of_the_response(lognormal: Fit, data: pd.DataFrame) -> None:
    assert lognormal.posterior is not None
    assert lognormal.posterior.effects is not None
    beta, b = lognormal.posterior.beta.reshape(-1, 2), lognormal.posterior.effects[0].reshape(-1, 18, 2)
    eta = beta[:, 0] + b[:, 0, 0] + (beta[:, 1] + b[:, 0, 1]) * 3.0
    mean = np.exp(eta + flat(lognormal, "sigma") ** 2 / 2)
    new = data.iloc[[3]]
    assert lognormal.predict(new).iloc[0] == pytest.approx(mean.mean())
    assert lognormal.fittedvalues.iloc[3] == pytest.approx(mean.mean())
    assert lognormal.predict(new, kind="link").iloc[0] == pytest.approx(eta.mean())
    found = lognormal.predict(new, interval="prediction", seed=1).iloc[0]
    spread = stats.lognorm(s=np.sqrt(eta.var() + lognormal.sigma**2), scale=np.exp(eta.mean()))
    assert found["lower"] == pytest.approx(spread.ppf(0.025), rel=0.03)
    assert found["upper"] == pytest.approx(spread.ppf(0.975), rel=0.03)
    assert lognormal.predict(new, kind="sigma").iloc[0] == pytest.approx(lognormal.sigma)
    with pytest.raises(DataError, match="kind='link'"):
        lognormal.predict(new, kind="link", interval="prediction")


def test_posterior_predictive_draws(m: Fit) -> None:
    drawn = m.simulate(2_000, seed=1)
    assert drawn.shape == (180, 2_000)
    assert list(drawn.index) == list(range(180))
    z = (drawn.mean(axis=1) - m.fittedvalues) / (drawn.std(axis=1) / np.sqrt(2_000))
    assert np.abs(z).max() < 5
    wide = m.predict(interval="prediction", seed=2)
    np.testing.assert_allclose(drawn.quantile(0.975, axis=1), wide["upper"], atol=12)
    assert (m.simulate(3, seed=4) == m.simulate(3, seed=4)).all(axis=None)


def test_log_likelihood_of_the_rows(m: Fit, lognormal: Fit) -> None:
    assert m.posterior is not None
    assert m.posterior.effects is not None
    found = m.log_likelihood()
    assert found.shape == (4, 1_000, 180)
    eta = m.posterior.beta[2, 7] @ m.problem.X.matrix.T + m.problem.terms[0].apply(
        m.posterior.effects[0][2, 7]
    )
    expected = stats.norm.logpdf(m.problem.y, eta, m.posterior["sigma"][2, 7])
    np.testing.assert_allclose(found[2, 7], expected)
    np.testing.assert_array_equal(m.log_likelihood([5, 9]), found[..., [5, 9]])
    np.testing.assert_array_equal(m.log_likelihood(slice(0, 3)), found[..., :3])
    with pytest.raises(DataError, match="from 0 to 179"):
        m.log_likelihood([180])
    p = lognormal.posterior
    assert p is not None
    assert p.effects is not None
    eta = p.beta[0, 3] @ m.problem.X.matrix.T + m.problem.terms[0].apply(p.effects[0][0, 3])
    expected = stats.lognorm.logpdf(m.problem.y, p["sigma"][0, 3], scale=np.exp(eta))
    np.testing.assert_allclose(lognormal.log_likelihood()[0, 3], expected)


def test_weights_and_offsets() -> None:
    rng = np.random.default_rng(2)
    n = 160
    g, w, o = rng.integers(0, 8, n), rng.uniform(0.5, 4, n), rng.normal(size=n)
    y = o + rng.normal(size=8)[g] + rng.normal(size=n) / np.sqrt(w)
    columns = {"y": y, "g": g.astype(str), "w": w, "o": o}
    m = fit("y ~ 1 + offset(o) + (1 | g)", columns, weights="w", draws=500, **HMC)
    assert m.posterior is not None
    assert m.posterior.effects is not None
    eta = o + m.posterior.beta[0, 0] + m.posterior.effects[0][0, 0][m.problem.terms[0].codes, 0]
    expected = stats.norm.logpdf(y, eta, m.posterior["sigma"][0, 0] / np.sqrt(w))
    np.testing.assert_allclose(m.log_likelihood()[0, 0], expected)
    ratio = m.simulate(1_500, seed=1).sub(m.fittedvalues, axis=0).var(axis=1) * w
    assert np.corrcoef(ratio, w)[0, 1] < 0.5
    assert ratio.mean() == pytest.approx(m.sigma**2, rel=0.12)


# -- ArviZ ------------------------------------------------------------------------------------------------------------


def test_datatree(m: Fit, data: pd.DataFrame) -> None:
    pytest.importorskip("arviz_base")
    tree = m.to_datatree(seed=1)
    assert set(tree.children) == {
        "posterior",
        "prior",
        "prior_predictive",
        "posterior_predictive",
        "log_likelihood",
        "observed_data",
        "constant_data",
    }
    draws, before = tree["posterior"], tree["prior"]
    assert set(before.data_vars) == set(draws.data_vars)
    assert {n: v.dims for n, v in before.items()} == {n: v.dims for n, v in draws.items()}
    assert float(before["beta"].sel(coefficient="Days").std()) > 5.0 * float(
        draws["beta"].sel(coefficient="Days").std()
    )
    assert draws["beta"].dims == ("chain", "draw", "coefficient")
    assert draws["r_Subject"].dims == ("chain", "draw", "Subject", "Subject_effect")
    assert draws["cor_Subject"].dims == ("chain", "draw", "Subject_pair")
    assert draws["beta"].sel(coefficient="Days").mean() == pytest.approx(flat(m, "Days").mean())
    assert draws["sd_Subject"].sel(Subject_effect="Days").mean() == pytest.approx(
        flat(m, "sd:Subject:Days").mean()
    )
    assert float(draws["r_Subject"].sel(Subject="309", Subject_effect="(Intercept)").mean()) < -20
    assert tree["observed_data"]["Reaction"].dims == ("row",)
    assert tree["posterior_predictive"]["Reaction"].shape == (4, 1_000, 180)
    assert tree["constant_data"]["level_Subject"].values.tolist() == data["Subject"].astype(str).tolist()
    assert tree.attrs["sampler"] == "importance"
    small = m.to_datatree(predictive=False, log_likelihood=False)
    assert set(small.children) == {"posterior", "observed_data", "constant_data"}


def test_loo(m: Fit) -> None:
    """A worse model has a lower expected log density; the better one is near its own pointwise deviance."""
    stats_of = pytest.importorskip("arviz_stats")
    smaller = m.update("Reaction ~ Days + (1 | Subject)", seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = stats_of.loo(m.to_datatree()), stats_of.loo(smaller.to_datatree())
    assert ours.n_data_points == 180
    assert -880 < ours.elpd < -845
    assert theirs.elpd < ours.elpd - 10
    assert 20 < ours.p < 45


def test_datatree_of_crossed_terms_and_chains() -> None:
    """Statistics of the chains; two terms on one factor; a factor named like a dimension."""
    pytest.importorskip("arviz_base")
    rng = np.random.default_rng(1)
    n = 150
    s, i, x = rng.integers(0, 8, n), rng.integers(0, 6, n), rng.normal(size=n)
    y = rng.normal(size=8)[s] + rng.normal(size=6)[i] + rng.normal(size=n)
    columns = {"y": y, "x": x, "s": s.astype(str), "row": i.astype(str)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        m = fit(
            "y ~ x + (1 | s) + (0 + x | s) + (1 | row)",
            columns,
            method="hmc",
            sampler="nuts",
            draws=50,
            chains=2,
            warmup=50,
            seed=1,
        )
    tree = m.to_datatree()
    assert {"diverging", "energy", "n_steps", "acceptance_rate", "step_size", "tree_depth"} <= set(
        tree["sample_stats"].data_vars
    )
    draws = tree["posterior"]
    assert {"r_s", "r_s.1", "sd_s", "sd_s.1", "r_row", "sd_row", "beta", "sigma"} == set(draws.data_vars)
    assert draws["r_row"].dims == ("chain", "draw", "row_", "row_effect")
    assert tree["log_likelihood"]["y"].dims == ("chain", "draw", "row")


def test_datatree_without_arviz(m: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "arviz_base", None)
    with pytest.raises(PlanError, match=r"lmmformula\[arviz\]"):
        m.to_datatree()


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda m: m.anova(), ("is a posterior", "loo", "method='reml'")),
        (lambda m: m.anova(ddf="kenward-roger"), ("is a posterior",)),
        (lambda m: anova(m, m), ("likelihood-ratio", "loo_compare")),
        (lambda m: m.profile(), ("profile", "conf_int(parameters='all')")),
        (lambda m: m.bootstrap(3), ("bootstrap", "m.posterior")),
        (lambda m: m.conf_int(method="wald"), ("method='wald'", "method='quantile'")),
        (lambda m: m.conf_int(method="profile"), ("method='profile'", "method='quantile'")),
        (lambda m: m.conf_int(method="bootstrap"), ("method='bootstrap'",)),
    ],
)
def test_what_needs_a_maximum_is_refused(m: Fit, call: Callable[[Fit], Any], parts: tuple[str, ...]) -> None:
    with pytest.raises(PlanError) as caught:
        call(m)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.to_datatree(),
        lambda m: m.log_likelihood(),
        lambda m: m.extend(),
        lambda m: m.conf_int(method="quantile"),
    ],
)
def test_what_needs_draws_is_refused_without(data: pd.DataFrame, call: Callable[[Fit], Any]) -> None:
    with pytest.raises(PlanError, match="REML does not have: fit with method='hmc'"):
        call(fit(SLEEP, data))


def test_what_else_a_posterior_answers(m: Fit) -> None:
    """At posterior means: R2, ICC, residuals, the comparison with a plain GLM, augment."""
    reml = fit(SLEEP, load_dataset("sleepstudy"))
    np.testing.assert_allclose(m.r2(), reml.r2(), atol=0.05)
    np.testing.assert_allclose(m.icc(), reml.icc(), atol=0.06)
    np.testing.assert_allclose(m.residuals(), m.problem.y - m.fittedvalues)
    np.testing.assert_allclose(m.augment()[".fitted"], m.fittedvalues)
    assert (m.naivete()["naivete"].to_numpy() > 1).all()
    assert float(m.llf) < reml.update(method="ml").llf
    assert m.llf == pytest.approx(reml.update(method="ml").llf, abs=2.5)
