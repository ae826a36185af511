"""Families defined in this file alone, by their log density over an array namespace, do what the package's own do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lmmformula import Fit, LmmformulaError, build, fit, load, plan
from lmmformula.errors import PlanError
from lmmformula.families import (
    FAMILIES,
    Auxiliary,
    Distribution,
    make_family,
    register_family,
    resolve,
    unregister_family,
)
from lmmformula.families.records import Array, Aux, Information, Maybe, MeanRange
from lmmformula.families.special import gammaln, softplus
from lmmformula.typing import Namespace


@dataclass(frozen=True, slots=True)
class Logistic(Distribution):
    """Logistic errors of scale s: l = -z - 2 log(1 + e^-z) - log s, z = (y - mu) / s; a = log s."""

    name: ClassVar[str] = "logistic"
    mean_range: ClassVar[MeanRange] = "real"
    links: ClassVar[tuple[str, ...]] = ("identity", "log")
    scales: ClassVar[bool] = True

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        return (Auxiliary("s", "scale: var = (pi s)^2 / 3", power=1.0),)

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        z = (y - c[0]) * xp.exp(-aux[0])
        return -z - 2.0 * softplus(-z, xp) - aux[0]

    def information(
        self, c: tuple[Array, ...], aux: Aux, w: Maybe, *, derivatives: bool
    ) -> tuple[Information, ...]:
        value = np.exp(-2.0 * aux[0]) / 3.0
        return (Information(value, 0.0, (-2.0 * value,)),)

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        return np.exp(2.0 * aux[0]) * np.pi**2 / 3.0 * np.ones(np.shape(mu))

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        return rng.logistic(mu, np.exp(aux[0]), np.shape(mu))

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        return stats.logistic.cdf((y - mu) * np.exp(-aux[0]))

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        return (float(np.log(np.std(y - mu) * np.sqrt(3.0) / np.pi)),)


@dataclass(frozen=True, slots=True)
class GeneralisedPoisson(Distribution):
    """Famoye's generalised Poisson of variance mu (1 + alpha mu)^2; a = log alpha. It gives no expected information."""

    name: ClassVar[str] = "famoye"
    mean_range: ClassVar[MeanRange] = "positive"
    links: ClassVar[tuple[str, ...]] = ("log",)
    discrete: ClassVar[bool] = True

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        return (Auxiliary("alpha", "overdispersion: var = mu (1 + alpha mu)^2"),)

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        alpha, mu = xp.exp(aux[0]), xp.exp(c[0])
        spread = xp.log1p(alpha * mu)
        rate = mu * (1.0 + alpha * y) * xp.exp(-spread)
        return y * (c[0] - spread) + (y - 1.0) * xp.log1p(alpha * y) - rate

    def constant(self, y: Array, w: Maybe) -> Array:
        return -gammaln(y + 1.0, np)

    def unit_variance(self, mu: Array, aux: Aux) -> Array:
        return mu * (1.0 + np.exp(aux[0]) * mu) ** 2

    def cdf(self, y: Array, mu: Array, aux: Aux, w: Maybe) -> Array:
        sums = np.cumsum(self._table(mu, aux), axis=1)
        k = np.clip(np.floor(y), -1, sums.shape[1] - 1).astype(int)
        return np.where(k < 0, 0.0, sums[np.arange(len(k)), np.maximum(k, 0)])

    def draw(self, rng: np.random.Generator, mu: Array, aux: Aux, w: Maybe) -> Array:
        sums = np.cumsum(self._table(mu, aux), axis=1)
        return (sums < rng.random(len(mu))[:, None]).sum(axis=1).astype(float)

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        return (-2.0,)

    def _table(self, mu: Array, aux: Aux) -> Array:
        k = np.arange(200.0)
        own = tuple(np.reshape(a, (-1, 1)) for a in aux)
        loglik = self.log_density(k, (np.log(mu)[:, None],), own, 1.0, np) + self.constant(k, 1.0)
        return np.exp(loglik)


TRUTH = {"logistic": np.log(0.4), "famoye": np.log(0.15)}
NAMES = tuple(TRUTH)


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    register_family(Logistic(), "sech_squared")
    register_family(GeneralisedPoisson())
    yield
    for name in NAMES:
        unregister_family(name)
    assert not [name for name in FAMILIES if "famoye" in name or name == "logistic"]


