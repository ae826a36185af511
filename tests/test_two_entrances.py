"""Rows that are equal in all that a model needs of them, counted once where they lie, give the fit of all rows in memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sources import SOURCES

from lmmformula import Fit, PlanError, anova, build, fit, plan
from lmmformula.errors import ArgumentError
from lmmformula.frame.cells import choosing

MODELS: dict[str, dict[str, Any]] = {
    "two factors": {"formula": "y ~ x + f + (1 | g) + (1 | h)"},
    "maximum likelihood": {"formula": "y ~ x + (1 | g) + (1 | h) + (1 | k)", "method": "ml"},
    "slopes": {"formula": "y ~ x + (1 + x | g) + (1 | h)"},
    "missing values": {"formula": "lacking ~ z + f + (1 | g)"},
    "unused levels": {"formula": "y ~ unused + (1 | g)"},
    "ordered factor": {"formula": "y ~ ordered + (1 | h)"},
    "learned of rows": {"formula": "y ~ poly(x, 2) + scale(k) + factor(k) + (1 | g)"},
    "splines": {"formula": "y ~ ns(x, 2) * f + (1 | g)"},
    "response that is computed": {"formula": "log(count + 1) ~ x + (1 | g)"},
    "far from zero": {"formula": "far ~ x + f + (1 | g)"},
    "without random effects": {"formula": "y ~ x * f"},
    "rank": {"formula": "y ~ x + I(2 * x) + f + (1 | g)"},
    "binary": {"formula": "top ~ x + f + (1 | g) + (1 | h)", "family": "binomial"},
    "probit": {"formula": "top ~ x + (1 | g)", "family": "binomial(link='probit')"},
    "counts with an offset": {"formula": "count ~ x + (1 | g)", "family": "poisson", "offset": "o"},
    "a generalised linear model": {"formula": "count ~ x + f", "family": "poisson"},
}
ELSEWHERE = ("slopes", "missing values", "counts with an offset")


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng, n = np.random.default_rng(8), 3_000
    g, h, k = rng.integers(0, 20, n), rng.integers(0, 6, n), rng.integers(0, 4, n)
    x = rng.integers(0, 5, n) / 2.0
    f = np.array(["low", "mid", "high"])[rng.integers(0, 3, n)]
    eta = 0.3 + 0.4 * x + 0.5 * (f == "high") + 0.8 * rng.normal(size=20)[g] + 0.5 * rng.normal(size=6)[h]
    eta += 0.4 * rng.normal(size=4)[k] + 0.3 * rng.normal(size=20)[g] * x
    z = x.copy()
    z[[3, 400, 401, 888]] = np.nan
    frame = pd.DataFrame({"x": x, "z": z, "f": f, "g": g, "h": [f"item {i}" for i in h], "k": k})
    frame["y"] = eta + rng.normal(size=n)
    frame["far"] = 1e5 + frame["y"]
    frame["lacking"] = frame["y"].mask(np.arange(n) % 500 == 7)
    frame["top"] = (eta + rng.logistic(size=n) > 0).astype(int)
    frame["count"] = rng.poisson(np.exp(0.5 * eta))
    frame["o"] = 0.1 * k
    frame["w"] = 1.0 + k
    frame["unused"] = pd.Categorical(f, ["high", "none", "low", "mid"])
    frame["ordered"] = pd.Categorical(f, ["low", "mid", "high"], ordered=True)
    return frame


@pytest.fixture(scope="module")
def folder(data: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("rows")
    for i in range(3):
        data.iloc[1_000 * i : 1_000 * (i + 1)].to_parquet(where / f"part-{i}.parquet", index=False)
    return where


CASES = [("glob", name) for name in MODELS]
CASES += [(source, name) for source in list(SOURCES)[1:] for name in ELSEWHERE]


@pytest.fixture(scope="module")
def in_memory(data: pd.DataFrame) -> Callable[[str], tuple[Fit, list[str]]]:
    known: dict[str, tuple[Fit, list[str]]] = {}

    def make(name: str) -> tuple[Fit, list[str]]:
        if name not in known:
            known[name] = fitted(data, name)
        return known[name]

    return make


def fitted(data: Any, name: str, **more: Any) -> tuple[Fit, list[str]]:
    """A fit to a tight tolerance, and what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        m = fit(data=data, tolerance=1e-15, **MODELS[name], **more)
    return m, [str(w.message) for w in caught if issubclass(w.category, UserWarning)]


@pytest.mark.parametrize(("source", "name"), CASES)
def test_cells_are_the_fit_of_all_rows(
    source: str, name: str, folder: Path, in_memory: Callable[[str], tuple[Fit, list[str]]]
) -> None:
    whole, said = in_memory(name)
    cells, heard = fitted(SOURCES[source](folder), name, entrance="cells")
    assert cells.problem.n < whole.problem.n
    assert heard == said
    assert list(cells.params.index) == list(whole.params.index)
    assert (cells.nobs, cells.df_resid, cells.ngroups) == (whole.nobs, whole.df_resid, whole.ngroups)
    for ours, theirs in (
        (cells.params, whole.params),
        (cells.bse, whole.bse),
        ([cells.llf, cells.aic, cells.bic, cells.sigma], [whole.llf, whole.aic, whole.bic, whole.sigma]),
        (cells.varcorr()["sdcor"], whole.varcorr()["sdcor"]),
        (cells.ranef()["condval"], whole.ranef()["condval"]),
    ):
        one, other = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
        np.testing.assert_allclose(one, other, rtol=0.0, atol=1e-8 * np.abs(other).max(initial=0.0))
    assert abs(cells.llf - whole.llf) <= 1e-8 * abs(whole.llf)


