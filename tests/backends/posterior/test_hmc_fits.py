"""``fit(method="hmc")`` from formula to answer: plans, agreement with REML, going on, refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import (
    ConvergenceWarning,
    DataError,
    Fit,
    FitError,
    LmmformulaError,
    PlanError,
    fit,
    load,
    load_dataset,
    plan,
    prior_predictive,
)
from lmmformula.backends.posterior import effects as effects_module
from lmmformula.ir.estimate import Status

SLEEP = "Reaction ~ Days + (Days | Subject)"


def crossed(seed: int = 3, n: int = 400) -> dict[str, Any]:
    """Slopes by 25 subjects, crossed with 12 items."""
    rng = np.random.default_rng(seed)
    s, i, x = rng.integers(0, 25, n), rng.integers(0, 12, n), rng.normal(size=n)
    b = rng.multivariate_normal([0, 0], [[1.0, 0.3], [0.3, 0.5]], 25)
    y = 2 + 0.5 * x + b[s, 0] + b[s, 1] * x + 0.7 * rng.normal(size=12)[i] + 0.8 * rng.normal(size=n)
    return {"y": y, "x": x, "s": [f"s{v:02d}" for v in s], "i": [f"i{v:02d}" for v in i]}


@pytest.fixture(scope="module")
def sleepstudy() -> pd.DataFrame:
    return load_dataset("sleepstudy")


@pytest.fixture(scope="module")
def nuts(sleepstudy: pd.DataFrame) -> Fit:
    return fit(SLEEP, sleepstudy, method="hmc", sampler="nuts", draws=400, seed=2)


# -- agreement --------------------------------------------------------------------------------------------------------


def _agrees_with_reml(posterior: Fit, reml: Fit, effects: float) -> None:
    """Posterior means of coefficients and effects near REML's in units of standard errors; spreads somewhat larger."""
    assert np.abs((posterior.params - reml.params) / reml.bse).max() < 0.15
    ratio = posterior.bse / reml.bse
    assert ratio.min() > 0.95
    assert ratio.max() < 1.25
    ours, theirs = posterior.ranef(condsd=True), reml.ranef(condsd=True)
    assert (ours[["grpvar", "term", "grp"]] == theirs[["grpvar", "term", "grp"]]).to_numpy().all()
    assert np.abs((ours["condval"] - theirs["condval"]) / theirs["condsd"]).max() < effects
    wider = (
        ours["condsd"].to_numpy() / theirs["condsd"].to_numpy()
    )  # REML's: at known coefficients and variances
    assert wider.min() > 0.95
    assert wider.max() < 1.5
    own = posterior.varcorr()["var2"].isna().to_numpy()
    sds = (posterior.varcorr()["sdcor"].to_numpy() / reml.varcorr()["sdcor"].to_numpy())[own]
    assert sds.min() > 0.9
    assert sds.max() < 1.3


def test_sleepstudy_by_both_samplers(sleepstudy: pd.DataFrame, nuts: Fit) -> None:
    reml = fit(SLEEP, sleepstudy)
    quick = fit(SLEEP, sleepstudy, method="hmc", sampler="importance", seed=1)
    assert quick.converged
    assert nuts.converged
    _agrees_with_reml(quick, reml, 0.25)
    _agrees_with_reml(nuts, reml, 0.25)
    assert np.abs((nuts.params - quick.params) / quick.bse).max() < 0.12
    wide = quick.conf_int(parameters="all")
    assert list(wide.index) == ["(Intercept)", "Days", "sd:Subject:Intercept", "sd:Subject:Days",
                                "cor:Subject:Intercept:Days", "sigma"]  # fmt: skip
    assert (wide.iloc[:, 0] < nuts.conf_int(parameters="all").iloc[:, 1]).all()
    assert list(nuts.conf_int(parameters="sigma").index) == ["sigma"]


def test_crossed_factors() -> None:
    data = crossed()
    reml = fit("y ~ x + (x | s) + (1 | i)", data)
    posterior = fit("y ~ x + (x | s) + (1 | i)", data, method="hmc", sampler="importance", seed=2)
    _agrees_with_reml(posterior, reml, 0.3)
    assert posterior.plan.method == "hmc"
    assert posterior.diagnostics["pareto_k"] < 0.5


