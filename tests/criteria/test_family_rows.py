"""Slices of rows give the numbers that all rows at once give."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from oracle import make_problem

from lmmformula.criteria.family_rows import family_rows
from lmmformula.families import Rows, resolve
from lmmformula.ir import memory_rows as module


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("derivatives", [True, False])
@pytest.mark.parametrize("family", ["binomial", "binomial(link='probit')", "poisson", "nbinom2", "gamma"])
def test_slices(family: str, derivatives: bool, weighted: bool, monkeypatch) -> None:
    monkeypatch.setattr(module, "SLICE", 16)
    rng = np.random.default_rng(0)
    base = make_problem("crossed", n=100)
    y = rng.integers(0, 2, 100).astype(float) + (family == "gamma")
    weights = rng.integers(1, 4, 100).astype(float) if weighted else None
    problem = replace(base, y=y, weights=weights, family=resolve(family))
    eta = rng.normal(size=100)
    aux = tuple(rng.normal(size=100) for _ in problem.family.auxiliaries)
    options: dict[str, Any] = {
        "information": "expected",
        "derivatives": derivatives,
        "constant": problem.family.constant(y, weights),
    }
    ours = family_rows(problem.family, problem.data, eta, aux, **options)
    whole = problem.family.rows(y, eta, aux, weights, **options)
    for f in fields(Rows):
        one, two = getattr(ours, f.name), getattr(whole, f.name)
        if isinstance(two, tuple):
            assert len(one) == len(two)
            for x, z in zip(one, two, strict=True):
                np.testing.assert_array_equal(x, z)
        elif two is None:
            assert one is None
        else:
            np.testing.assert_array_equal(one, two)
