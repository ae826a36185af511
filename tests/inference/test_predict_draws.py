"""Predictions from draws: weights of rows, and random effects in a parameter beside the mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, build, fit
from lmmformula.inference.kinds import inference_of
from lmmformula.inference.predict import predict

CHAINS, DRAWS, GROUPS = 2, 400, 6


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(GROUPS), 12)
    x, w = rng.normal(size=len(g)), np.resize([0.25, 4.0], len(g))
    y = 1 + x + rng.normal(size=GROUPS)[g] + rng.normal(size=len(g)) / np.sqrt(w)
    return pd.DataFrame({"g": g, "x": x, "w": w, "y": y})


def test_weights_of_rows_in_posterior_predictive_intervals(data) -> None:
    m: Any = fit(
        "y ~ x + (1 | g)", data, weights="w", method="hmc", sampler="importance", seed=1, draws=1_000
    )
    asked = {"interval": "prediction", "level": 0.6827, "se": True, "seed": 1}
    for table in (m.predict(**asked), m.predict(data, **asked)):
        variance = ((table["upper"] - table["lower"]) / 2) ** 2 - table["se"] ** 2
        np.testing.assert_allclose(
            variance.groupby(data["w"]).mean(), m.sigma**2 / np.array([0.25, 4.0]), rtol=0.15
        )


@dataclass
class Draws:
    """Draws by name, as a posterior has them, for a model whose sigma has a random intercept."""

    names: tuple[str, ...]
    values: dict[str, np.ndarray]
    beta: np.ndarray
    effects: tuple[np.ndarray, ...]
    aux: tuple[np.ndarray, ...]
    aux_effects: tuple[Any, ...]
    chains: int = CHAINS
    draws: int = DRAWS
    beta_names: tuple[str, ...] = field(default=("(Intercept)", "x"))

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]


@pytest.fixture(scope="module")
def spread(data):
    """A posterior made by hand: everything known but for a little noise, sigma exp(-1) times 2^group."""
    problem = build("bf(y ~ x + (1 | g), sigma ~ 1 + (1 | g))", data)
    rng = np.random.default_rng(1)

    def noisy(*centre: float) -> np.ndarray:
        return np.array(centre) + 0.01 * rng.normal(size=(CHAINS, DRAWS, len(centre)))

    own = np.log(2.0) * np.arange(GROUPS)
    effects, aux_effects = noisy(*np.zeros(GROUPS))[..., None], noisy(*own)[..., None]
    ones = np.ones((CHAINS, DRAWS))
    names = {"sd:g:Intercept": 0.5 * ones, "sigma:sd:g:Intercept": 0.7 * ones}
    posterior = Draws(
        tuple(names),
        names,
        noisy(1.0, 2.0),
        (effects,),
        (noisy(-1.0),),
        (SimpleNamespace(draws=(aux_effects,)),),
    )
    estimate = SimpleNamespace(
        beta=posterior.beta.mean((0, 1)),
        modes=(effects.mean((0, 1)),),
        aux=(posterior.aux[0].mean((0, 1)),),
        aux_modes=((aux_effects.mean((0, 1)),),),
        theta=np.array([0.5]),
        sigma=1.0,
    )
    found: Any = SimpleNamespace(problem=problem, posterior=posterior, estimate=estimate, sigma=1.0)
    found.inference = inference_of(found)
    return found


def test_sigma_of_known_groups(spread, data) -> None:
    expected = np.exp(-1.0) * 2.0 ** np.arange(GROUPS)
    table: Any
    for table in (predict(spread, kind="sigma", se=True), predict(spread, data, kind="sigma", se=True)):
        np.testing.assert_allclose(table["fit"].groupby(data["g"]).mean(), expected, rtol=0.01)
    table = predict(spread, data[::12], interval="prediction", level=0.6827, seed=1)
    np.testing.assert_allclose((table["upper"] - table["lower"]) / 2, expected, rtol=0.2)
    np.testing.assert_allclose(table["fit"], 1.0 + 2.0 * data["x"][::12], atol=0.02)


def test_sigma_of_unseen_groups(spread) -> None:
    """log sigma is N(-1, .7^2): the mean of sigma at the population is exp(-1), and its limits are those quantiles."""
    new = {"x": [0.0, 0.0], "g": ["a", "b"]}
    with pytest.raises(DataError, match="levels of g that the fit has not seen"):
        predict(spread, new, kind="sigma")
    absent: Any = predict(spread, new, kind="sigma", new_levels="na")
    assert absent.isna().all()
    got: Any = predict(spread, new, kind="sigma", new_levels="population", interval="confidence", seed=1)
    np.testing.assert_allclose(got["fit"], np.exp(-1.0), rtol=0.01)
    np.testing.assert_allclose(np.log(got["lower"]), -1 - 1.96 * 0.7, atol=0.15)
    np.testing.assert_allclose(np.log(got["upper"]), -1 + 1.96 * 0.7, atol=0.15)
    sampled: Any = predict(spread, new, kind="sigma", new_levels="sample", seed=1)
    np.testing.assert_allclose(sampled, np.exp(-1.0 + 0.7**2 / 2), rtol=0.1)
    wide: Any = predict(spread, new, new_levels="population", interval="prediction", seed=1)
    draws = 0.5 * np.random.default_rng(0).normal(size=200_000)
    sigma = np.exp(-1 + 0.7 * np.random.default_rng(1).normal(size=200_000))
    y = 1 + draws + sigma * np.random.default_rng(2).normal(size=200_000)
    np.testing.assert_allclose(wide["upper"], np.quantile(y, 0.975), atol=0.35)


def test_population_needs_no_group_in_any_predictor(spread) -> None:
    got: Any = predict(spread, {"x": [0.0]}, re_form=None, kind="sigma", se=True)
    np.testing.assert_allclose(got["fit"], np.exp(-1.0), rtol=0.01)