def test_what_follows_is_of_rows(data: pd.DataFrame, folder: Path, tmp_path: Path) -> None:
    formula = "y ~ z + f + (1 | g) + (1 | h)"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole, cells = fit(formula, data), fit(formula, folder, entrance="cells")
        other = cells.update("~ . - f")
    assert other.problem.n_used == whole.problem.n
    assert other.problem.n < cells.problem.n
    np.testing.assert_allclose(cells.r2(), whole.r2(), rtol=1e-8)
    np.testing.assert_allclose(cells.icc(), whole.icc(), rtol=1e-8)
    assert str(cells.anova()) == str(whole.anova())
    cells.augment(out=tmp_path / "rows.parquet")
    written, known = pd.read_parquet(tmp_path / "rows.parquet"), whole.augment()
    assert list(written[".row"]) == list(whole.problem.rows)
    assert ".weights" not in written
    np.testing.assert_allclose(written[".resid"], known[".resid"], atol=1e-8)
    text = str(cells.summary())
    assert f"{whole.problem.n:,} rows (4 of 3,000 dropped)" in text
    assert f"Equal rows were counted once: {cells.problem.n:,} stand for {whole.problem.n:,}." in text
    with pytest.raises(PlanError, match=r"the 2,996 rows of this fit are not in memory"):
        cells.residuals()


def test_pearson_residuals_are_summed_over_all_rows(data: pd.DataFrame, folder: Path) -> None:
    call: dict[str, Any] = {"formula": "count ~ x + (1 | g)", "family": "poisson", "tolerance": 1e-15}
    whole, cells = fit(data=data, **call), fit(data=folder, entrance="cells", **call)
    np.testing.assert_allclose(cells.overdispersion(), whole.overdispersion(), rtol=1e-7)


def test_models_of_other_cells_are_compared(folder: Path) -> None:
    large = fit("y ~ x + f + (1 | g)", folder, method="ml", entrance="cells")
    small = fit("y ~ x + (1 | g)", folder, method="ml", entrance="cells")
    assert large.problem.n != small.problem.n
    rows = [
        fit(formula, folder, method="ml", entrance="rows")
        for formula in ("y ~ x + (1 | g)", "y ~ x + f + (1 | g)")
    ]
    assert str(anova(small, large)) == str(anova(*rows))


@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_the_plan_counts_cells_and_says_what_it_takes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "entrance: rows (3,000 rows are few)" in str(plan("y ~ x + (1 | g)", folder))
    monkeypatch.setattr(choosing, "FEWEST", 1)
    for source in ("glob", "duckdb", "polars", "dask"):
        rows = SOURCES[source](folder)
        text = str(plan("y ~ x + (1 | g)", rows)).replace("\n", " ")
        assert "entrance: 100 cells of 3,000 rows" in " ".join(text.split())
        text = " ".join(str(plan("top ~ y + (1 | g)", rows, family="binomial")).split())
        assert "entrance: rows (about 3,000 cells of 3,000 rows" in text
    text = " ".join(str(plan("top ~ x + (1 | g)", folder, family="binomial", method="pql")).split())
    assert "entrance: rows (method='pql' estimates a dispersion from rows)" in text
    text = " ".join(str(plan("y ~ x + (1 | g)", folder, entrance="rows")).split())
    assert "entrance: rows (as asked)" in text


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"weights": "w"}, "rows have weights of their own"),
        ({"method": "hmc"}, "method='hmc' takes rows as they are"),
        ({"formula": "cbind(count, k) ~ x + (1 | g)", "family": "binomial"}, "trials of its own"),
    ],
)
def test_what_cannot_be_of_cells_is_refused_by_name(more: dict[str, Any], why: str, folder: Path) -> None:
    with pytest.raises(PlanError, match=rf"entrance='cells': .*{why}"):
        fit(**{"formula": "y ~ x + (1 | g)", "data": folder, "entrance": "cells", **more})


def test_an_entrance_is_of_data_that_are_read_in_batches(data: pd.DataFrame) -> None:
    with pytest.raises(PlanError, match=r"these are read into memory"):
        build("y ~ x + (1 | g)", data, entrance="cells")
    with pytest.raises(ArgumentError, match=r"entrance"):
        fit("y ~ x + (1 | g)", data, entrance="sql")  # type: ignore[arg-type]


def test_an_infinite_response_is_counted_in_rows(data: pd.DataFrame, tmp_path: Path) -> None:
    own = data.assign(y=data["y"].where(data.index % 1_000 != 1, np.inf))
    own.to_parquet(tmp_path / "rows.parquet", index=False)
    with pytest.raises(Exception, match=r"`y` is infinite in 3 of 3,000 rows"):
        fit("y ~ x + (1 | g)", [str(tmp_path / "rows.parquet")], entrance="cells")


def test_expected_cells() -> None:
    """Of 1,000 draws among 500 equal cells ``500 (1 - exp(-2))`` are met."""
    met = round(500 * (1 - np.exp(-2.0)))
    assert choosing.expected_cells(1_000, met, 10**7) == pytest.approx(500, rel=0.01)
    assert choosing.expected_cells(1_000, 1_000, 10**6) == pytest.approx(1e6, rel=0.01)
    assert choosing.expected_cells(1_000, 40, 900) == 40
