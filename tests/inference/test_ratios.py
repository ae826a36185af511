"""Heritability and other functions of variance components."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lmmformula import fit, load_dataset
from lmmformula.errors import DataError, PlanError

SHARE = "Batch / (Batch + Residual)"


def test_balanced_one_way_layout_by_its_closed_form() -> None:
    """REML of a balanced layout is analysis of variance: msb ~ (5 s_b + s_e) chi2_5 / 5, mse ~ s_e chi2_24 / 24."""
    m = fit("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff"))
    found = m.ratio(SHARE)
    b, e = m.varcorr()["vcov"]
    assert found.estimate == pytest.approx(b / (b + e))
    var = np.diag([2 * (5 * b + e) ** 2 / 5, 2 * e**2 / 24])
    back = np.array([[0.2, -0.2], [0.0, 1.0]])  # (msb, mse) -> (b, e)
    slope = np.array([e, -b]) / (b + e) ** 2
    assert found.se == pytest.approx(np.sqrt(slope @ back @ var @ back.T @ slope), rel=1e-4)
    assert found.components == pytest.approx({"Batch": b, "Residual": e})
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.estimate = 1.0  # pyright: ignore[reportAttributeAccessIssue]


def test_profile_of_a_share_is_that_of_theta() -> None:
    """A share of two variances is a function of theta alone, whose profile is one search in sigma."""
    m = fit("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff"))
    low, high = m.ratio(SHARE, method="profile").interval
    model, unit = m.optimum.model, m.optimum.deviance
    for r in (low, high):
        theta = np.array([np.sqrt(r / (1.0 - r))])
        assert model(theta).deviance - unit == pytest.approx(3.841459, abs=1e-3)
    assert 0.0 < low < m.ratio(SHARE).estimate < high < 1.0


def test_units_slopes_and_correlations() -> None:
    data = load_dataset("sleepstudy")
    m = fit("Reaction ~ Days + (Days | Subject)", data)
    v = m.varcorr()["vcov"]
    cor = m.ratio("Subject:(Intercept).Days / sqrt(Subject:(Intercept) * Subject:Days)")
    assert cor.estimate == pytest.approx(m.varcorr()["sdcor"][2])
    assert cor.se == pytest.approx(m.varcorr(se=True)["se"][2], rel=1e-3)
    other = fit("Reaction ~ Days + (Days | Subject)", data.assign(Reaction=data["Reaction"] * 1e4))
    text = "Subject:(Intercept) / (Subject:(Intercept) + Residual)"
    assert other.ratio(text).se == pytest.approx(m.ratio(text).se, rel=1e-5)
    assert m.ratio("Residual").estimate == pytest.approx(v[3])


def test_generalised_models_by_the_delta_method() -> None:
    m = fit("incidence | trials(size) ~ period + (1 | herd)", load_dataset("cbpp"), family="binomial")
    found = m.ratio("herd / (herd + 3.141592653589793^2 / 3)")
    sd, error = m.varcorr(se=True).loc[0, ["sdcor", "se"]].astype(float)
    c = np.pi**2 / 3
    assert found.se == pytest.approx(2 * sd * c / (sd**2 + c) ** 2 * error, rel=1e-4)
    with pytest.raises(PlanError, match="delta"):
        m.ratio("herd", method="profile")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Batch / (Batch + residual)", "`residual` is no variance component. The fit has Batch:"),
        ("1 / 2", "names no variance component"),
        ("Batch +", "no arithmetic"),
        ("Batch(2)", "no arithmetic|no variance component"),
        ("Batch if Residual else 1", "no arithmetic"),
        ("log(Batch - Batch)", "at the estimates"),
    ],
)
def test_what_is_no_expression_is_refused(text: str, message: str) -> None:
    m = fit("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff"))
    with pytest.raises(DataError, match=message):
        m.ratio(text)


@pytest.mark.filterwarnings("ignore::lmmformula.errors.ConvergenceWarning")  # so few draws
def test_of_a_posterior_by_its_draws() -> None:
    """The expression of each draw's components; what a likelihood has is refused by name, and the other way round."""
    formula, data = "Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")
    m = fit(formula, data, method="hmc", sampler="importance", draws=200, chains=2, seed=1)
    assert m.posterior is not None
    variances = [m.posterior[name].ravel() ** 2 for name in ("sd:Subject:Days", "sigma")]
    share = variances[0] / (variances[0] + variances[1])
    found = m.ratio("Subject:Days / (Subject:Days + Residual)", level=0.9)
    assert found.method == "draws"
    assert found.estimate == pytest.approx(share.mean())
    assert found.se == pytest.approx(share.std(ddof=1))
    assert found.interval == pytest.approx(np.quantile(share, [0.05, 0.95]))
    assert found.components == pytest.approx(
        {"Subject:Days": variances[0].mean(), "Residual": variances[1].mean()}
    )
    assert "(SD " in str(found)
    cor = m.ratio("Subject:(Intercept).Days / sqrt(Subject:(Intercept) * Subject:Days)", method="draws")
    assert cor.estimate == pytest.approx(m.posterior["cor:Subject:Intercept:Days"].mean())
    with pytest.raises(PlanError, match="method='draws'"):
        m.ratio("Residual", method="profile")
    with pytest.raises(DataError, match="in 400 of 400 draws"):
        m.ratio("log(Residual - Residual - 1)")
    with pytest.raises(PlanError, match="delta"):
        fit("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff")).ratio("Batch", method="draws")
