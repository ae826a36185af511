"""Censored and truncated rows with several linear predictors: derivatives are those of one predictor and of differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lmmformula.errors import PlanError
from lmmformula.families import Family, resolve
from lmmformula.families.jointly import joint_pull, joint_rows
from lmmformula.families.known_errors import known_errors
from lmmformula.families.observed import Observed
from lmmformula.families.seen import Seen

CASES: dict[str, tuple[float, ...]] = {
    "gaussian": (0.3,),
    "lognormal": (-0.5,),
    "weibull": (0.3,),
    "inverse_gaussian": (-0.6,),
    "exgaussian": (0.1, 0.4),
    "nbinom2": (0.4,),
    "zero_inflated_poisson": (-0.7,),
    "known errors": (-0.4,),
}
ETA = np.array([0.3, 0.8, -0.2, 1.1, 0.5, 0.4])
KINDS = np.array([2, -1, 1, 2, 0, 0])


def family_of(name: str) -> Family:
    own = known_errors(resolve("gaussian"), besides=True) if name == "known errors" else resolve(name)
    return replace(own, distribution=Seen(own.distribution, censored=True, truncated=True))


def rows(family: Family) -> Observed:
    y = np.array([2.0, 1.0, 3.0, 1.0, 4.0, 2.0])
    lo = np.where(KINDS == -1, -np.inf, y)
    hi = np.select([KINDS == 1, KINDS == 2], [np.inf, y + 2.0], y)
    least, most = np.where(ETA > 0.4, 1.0 if family.is_discrete else 0.2, -np.inf), np.full(6, np.inf)
    return Observed(y, np.column_stack([lo, hi, least, np.where(ETA > 1.0, 8.0, most)]))


def predictors(name: str) -> np.ndarray:
    return np.array([ETA, *(np.full(6, a) + 0.1 * ETA for a in CASES[name])])


WEIGHTS = np.array([1.0, 2.0, 1.0, 0.5, 1.0, 3.0])


@pytest.mark.parametrize("name", CASES)
def test_rows_of_several_predictors_are_those_of_one(name: str) -> None:
    family, at = family_of(name), predictors(name)
    y = rows(family)
    value, slopes, bends = joint_rows(family, y, at, WEIGHTS, family.constant(y, WEIGHTS))
    own = family.rows(y, at[0], tuple(at[1:]), WEIGHTS)
    np.testing.assert_allclose(value, own.loglik, atol=1e-12)
    np.testing.assert_allclose(slopes, [own.score, *own.d_aux], atol=1e-12)
    np.testing.assert_allclose(bends[0], [own.weight, *(-np.asarray(s) for s in own.score_aux)], atol=1e-11)
    np.testing.assert_allclose(bends, bends.transpose(1, 0, 2), atol=1e-11)


@pytest.mark.parametrize("name", CASES)
def test_their_derivatives_are_those_of_differences(name: str) -> None:
    family, at, h = family_of(name), predictors(name), 1e-5
    y, k = rows(family), len(at)
    weigh = np.random.default_rng(1).normal(size=(k, k, 6))
    weigh = weigh + weigh.transpose(1, 0, 2)

    def moved(j: int, step: float) -> tuple[np.ndarray, np.ndarray]:
        there = at + step * (np.arange(k) == j)[:, None]
        _, slopes, bends = joint_rows(family, y, there, WEIGHTS, 0.0)
        return slopes, (weigh * bends).sum(axis=(0, 1))

    ends = [(moved(j, h), moved(j, -h)) for j in range(k)]
    _, _, bends = joint_rows(family, y, at, WEIGHTS, 0.0)
    np.testing.assert_allclose(bends, [(b[0] - a[0]) / (2 * h) for a, b in ends], rtol=1e-6, atol=1e-7)
    g = joint_pull(family, y, at, WEIGHTS, weigh)
    np.testing.assert_allclose(g, [(a[1] - b[1]) / (2 * h) for a, b in ends], rtol=1e-6, atol=1e-6)


def test_gamma_is_refused_by_name() -> None:
    family = family_of("gamma")
    y = rows(family)
    with pytest.raises(PlanError, match="gamma responses have no second derivatives"):
        joint_rows(family, y, np.array([ETA, 0.1 * ETA]), None, 0.0)
