"""Covariance kinds of one's own, defined here alone, work wherever a term does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lmmformula
from lmmformula import fit, plan, report
from lmmformula.extensions import EXTENSIONS, key_of
from lmmformula.formula.bars import CONSTRUCTORS
from lmmformula.ir.covariance import KINDS, Kind, register_kind

LEVELS, TIMES = 40, ("a", "b", "c", "d")
RHO, FALL = 0.5, 0.6


class Exchangeable(Kind):
    """One standard deviation and one correlation of all columns."""

    name = "exchangeable"
    description = "one variance and one correlation"
    shared_sd = True

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        return ((-1.0 / max(self.k - 1, 1), 1.0),)

    def correlation(self, r: Sequence[Any], xp: Any = np) -> Any:
        rho = r[0][..., None, None]
        return rho + (1.0 - rho) * np.eye(self.k)


class Banded(Kind):
    """Own standard deviations and one correlation of neighbours: Toeplitz of two bands."""

    name = "toep2"
    description = "correlated neighbours"

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        end = 0.5 / np.cos(np.pi / (self.k + 1)) if self.k > 1 else 1.0
        return ((-end, end),)

    def correlation(self, r: Sequence[Any], xp: Any = np) -> Any:
        return np.eye(self.k) + r[0][..., None, None] * (np.eye(self.k, k=1) + np.eye(self.k, k=-1))


class Falling(Kind):
    """One standard deviation; correlations known to fall by a factor from neighbour to neighbour."""

    name = "falling"
    description = "falling correlations"
    shared_sd = True

    def correlation(self, r: Sequence[Any], xp: Any = np) -> Any:
        i = np.arange(self.k)
        return FALL ** np.abs(i[:, None] - i[None, :])


OWN: tuple[type[Kind], ...] = (Exchangeable, Banded, Falling)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    for kind in OWN:
        register_kind(kind)
    yield
    for kind in OWN:
        del KINDS[kind.name], CONSTRUCTORS[kind.name], EXTENSIONS[key_of(kind)]


def _data() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    k = len(TIMES)
    root = np.linalg.cholesky(RHO + (1.0 - RHO) * np.eye(k))
    b = 1.5 * rng.standard_normal((LEVELS, k)) @ root.T
    g, f = np.repeat(np.arange(LEVELS), 3 * k), np.tile(np.repeat(np.arange(k), 3), LEVELS)
    x = rng.standard_normal(len(g))
    eta = 0.5 * x + b[g, f]
    return pd.DataFrame(
        {
            "g": g.astype(str),
            "f": np.array(TIMES)[f],
            "x": x,
            "y": 2.0 + eta + rng.standard_normal(len(g)),
            "z": rng.binomial(1, 1.0 / (1.0 + np.exp(-eta))),
        }
    )


DATA = _data()
FIXED = "y ~ 1 + x + {}(0 + f | g)"


def matrix(model: Any) -> np.ndarray:
    """The covariance matrix of the only term, by `varcorr`."""
    table = model.varcorr()
    own = table[table["grp"] == "g"]
    names = own.loc[own["var2"].isna(), "var1"].tolist()
    out = pd.DataFrame(np.nan, index=names, columns=names)
    for _, row in own.iterrows():
        other = row["var1"] if pd.isna(row["var2"]) else row["var2"]
        out.loc[row["var1"], other] = out.loc[other, row["var1"]] = row["vcov"]
    return out.to_numpy()


def test_one_variance_and_one_correlation_fits_by_reml_as_the_cell_means_do() -> None:
    """Sigma = tau^2 J + v I is that of nested random intercepts: (1 | g) + (1 | g:f)."""
    model, nested = fit(FIXED.format("exchangeable"), DATA), fit("y ~ 1 + x + (1 | g) + (1 | g:f)", DATA)
    assert model.llf == pytest.approx(nested.llf, abs=1e-6)
    np.testing.assert_allclose(model.params, nested.params, rtol=1e-5)
    variances = nested.varcorr().set_index("grp")["vcov"]
    expected = variances["g"] + variances["g:f"] * np.eye(len(TIMES))
    np.testing.assert_allclose(matrix(model), expected, rtol=1e-4)


def test_generalised_fits_agree_with_the_nested_model() -> None:
    wanted = "z ~ 1 + x + (1 | g) + (1 | g:f)"
    own = "z ~ 1 + x + exchangeable(0 + f | g)"
    one, other = (fit(text, DATA, family="binomial") for text in (own, wanted))
    assert one.llf == pytest.approx(other.llf, abs=1e-5)
    quasi = fit(own, DATA, family="binomial", method="pql")
    assert quasi.converged
    sd = np.sqrt(np.diag(matrix(quasi)))
    np.testing.assert_allclose(sd, sd[0])
    assert 0.5 < sd[0] < 2.5


@pytest.mark.parametrize("name", ["exchangeable", "toep2", "falling"])
def test_what_follows_from_a_fit(name: str, tmp_path: Path) -> None:
    formula = FIXED.format(name)
    assert "g" in str(plan(formula, DATA))
    model = fit(formula, DATA, method="ml")
    sigma = matrix(model)
    sd = np.sqrt(np.diag(sigma))
    cor = sigma / np.outer(sd, sd)
    if name == "toep2":
        np.testing.assert_allclose(np.diag(cor, -1), cor[1, 0])
        np.testing.assert_allclose(np.diag(cor, -2), 0.0, atol=1e-12)
    if name == "falling":
        np.testing.assert_allclose(cor[:, 0], FALL ** np.arange(len(TIMES)), rtol=1e-10)
    assert name in str(model.summary()) or name == "falling"
    page = report(model, tmp_path / "fit.html", plots=False).read_text(encoding="utf-8")
    assert KINDS[name].description in page

    new = DATA.head(12)
    np.testing.assert_allclose(model.predict(new), np.asarray(model.fittedvalues)[:12], rtol=1e-10)
    unseen = model.predict(new.assign(g="new"), new_levels="population")
    np.testing.assert_allclose(unseen, model.params["(Intercept)"] + model.params["x"] * new["x"], rtol=1e-10)
    assert model.update("~ . - x").problem.terms[0].covariance == KINDS[name](len(TIMES))

    model.save(tmp_path / "fit.lmm")
    again = lmmformula.load(tmp_path / "fit.lmm")
    np.testing.assert_array_equal(matrix(again), sigma)


def test_a_profile_holds_the_correlation() -> None:
    model = fit(FIXED.format("exchangeable"), DATA, method="ml")
    name = "cor_fb.fa|g"
    ends = model.conf_int(method="profile", parameters=[name, "sd_fa|g"])
    low, high = ends.loc[name]
    assert low < RHO < high
    assert -1.0 / 3.0 < low < matrix(model)[1, 0] / matrix(model)[0, 0] < high < 1.0


def test_draws_agree_with_the_likelihood() -> None:
    model = fit(FIXED.format("exchangeable"), DATA)
    drawn = fit(
        FIXED.format("exchangeable"), DATA, method="hmc", sampler="importance", chains=2, draws=400, seed=3
    )
    assert drawn.posterior is not None
    assert {"sd:g", "cor:g"} <= set(drawn.posterior.names)
    np.testing.assert_allclose(matrix(drawn), matrix(model), rtol=0.15)
    assert "cor(" in str(drawn.summary())