def table(name: str) -> pd.DataFrame:
    rng = np.random.default_rng(20)
    group, x = np.repeat(np.arange(24), 10), rng.normal(size=240)
    eta = 0.6 + 0.5 * x + rng.normal(0.0, 0.6, 24)[group]
    y = resolve(name).simulate(rng, eta, (TRUTH[name],))
    return pd.DataFrame({"y": y, "x": x, "g": [f"g{i:02d}" for i in group]})


FORMULA = "y ~ x + (1 | g)"


@pytest.fixture(scope="module")
def fits(registered: None) -> dict[str, Fit]:
    return {name: fit(FORMULA, table(name), family=name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_laplace_finds_the_truth(name: str, fits: dict[str, Fit]) -> None:
    found = fits[name]
    assert found.converged
    errors = np.asarray(found.params) - [0.6, 0.5]
    assert (np.abs(errors) < 4.0 * np.asarray(found.bse)).all()
    (value,) = found.dispersion.values()
    assert value == pytest.approx(np.exp(TRUTH[name]), rel=0.5)
    assert found.varcorr()["sdcor"].iloc[0] == pytest.approx(0.6, rel=0.5)


@pytest.mark.parametrize("name", NAMES)
def test_quadrature_agrees_with_an_integral(name: str, fits: dict[str, Fit]) -> None:
    """Five nodes against a fine grid over each level's effect, at the estimates."""
    found = fit(FORMULA, table(name), family=name, nagq=5)
    family, data = found.problem.family, table(name)
    (value,) = found.dispersion.values()
    sd = found.varcorr()["sdcor"].iloc[0]
    grid = np.linspace(-8.0, 8.0, 801)
    fixed = np.asarray(found.params)[0] + np.asarray(found.params)[1] * data["x"].to_numpy()
    total = 0.0
    for _, rows in data.groupby("g").indices.items():
        eta = fixed[rows][:, None] + sd * grid
        y = np.broadcast_to(data["y"].to_numpy()[rows][:, None], eta.shape)
        log_p = family.rows(y.ravel(), eta.ravel(), (np.log(value),), derivatives=False).loglik
        log_p = log_p.reshape(eta.shape).sum(axis=0) + stats.norm.logpdf(grid)
        total += np.log(np.trapezoid(np.exp(log_p - log_p.max()), grid)) + log_p.max()
    assert found.llf == pytest.approx(total, abs=2e-3)
    assert abs(found.llf - fits[name].llf) < 0.5


def test_quasi_likelihood_needs_an_information(fits: dict[str, Fit]) -> None:
    found = fit(FORMULA, table("logistic"), family="logistic", method="pql")
    np.testing.assert_allclose(found.params, fits["logistic"].params, atol=0.1)
    with pytest.raises(PlanError, match=r"family 'famoye' gives no expected information"):
        fit(FORMULA, table("famoye"), family="famoye", method="pql")


def test_posterior(fits: dict[str, Fit]) -> None:
    name = "famoye"
    found = fit(FORMULA, table(name), family=name, method="hmc", draws=500, warmup=400, chains=2, seed=3)
    gap = np.abs(np.asarray(found.params) - np.asarray(fits[name].params))
    assert (gap < 0.6 * np.asarray(fits[name].bse)).all()
    assert next(iter(fits[name].dispersion)) in str(found.summary())


@pytest.mark.parametrize("name", NAMES)
def test_plan_and_summary(name: str, fits: dict[str, Fit]) -> None:
    assert "laplace" in str(plan(FORMULA, table(name), family=name)).lower()
    text = str(fits[name].summary())
    assert name in text
    assert next(iter(fits[name].dispersion)) in text


@pytest.mark.parametrize("name", NAMES)
def test_predictions_draws_and_residuals(name: str, fits: dict[str, Fit]) -> None:
    found = fits[name]
    new = pd.DataFrame({"x": [-1.0, 0.5], "g": ["g00", "g03"]})
    eta = np.asarray(found.predict(new, kind="link"))
    effects = found.ranef().set_index("grp")["condval"]
    expected = np.asarray(found.params) @ [[1.0, 1.0], new["x"]] + np.asarray(effects.loc[["g00", "g03"]])
    np.testing.assert_allclose(eta, expected, rtol=1e-10)
    mean = np.exp(eta) if name == "famoye" else eta
    np.testing.assert_allclose(found.predict(new, kind="response"), mean, rtol=1e-10)
    drawn = found.simulate(3, seed=1).to_numpy()
    assert drawn.shape == (240, 3)
    assert drawn.mean() == pytest.approx(table(name)["y"].mean(), rel=0.35)
    pearson = np.asarray(found.residuals("pearson"))
    assert 0.7 < pearson.std() < 1.3
    for kind in ("deviance", "quantile", "working", "response"):
        assert np.isfinite(np.asarray(found.residuals(kind))).all()


@pytest.mark.parametrize("name", NAMES)
def test_profile_brackets_the_estimate(name: str, fits: dict[str, Fit]) -> None:
    found = fits[name]
    own = found.conf_int(method="profile").loc["x"].to_numpy(float)
    half = 1.96 * np.asarray(found.bse)[list(found.bse.index).index("x")]
    np.testing.assert_allclose(own, [found.params["x"] - half, found.params["x"] + half], atol=0.25 * half)


@pytest.mark.parametrize("name", NAMES)
def test_update_and_files(name: str, fits: dict[str, Fit], tmp_path: Path) -> None:
    smaller = fits[name].update("~ 1 + (1 | g)")
    assert smaller.problem.family == fits[name].problem.family
    assert smaller.llf < fits[name].llf
    fits[name].save(tmp_path / "fit")
    back = load(tmp_path / "fit")
    assert back.llf == fits[name].llf
    assert back.problem.family == fits[name].problem.family
    np.testing.assert_array_equal(back.predict(), fits[name].predict())


def test_structural_zeros_come_with_a_family_of_counts() -> None:
    family = resolve("zero_inflated_famoye")
    y, eta = np.array([0.0, 0.0, 3.0]), np.array([0.2, 1.0, 0.4])
    aux = (np.log(0.2), -0.7)
    base = np.exp(resolve("famoye").rows(y, eta, aux[:1], derivatives=False).loglik)
    pi = 1.0 / (1.0 + np.exp(0.7))
    found = np.exp(family.rows(y, eta, aux, derivatives=False).loglik)
    np.testing.assert_allclose(found, (y == 0) * pi + (1 - pi) * base, rtol=1e-12)


def test_what_cannot_be_registered() -> None:
    with pytest.raises(PlanError, match="'logistic' exists already"):
        register_family(Logistic())
    with pytest.raises(PlanError, match="'polya' is not registered"):
        unregister_family("polya")

    class Other(Logistic):
        name = "other"
        links = ("logit",)

    with pytest.raises(PlanError, match="link 'logit' does not suit family 'other'"):
        register_family(Other())
    assert resolve("sech_squared").name == "logistic"
    with pytest.raises(LmmformulaError, match="has no argument 'df'"):
        resolve("logistic(df=3)")


# -- what the response says, and means of several columns -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counted(Logistic):
    """As many auxiliary parameters as the response has values; only how they are learned is of interest here."""

    values: int = 0

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        return tuple(Auxiliary(f"s{j}", "", role="shape") for j in range(self.values))

    def learn(self, y: Array, w: Maybe) -> Counted:
        return replace(self, values=len(np.unique(y)))


def test_the_response_says_how_many_parameters_there_are() -> None:
    data = table("logistic").assign(y=lambda d: np.rint(np.clip(d["y"], 0, 3)))
    problem = build(FORMULA, data, family=make_family(Counted()))
    assert [a.name for a in problem.family.auxiliaries] == ["s0", "s1", "s2", "s3"]
    assert [block.names for block in problem.aux] == [("(Intercept)",)] * 4


@dataclass(frozen=True, slots=True)
class Twofold(Logistic):
    mean_columns: ClassVar[int] = 2


@pytest.mark.parametrize("method", ["laplace", "pql", "hmc"])
def test_a_mean_of_two_columns_is_refused_by_name(method: str) -> None:
    with pytest.raises(PlanError, match="family 'logistic' has 2 linear predictors"):
        fit(FORMULA, table("logistic"), family=make_family(Twofold()), method=method)
