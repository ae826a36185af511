"""A start by sweeps: where the search then ends, and where it is left to least squares."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from lmmformula import fit
from lmmformula.backends import laplace, laplace_start
from lmmformula.backends.laplace_start import swept
from lmmformula.errors import SingularFitWarning


def table(n: int = 1_200) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    g, h = rng.integers(0, 60, n), rng.integers(0, 25, n)
    x = rng.normal(size=n)
    eta = 0.3 + 0.5 * x + rng.normal(size=60)[g] + 0.6 * rng.normal(size=25)[h]
    y = (rng.random(n) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    return pd.DataFrame({"y": y, "x": x, "g": [f"g{i}" for i in g], "h": [f"h{i}" for i in h]})


FORMULA = "y ~ x + (1 | g) + (1 | h)"


@pytest.fixture
def large(monkeypatch):
    """Few rows count as many."""
    monkeypatch.setattr(laplace_start, "SWEPT_ROWS", 0)
    monkeypatch.setattr(laplace_start, "SWEPT_SIDE", 0)


def test_the_search_ends_where_it_ends_from_least_squares(large, monkeypatch) -> None:
    data, begun = table(), []
    monkeypatch.setattr(laplace, "swept", lambda model: begun.append(swept(model)) or begun[-1])
    ours = fit(FORMULA, data, family="binomial", method="laplace", engine="blocked")
    (begin,) = begun
    assert begin is not None
    errors = np.sqrt(np.diag(ours.estimate.vcov))
    assert (np.abs(begin.beta - ours.estimate.beta) < 0.1 * errors).all()
    np.testing.assert_allclose(begin.psi[2:], ours.estimate.theta, rtol=0.05)
    monkeypatch.setattr(laplace, "swept", lambda model: None)
    usual = fit(FORMULA, data, family="binomial", method="laplace", engine="blocked")
    assert ours.llf == pytest.approx(usual.llf, abs=1e-8)
    assert (np.abs(ours.estimate.beta - usual.estimate.beta) < 1e-4 * errors).all()
    assert ours.estimate.convergence.evaluations <= usual.estimate.convergence.evaluations


@pytest.mark.parametrize(
    ("formula", "family"),
    [
        (FORMULA, "binomial(link='probit')"),  # a link that is not canonical
        ("y ~ x + (1 | g)", "binomial"),  # nothing to sweep over
        ("y ~ x + (1 | g) + (1 | g:h)", "binomial"),  # nested
        ("y ~ x + (1 | g) + (1 | none)", "binomial"),  # a variance of zero
    ],
)
def test_what_has_no_such_start_begins_from_least_squares(
    large, monkeypatch, formula: str, family: str
) -> None:
    data, begun = table(), []
    data["none"] = (data.groupby("y").cumcount() % 8).astype(str)  # as many successes in each level
    monkeypatch.setattr(laplace, "swept", lambda model: begun.append(swept(model)) or begun[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        m = fit(formula, data, family=family, method="laplace", engine="blocked")
    assert begun == [None]
    assert np.isfinite(m.llf)


def test_an_interrupt_on_the_way_is_one(large, monkeypatch) -> None:
    from lmmformula.backends.pql_search import Search
    from lmmformula.interrupts import interrupts_keep

    iterate, count = Search._iterate, []

    def broken(self) -> None:
        count.append(1)
        if len(count) == 2:
            raise KeyboardInterrupt
        iterate(self)

    monkeypatch.setattr(Search, "_iterate", broken)
    with interrupts_keep(), pytest.raises(KeyboardInterrupt):
        fit(FORMULA, table(), family="binomial", method="laplace", engine="blocked")
