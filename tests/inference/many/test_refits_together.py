"""Refits that move together against refits one by one: the same draws, the same estimates, also on the boundary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from lmmformula import Fit, fit, load_dataset
from lmmformula.inference.many.draws import drawn_responses, gaussian_responses
from lmmformula.inference.many.estimates import estimates
from lmmformula.inference.refitting import parameters, refit
from lmmformula.inference.simulate import draw

MODELS: dict[str, Callable[[], Fit]] = {
    "slopes": lambda: fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")),
    "ML": lambda: fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"), method="ml"),
    "uncorrelated": lambda: fit("Reaction ~ Days + (Days || Subject)", load_dataset("sleepstudy")),
    "crossed": lambda: fit("diameter ~ 1 + (1 | plate) + (1 | sample)", load_dataset("Penicillin")),
    "nested": lambda: fit("strength ~ 1 + (1 | batch / cask)", load_dataset("Pastes")),
    "near the boundary": lambda: fit("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff2")),
    "no random effects": lambda: fit("Reaction ~ Days", load_dataset("sleepstudy")),
}


@cache
def model(name: str) -> Fit:
    return MODELS[name]()


def sharp(m: Fit) -> Fit:
    """The fit with searches that go as far as rounding lets them."""
    return replace(m, backend=replace(m.backend, tolerance=1e-14))


@pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")
@pytest.mark.parametrize("name", MODELS)
def test_estimates_are_those_of_single_refits(name: str) -> None:
    m = model(name)
    y = next(drawn_responses(m, 12, np.random.default_rng(4)))
    found = estimates(m, y)
    assert found.together
    assert found.converged.all()
    for j, response in enumerate(y.T):
        one = refit(m, response)
        assert found.llf[j] >= one.llf - 1e-10 * abs(one.llf)
        assert found.llf[j] == pytest.approx(one.llf, rel=1e-10)
        np.testing.assert_allclose(found.beta[j], one.params, rtol=1e-6)
        np.testing.assert_allclose(found.errors[j], one.bse, rtol=2e-6)
        np.testing.assert_allclose(found.degrees[j], one.df, rtol=1e-4)
        assert found.sigma[j] == pytest.approx(one.sigma, rel=1e-6)
        own = parameters(one)
        for key, values in found.parameters.items():
            if key.startswith("sd_"):
                assert values[j] == pytest.approx(own[key], rel=1e-6, abs=1e-9 * one.sigma)
        assert bool(found.singular[j]) == one.is_singular


def test_some_are_singular() -> None:
    m = model("near the boundary")
    found = estimates(m, next(drawn_responses(m, 200, np.random.default_rng(1))))
    at_zero = found.parameters["sd_(Intercept)|Batch"] == 0.0
    assert 0.3 < at_zero.mean() < 0.9
    assert (found.singular >= at_zero).all()


@pytest.mark.parametrize("name", ["slopes", "crossed", "no random effects"])
def test_draws_are_those_one_by_one(name: str) -> None:
    m = model(name)
    one = np.random.default_rng(3)
    single = np.stack([draw(m, one) for _ in range(5)], axis=1)
    together = gaussian_responses(m, 5, np.random.default_rng(3))
    np.testing.assert_allclose(together, single, rtol=1e-13)


@pytest.mark.parametrize("name", ["slopes", "crossed"])
def test_bootstrap_has_the_numbers_of_refits_one_by_one(name: str) -> None:
    m = sharp(model(name))
    together, single = m.bootstrap(20, seed=8), m.bootstrap(20, seed=8, statistic=parameters)
    assert list(together.columns) == list(single.columns)
    assert together.attrs == single.attrs == {"failed": 0, "estimate": parameters(m)}
    for column in together:
        scale = float(np.std(together[column]))
        np.testing.assert_allclose(together[column], single[column], atol=2e-5 * scale, rtol=1e-6)


def test_weights_offset_and_units() -> None:
    data = load_dataset("sleepstudy").assign(w=lambda d: 1.0 + d["Days"] % 3, o=lambda d: 10.0 * d["Days"])
    m = fit("Reaction ~ Days + (Days | Subject)", data, weights="w", offset="o")
    y = next(drawn_responses(m, 4, np.random.default_rng(2)))
    plain = estimates(m, y)
    one = refit(sharp(m), y[:, 2])
    np.testing.assert_allclose(plain.beta[2], one.params, rtol=1e-7)
    assert plain.llf[2] == pytest.approx(one.llf, rel=1e-11)
    unit = m.problem.offset
    assert unit is not None
    shifted = estimates(m, (y - unit[:, None]) * 1e6 + unit[:, None])
    np.testing.assert_allclose(shifted.beta, plain.beta * 1e6, rtol=1e-8)
    np.testing.assert_allclose(shifted.degrees, plain.degrees, rtol=1e-6)


def test_what_cannot_move_together_is_fitted_one_by_one() -> None:
    m = fit("Reaction ~ Days + cs(1 + Days | Subject)", load_dataset("sleepstudy"))
    y = next(drawn_responses(m, 2, np.random.default_rng(2)))
    found = estimates(m, y)
    assert not found.together
    np.testing.assert_allclose(found.beta[1], refit(m, y[:, 1]).params)