def test_lognormal_is_the_model_of_the_logarithm(sleepstudy: pd.DataFrame) -> None:
    """Same draws; coefficients are those of log y; the criterion at the means differs by the Jacobian."""
    options: dict[str, Any] = {"method": "hmc", "sampler": "importance", "seed": 1, "draws": 500}
    own = fit(SLEEP, sleepstudy, family="lognormal", **options)
    log = fit("log(Reaction) ~ Days + (Days | Subject)", sleepstudy, **options)
    np.testing.assert_allclose(own.params, log.params)
    np.testing.assert_allclose(own.posterior["sigma"], log.posterior["sigma"])  # type: ignore[index]
    assert own.llf == pytest.approx(log.llf - np.log(sleepstudy["Reaction"]).sum())
    assert own.sigma == pytest.approx(log.sigma)
    assert own.dispersion == {"sigma": pytest.approx(own.sigma)}
    np.testing.assert_allclose(own.varcorr()["sdcor"], log.varcorr()["sdcor"].iloc[:-1])
    laplace = fit(SLEEP, sleepstudy, family="lognormal")
    np.testing.assert_allclose(own.fittedvalues, laplace.fittedvalues, rtol=0.01)


def test_structured_covariances_report_every_column(sleepstudy: pd.DataFrame) -> None:
    data = sleepstudy.assign(late=np.where(sleepstudy["Days"] > 4, "yes", "no"))
    m = fit(
        "Reaction ~ Days + cs(0 + late | Subject)",
        data,
        method="hmc",
        sampler="importance",
        seed=1,
        draws=500,
    )
    table = m.varcorr()
    assert len(table) == 4
    assert table["sdcor"].iloc[2] == pytest.approx(m.posterior["cor:Subject"].mean())  # type: ignore[index]
    assert "cor(lateno,lateyes)" in str(m.summary())


# -- plans ------------------------------------------------------------------------------------------------------------


def test_the_plan_says_what_is_integrated_out_and_why(sleepstudy: pd.DataFrame) -> None:
    text = str(plan(SLEEP, sleepstudy, method="hmc"))
    assert "all 36 random effects and 2 fixed effects" in text
    assert "normal given the variances" in text
    assert "sampler: importance, which suits 4 dimensions: 4,000 independent draws" in " ".join(text.split())
    chains = " ".join(str(plan(SLEEP, sleepstudy, method="hmc", sampler="nuts")).split())
    assert "4 chains of 1,000 draws" in chains
    assert "sampler='auto' would take independent draws" in chains
    heavy = plan(SLEEP, sleepstudy, method="hmc", priors={"b": "cauchy(0, 10)"}, sampler="importance", seed=3)
    assert any("5 dimensions, 1 of them" in reason for reason in heavy.reasons)
    assert any("importance, as asked" in reason for reason in heavy.reasons)


def test_priors_are_shown(sleepstudy: pd.DataFrame) -> None:
    priors = {"b": "normal(0, 5)", "cor": "lkj(2)"}
    m = fit(SLEEP, sleepstudy, method="hmc", sampler="importance", draws=250, seed=1, priors=priors)
    told = str(m.priors).splitlines()
    assert any(line.split() == ["b:Days", "normal(0,", "5)", "user"] for line in told)
    assert any(line.startswith("cor:Subject") and "lkj(2)" in line for line in told)
    assert m.params.to_numpy()[1] < fit(SLEEP, sleepstudy).params.to_numpy()[1] - 0.3
    assert fit(SLEEP, sleepstudy).priors is None


