"""Simulated responses, refits, and the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import Oracle

from lmmformula import DataError, fit, load_dataset


@pytest.fixture(scope="module")
def sleep():
    return fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))


def test_simulations_have_the_fitted_mean_and_variance(sleep) -> None:
    draws = sleep.simulate(3_000, seed=1).to_numpy()
    oracle = Oracle(sleep.problem, sleep.estimate.theta, reml=True)
    mean = sleep.problem.X.matrix @ sleep.estimate.beta
    variance = sleep.sigma**2 * np.diag(oracle.v)
    error = (draws.mean(axis=1) - mean) / np.sqrt(variance / draws.shape[1])
    assert np.abs(error).max() < 5
    np.testing.assert_allclose(draws.var(axis=1), variance, rtol=0.2)


def test_seeds(sleep) -> None:
    assert sleep.simulate(2, seed=3).equals(sleep.simulate(2, seed=3))
    assert not sleep.simulate(1, seed=3).equals(sleep.simulate(1, seed=4))
    with pytest.raises(DataError, match="n=0"):
        sleep.simulate(0)


def test_refit_is_the_fit_of_the_new_response(sleep) -> None:
    data = load_dataset("sleepstudy")
    y = sleep.simulate(1, seed=5)["sim_1"]
    again = fit("Reaction ~ Days + (Days | Subject)", data.assign(Reaction=y.to_numpy()))
    quick = sleep.refit(y)
    assert quick.deviance == pytest.approx(again.deviance, abs=1e-7)
    np.testing.assert_allclose(quick.params, again.params, rtol=1e-7)
    np.testing.assert_allclose(quick.fittedvalues, again.fittedvalues, rtol=1e-5)
    assert sleep.refit(data["Reaction"]).deviance == pytest.approx(sleep.deviance, abs=1e-8)


def test_refit_refuses_another_length_and_missing_values(sleep) -> None:
    with pytest.raises(DataError, match="has 3 values, the fit has 180 rows"):
        sleep.refit([1.0, 2.0, 3.0])
    with pytest.raises(DataError, match="1 of 180 values"):
        sleep.refit(np.r_[np.nan, np.zeros(179)])


def test_refit_leaves_a_boundary() -> None:
    """From a variance of zero the search must be able to find a positive one."""
    data = load_dataset("Dyestuff2")
    m = fit("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff"))
    with pytest.warns(match="singular"):
        at_zero = fit("Yield ~ 1 + (1 | Batch)", data)
    moved = at_zero.refit(m.problem.y)
    assert moved.deviance == pytest.approx(m.deviance, abs=1e-6)


def test_bootstrap_spreads_like_the_standard_errors(sleep) -> None:
    draws = sleep.bootstrap(300, seed=11)
    assert draws.attrs["failed"] == 0
    np.testing.assert_allclose(draws[["(Intercept)", "Days"]].std(), sleep.bse, rtol=0.15)
    assert draws.equals(sleep.bootstrap(300, seed=11))
    interval = sleep.conf_int(method="bootstrap", n=200, seed=1)
    assert interval.loc["Days"].between(5, 16).all()
    assert "sigma" in interval.index


def test_update_and_save(sleep, tmp_path) -> None:
    from lmmformula import LmmformulaError, load

    smaller = sleep.update("Reaction ~ Days + (1 | Subject)", method="ml")
    assert smaller.deviance == pytest.approx(2 * 897.039321502613, abs=1e-6)
    sleep.save(tmp_path / "m.lmm")
    back = load(tmp_path / "m.lmm")
    assert back.deviance == sleep.deviance
    np.testing.assert_allclose(back.df, sleep.df, rtol=1e-6)
    np.testing.assert_allclose(
        back.predict({"Days": [3.0], "Subject": ["308"]}), sleep.predict({"Days": [3.0], "Subject": ["308"]})
    )
    np.testing.assert_allclose(back.ranef(condsd=True)["condsd"], sleep.ranef(condsd=True)["condsd"])
    with pytest.raises(DataError, match="does not carry its data"):
        back.update("Reaction ~ 1 + (1 | Subject)")
    (tmp_path / "x").write_bytes(b"nothing of ours")
    with pytest.raises(LmmformulaError, match="not a saved fit"):
        load(tmp_path / "x")
