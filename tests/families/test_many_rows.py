"""Rows of large problems, whose log densities compiled loops take, against array operations row by row."""

from __future__ import annotations

import numpy as np
import pytest

from lmmformula.families import unit
from lmmformula.families.family import Family, make_family
from lmmformula.typing import Array

FIELDS = ("loglik", "score", "weight", "weight_eta")
N = unit.COMPILED_ROWS + 77


@pytest.fixture(scope="module")
def eta() -> Array:
    rng = np.random.default_rng(5)
    wide = rng.uniform(-700.0, 700.0, N // 3)
    ends = [0.0, -0.0, 1e-300, -1e-300, 40.0, -40.0]
    return np.concatenate([wide, ends, 3.0 * rng.standard_normal(N - len(wide) - len(ends))])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("derivatives", [False, True])
def test_many_rows_are_as_few(eta: Array, weighted: bool, derivatives: bool) -> None:
    rng = np.random.default_rng(6)
    trials = rng.integers(1, 9, N).astype(float) if weighted else None
    y = rng.binomial(9 if weighted else 1, 0.4, N) / (9.0 if weighted else 1.0)
    family = make_family(unit.Binomial())
    many = family.rows(y, eta, (), trials, derivatives=derivatives)
    for field, found in zip(FIELDS, _in_tens(family, y, eta, trials, derivatives), strict=True):
        value = getattr(many, field)
        if found is None:
            assert value is None
        else:
            np.testing.assert_allclose(value, found, rtol=1e-13, atol=1e-15)


def test_what_is_no_number_stays_so() -> None:
    eta = np.linspace(-3.0, 3.0, N)
    eta[[1, 300, N - 1]] = np.nan, np.inf, -np.inf
    rows = make_family(unit.Binomial()).rows(np.ones(N), eta)
    assert np.isnan(rows.score[1])
    assert np.isnan(rows.loglik[1])
    assert rows.loglik[N - 1] == -np.inf
    assert rows.score[300] == pytest.approx(0.0, abs=1e-300)
    assert np.isfinite(np.delete(rows.loglik, [1, N - 1, 300])).all()


def _in_tens(
    family: Family, y: Array, eta: Array, trials: Array | None, derivatives: bool
) -> list[Array | None]:
    """The same of ten rows at a time."""
    out: list[list[Array | None]] = [[] for _ in FIELDS]
    for i in range(0, N, 10):
        some = slice(i, i + 10)
        weights = None if trials is None else trials[some]
        rows = family.rows(y[some], eta[some], (), weights, derivatives=derivatives)
        for column, field in zip(out, FIELDS, strict=True):
            column.append(getattr(rows, field))
    return [None if c[0] is None else np.concatenate([v for v in c if v is not None]) for c in out]