def test_prior_predictive() -> None:
    data = load_dataset("Dyestuff")
    formula, priors = (
        "Yield ~ 1 + (1 | Batch)",
        {"Intercept": "normal(1500, 10)", "sd": "half_normal(50)", "sigma": "exponential(0.02)"},
    )
    drawn = prior_predictive(formula, data, priors, draws=4_000, seed=1)
    assert drawn.y.shape == (4_000, 30)
    assert drawn["sigma"].mean() == pytest.approx(50, rel=0.06)
    assert drawn["(Intercept)"].std() == pytest.approx(10, rel=0.05)
    assert drawn.y.var() == pytest.approx(100 + 50**2 + 2 * 50**2, rel=0.12)
    assert "exponential(0.02)" in str(drawn.priors)
    with pytest.raises(KeyError, match="sd:Batch"):
        drawn["tau"]
    with pytest.raises(PlanError, match="draws=0"):
        prior_predictive(formula, data, draws=0)


# -- sampling ---------------------------------------------------------------------------------------------------------


def test_extend_keeps_the_draws(nuts: Fit) -> None:
    more = nuts.extend(draws=150)
    assert more.posterior is not None
    assert nuts.posterior is not None
    assert more.posterior.draws == 550
    np.testing.assert_array_equal(more.posterior["sigma"][:, :400], nuts.posterior["sigma"])
    assert more.converged
    assert nuts.posterior.draws == 400


def test_a_saved_fit_goes_on_where_it_was(nuts: Fit, tmp_path: Path) -> None:
    nuts.save(tmp_path / "fit")
    again = load(tmp_path / "fit")
    assert str(again.summary()) == str(nuts.summary())
    assert again.posterior is not None
    np.testing.assert_array_equal(again.posterior.beta, nuts.posterior.beta)  # type: ignore[union-attr]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ours, theirs = nuts.extend(draws=20), again.extend(draws=20)
    np.testing.assert_array_equal(ours.posterior["sigma"], theirs.posterior["sigma"])  # type: ignore[index]


def test_a_seed_gives_the_same_draws(sleepstudy: pd.DataFrame) -> None:
    def once(seed: Any) -> np.ndarray:
        m = fit(SLEEP, sleepstudy, method="hmc", sampler="importance", draws=250, seed=seed)
        return m.params.to_numpy()

    assert (once(4) == once(4)).all()
    assert (once(np.random.default_rng(4)) == once(np.random.default_rng(4))).all()
    assert (once(4) != once(5)).any()


def test_too_few_draws_are_warned_of(sleepstudy: pd.DataFrame) -> None:
    with pytest.warns(ConvergenceWarning, match="effective sample size of .* take more draws"):
        m = fit(SLEEP, sleepstudy, method="hmc", sampler="importance", draws=40, chains=2, seed=1)
    assert not m.converged
    assert m.estimate.convergence.status is Status.NOT_MIXED
    assert "Advice: bulk effective sample size" in str(m.summary())
    assert m.diagnostics["advice"]


def test_an_interrupted_run_goes_on(sleepstudy: pd.DataFrame) -> None:
    seen: list[tuple[int, float, float]] = []

    def stop(*numbers: float) -> None:
        seen.append(numbers)  # type: ignore[arg-type]
        if len(seen) == 14:  # every chain is past its warm-up of 200 by then, or is cut to the shortest
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.warns(ConvergenceWarning, match=r"stopped after \d.* draws of each chain.*m.extend"):
        m = fit(SLEEP, sleepstudy, method="hmc", sampler="nuts", draws=500_000, seed=1, progress=stop)
    assert m.estimate.convergence.status is Status.INTERRUPTED
    assert m.posterior is not None
    before = m.posterior.draws
    assert 0 < before < 500_000
    more = m.extend(draws=400)
    assert more.posterior is not None
    assert more.posterior.draws == before + 400
    assert more.converged
    assert "-log density" in _lines(seen[0])


def _lines(numbers: tuple[int, float, float]) -> str:
    from lmmformula.progress import CHAINS

    return CHAINS.line(*numbers)


def test_independent_draws_go_on_with_further_ones(sleepstudy: pd.DataFrame) -> None:
    m = fit(SLEEP, sleepstudy, method="hmc", draws=250, seed=1)
    more = m.extend(200)
    first, both = m.posterior, more.posterior
    assert first is not None
    assert both is not None
    assert (first.sampler, both.sampler, both.draws) == ("importance", "importance", 450)
    np.testing.assert_array_equal(both.x[:, :250], first.x)
    assert len(np.unique(both.x[..., 0])) > 1.5 * len(np.unique(first.x[..., 0]))
    assert both.pareto_k >= first.pareto_k
    assert more.converged
    with pytest.raises(PlanError, match="method='hmc'"):
        fit(SLEEP, sleepstudy).extend()


