"""Likelihood ratios of responses that are fitted together against those of fits one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from lmmformula import Fit, fit, load_dataset
from lmmformula.inference.refitting import refit
from lmmformula.inference.selection.simulated_ratio import simulated_ratios
from lmmformula.inference.simulate import draw


def _gaussian(small: str) -> tuple[Fit, Fit]:
    data = load_dataset("sleepstudy")
    pair = fit("Reaction ~ Days + (Days | Subject)", data), fit(small, data)
    sharp = [replace(m, backend=replace(m.backend, tolerance=1e-13)) for m in pair]
    return sharp[0], sharp[1]


def _binomial(small: str) -> tuple[Fit, Fit]:
    data = load_dataset("cbpp")
    return fit("cbind(incidence, size - incidence) ~ period + (1 | herd)", data, family="binomial"), fit(
        f"cbind(incidence, size - incidence) ~ {small}", data, family="binomial"
    )


@pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")
@pytest.mark.parametrize(
    "pair",
    [
        lambda: _gaussian("Reaction ~ Days + (1 | Subject)"),
        lambda: _gaussian("Reaction ~ Days + (0 + Days | Subject)"),
        lambda: _binomial("1 + (1 | herd)"),
        lambda: _binomial("period"),
    ],
    ids=["columns", "intercept", "fixed", "no random effects"],
)
def test_ratios_are_those_of_fits_one_by_one(pair: Callable[[], tuple[Fit, Fit]]) -> None:
    large, small = pair()
    together = simulated_ratios(large, small, 8, np.random.default_rng(5))
    rng, single = np.random.default_rng(5), []
    for _ in range(8):
        y = draw(small, rng)
        single.append(refit(small, y).deviance - refit(large, y).deviance)
    np.testing.assert_allclose(together, np.maximum(single, 0.0), atol=1e-6)
    assert together.max() > 0.1