def test_effects_that_were_not_kept(sleepstudy: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects_module, "KEPT_BYTES", 1.0)
    m = fit(SLEEP, sleepstudy, method="hmc", sampler="importance", draws=250, seed=1)
    assert m.posterior is not None
    assert m.posterior.effects is None
    assert (m.ranef(condsd=True)["condsd"].to_numpy() > 0).all()
    assert np.isfinite(m.predict(sleepstudy.head(3))).all()
    assert np.isfinite(m.predict(sleepstudy.head(3), re_form=None, interval="confidence")).all(axis=None)
    with pytest.raises(PlanError, match="36 random effects were not kept"):
        m.predict(sleepstudy.head(3), interval="confidence")


# -- other fits -------------------------------------------------------------------------------------------------------


def test_other_methods_of_the_same_model(sleepstudy: pd.DataFrame) -> None:
    options: dict[str, Any] = {"method": "hmc", "sampler": "importance", "draws": 250, "seed": 1}
    m = fit(SLEEP, sleepstudy, priors={"sigma": "exponential(0.1)"}, **options)
    reml = m.update(method="reml")
    assert reml.params.to_dict() == fit(SLEEP, sleepstudy).params.to_dict()
    smaller = m.update("Reaction ~ Days + (1 | Subject)", seed=1)
    assert smaller.posterior is not None
    assert smaller.posterior.sampler == "importance"
    assert "exponential(0.1)" in str(smaller.priors)
    shifted = fit(SLEEP, sleepstudy, **options).refit(sleepstudy["Reaction"] + 1_000.0)
    np.testing.assert_allclose(shifted.params - m.params, [1_000.0, 0.0], atol=3)


def test_nothing_heavy_is_imported_on_other_paths() -> None:
    code = (
        "import sys, json\n"
        "from lmmformula import fit, load_dataset\n"
        "d = load_dataset('sleepstudy')\n"
        f"fit({SLEEP!r}, d).predict(interval='confidence')\n"
        "few = [n for n in sys.modules if 'backends.posterior' in n or n in ('lmmformula.methods.posterior',)]\n"
        f"m = fit({SLEEP!r}, d, method='hmc', sampler='importance', draws=250, seed=1)\n"
        "str(m.summary()); m.predict(interval='confidence')\n"
        "print(json.dumps([few, sorted({n.split('.')[0] for n in sys.modules})]))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    few, loaded = json.loads(out)
    assert few == []
    assert not set(loaded) & {"jax", "numpyro", "arviz_base", "xarray"}


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"priors": {"b:Dayz": "normal(0, 1)"}}, ("'b:Dayz' is no parameter", "'b:Days'", "sd:Subject:Days")),
        ({"priors": {"sd": "flat()"}}, ("'flat()' is improper", "normal(mean, sd)")),
        ({"priors": {"sd": "normal(0)"}}, ("sd", "normal(0)")),
        ({"priors": "normal(0, 1)"}, ("priors=", "a mapping from parameters to text")),
        ({"sampler": "gibbs"}, ("sampler='gibbs'", "'nuts' or 'importance'")),
        ({"chains": 0}, ("chains=0", "at least 1")),
        ({"draws": 1.5}, ("draws=1.5", "whole number")),
        ({"warmup": 3}, ("warmup=3",)),
        ({"target_accept": 1.0}, ("target_accept=1.0",)),
        ({"engine": "dense"}, ("engine='dense'", "blocked")),
        ({"tolerance": 1e-3}, ("'tolerance' is no option of method='hmc'", "sampler, chains, draws")),
        ({"drawz": 5}, ("unknown option 'drawz'",)),
        ({"memory_limit": 1e4}, ("about", "available")),
    ],
)
def test_options_that_do_not_suit(
    sleepstudy: pd.DataFrame, arguments: dict[str, Any], parts: tuple[str, ...]
) -> None:
    with pytest.raises(PlanError) as caught:
        fit(SLEEP, sleepstudy, method="hmc", **arguments)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(("method", "word"), [("reml", "REML"), ("pql", "PQL"), ("krylov", "KRYLOV")])
def test_priors_and_sampling_belong_to_posteriors(sleepstudy: pd.DataFrame, method: str, word: str) -> None:
    with pytest.raises(PlanError, match=f"{word} has none.*method='hmc'"):
        fit(SLEEP, sleepstudy, method=method, priors={"b": "normal(0, 1)"})
    with pytest.raises(PlanError, match="'chains' is an option of method='hmc' only"):
        fit(SLEEP, sleepstudy, method=method, chains=2)


def test_data_that_do_not_suit(sleepstudy: pd.DataFrame) -> None:
    zeros = sleepstudy.assign(Reaction=sleepstudy["Reaction"].where(sleepstudy["Days"] > 0, 0.0))
    own = sleepstudy.assign(row=[f"r{i}" for i in range(len(sleepstudy))])
    for data, formula, family, parts in (
        (zeros, SLEEP, "lognormal", ("18",)),
        (own, "Reaction ~ Days + (1 | row)", "gaussian", ("180 levels", "residual variance")),
        (own, "Reaction ~ Days + (1 | row)", "lognormal", ("180 random effects", "residual variance")),
    ):
        with pytest.raises(DataError) as caught:
            fit(formula, data, method="hmc", family=family)
        for part in parts:
            assert part in str(caught.value)


class Nowhere:
    """A density that exists at its mode alone, of more dimensions than a pilot sample is tried in."""

    d, is_small, is_dense, is_dear = 60, False, True, False

    def looped(self) -> None:
        """Not as numbers."""

    def traced(self) -> None:
        """It has to be called back."""

    def value_and_gradient(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        return (0.0 if (x == 0).all() else -np.inf), np.zeros(self.d)


def test_chains_that_are_stuck_are_told_of() -> None:
    """Both ways to run chains say so instead of handing back one point as a posterior."""
    import jax.numpy as jnp

    from lmmformula.backends.posterior.density.joint import Whitened
    from lmmformula.backends.posterior.density.scale import JointScale, Scale
    from lmmformula.backends.posterior.sampling.chains import draw_chains
    from lmmformula.backends.posterior.sampling.joint import draw_joint
    from lmmformula.backends.posterior.sampling.request import ChainOptions, Request

    class Point(Whitened):
        """The same of two coordinates, in JAX."""

        begin, n_outer, whitenings = np.zeros(2), 2, ()

        def traced(self) -> Any:
            return lambda x: jnp.where((x == 0).all(), 0.0, -jnp.inf)

        def scale(self) -> JointScale:
            return JointScale(np.zeros(2), np.eye(2), np.zeros((0, 0)), np.ones(0))

    request = Request(ChainOptions(chains=2, draws=10, warmup=5, target_accept=0.8, max_depth=3), "nuts", 1)
    with pytest.raises(FitError, match=r"none of 2 chains moved in 10 draws.*rescale the column"):
        draw_joint(Point(), request)
    density: Any = Nowhere()
    with pytest.raises(FitError, match="none of 2 chains moved in 10 draws"):
        draw_chains(density, Scale(np.zeros(60), np.eye(60), 0.0, 1, True), request)


def test_fewer_rows_than_coefficients() -> None:
    """Columns that others determine are dropped with a warning; the rest has a posterior, however little it says."""
    rng = np.random.default_rng(1)
    data = {
        "y": rng.normal(size=8),
        "g": list("aabbccdd"),
        **{f"x{j}": rng.normal(size=8) for j in range(10)},
    }
    formula = f"y ~ {' + '.join(f'x{j}' for j in range(10))} + (1 | g)"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            m = fit(formula, data, method="hmc", sampler="importance", seed=1, draws=250)
        except LmmformulaError as error:
            assert "8" in str(error)  # noqa: PT017 - either way of telling is fine
            return
    assert any("dropped" in str(w.message).lower() for w in caught)
    assert m.problem.p < 8
