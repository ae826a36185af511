"""Rows that are read a batch at a time give the estimates, the standard errors and the messages of rows in memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sources import SOURCES

from lmmformula import Fit, PlanError, fit, plan
from lmmformula.frame.sources import base
from lmmformula.ir.streamed import records

MODELS: dict[str, dict[str, Any]] = {
    "two factors": {"formula": "y ~ x + f + (1 | g) + (1 | h)"},
    "slopes": {"formula": "y ~ x + (1 + x | g) + (1 | h)"},
    "three factors": {"formula": "y ~ x + (1 | g) + (1 | h) + (1 | k)", "method": "ml"},
    "weights": {"formula": "y ~ x + (1 | g)", "weights": "w"},
    "missing values": {"formula": "y ~ z + f + (1 | g)"},
    "unused levels": {"formula": "y ~ unused + (1 | g)"},
    "ordered factor": {"formula": "y ~ ordered + (1 | h)"},
    "an order that the formula says": {
        "formula": "y ~ ordered(f, levels = c('low', 'mid', 'high')) + (1 | h)"
    },
    "polynomial": {"formula": "y ~ poly(x, 2) + (1 | g)"},
    "splines": {"formula": "y ~ ns(x, 3) * f + (1 | g)"},
    "binary": {"formula": "top ~ x + f + (1 | g) + (1 | h)", "family": "binomial"},
    "counts with an offset": {"formula": "count ~ x + (1 | g)", "family": "poisson", "offset": "o"},
    "quasi-likelihood": {
        "formula": "top ~ x + f + (1 | g) + (1 | h)",
        "family": "binomial",
        "method": "pql",
    },
}
"""Gaussian, binary and count responses, and what a frame learns from rows."""
IN_SMALL_BATCHES = ("slopes", "missing values", "counts with an offset")
"""Models that sources other than files take in batches of two sizes."""
WITHOUT_ORDER = ("duckdb", "polars")
"""Sources whose categories have levels in some order, and are no ordered factors: tables of theirs in memory too."""


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng, n = np.random.default_rng(8), 900
    g, h, k = rng.integers(0, 40, n), rng.integers(0, 15, n), rng.integers(0, 6, n)
    x = rng.normal(size=n)
    f = np.array(["low", "mid", "high"])[rng.integers(0, 3, n)]
    eta = 0.3 + 0.4 * x + 0.5 * (f == "high") + 0.8 * rng.normal(size=40)[g] + 0.5 * rng.normal(size=15)[h]
    eta += 0.4 * rng.normal(size=6)[k] + 0.3 * rng.normal(size=40)[g] * x
    z = x + 0.1 * rng.normal(size=n)
    z[[3, 400, 401, 888]] = np.nan
    frame = pd.DataFrame({"x": x, "z": z, "f": f, "g": g, "h": [f"item {i}" for i in h], "k": k})
    frame["y"] = eta + rng.normal(size=n)
    frame["top"] = (eta + rng.logistic(size=n) > 0).astype(int)
    frame["count"] = rng.poisson(np.exp(0.5 * eta))
    frame["w"], frame["o"] = rng.uniform(0.5, 2.0, n), 0.1 * rng.normal(size=n)
    frame["unused"] = pd.Categorical(f, ["high", "none", "low", "mid"])
    frame["ordered"] = pd.Categorical(f, ["low", "mid", "high"], ordered=True)
    return frame


@pytest.fixture(scope="module")
def folder(data: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("rows")
    for k in range(3):
        data.iloc[300 * k : 300 * (k + 1)].to_parquet(where / f"part-{k}.parquet", index=False)
    return where


CASES = [
    (source, name, rows)
    for source in SOURCES
    for name in MODELS
    for rows in (131_072, 100)
    if (rows > 100 or source == "glob" or name in IN_SMALL_BATCHES)
    and not (name == "ordered factor" and source in WITHOUT_ORDER)
]


@pytest.fixture(scope="module")
def in_memory(data: pd.DataFrame) -> Callable[[str], tuple[Fit, list[str]]]:
    known: dict[str, tuple[Fit, list[str]]] = {}

    def make(name: str) -> tuple[Fit, list[str]]:
        if name not in known:
            known[name] = fitted(data, name)
        return known[name]

    return make


def fitted(data: Any, name: str) -> tuple[Fit, list[str]]:
    """A fit to a tight tolerance, and what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        m = fit(data=data, tolerance=1e-13, **MODELS[name])
    return m, [str(w.message) for w in caught if issubclass(w.category, UserWarning)]


@pytest.mark.parametrize(("source", "name", "rows"), CASES)
def test_estimates_are_those_of_rows_in_memory(
    source: str,
    name: str,
    rows: int,
    folder: Path,
    in_memory: Callable[[str], tuple[Fit, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, said = in_memory(name)
    monkeypatch.setattr(base.gathered, "__defaults__", (rows,))
    parts, heard = fitted(SOURCES[source](folder), name)
    assert heard == said
    assert list(parts.params.index) == list(whole.params.index)
    assert parts.nobs == whole.nobs
    assert parts.ngroups == whole.ngroups
    for ours, theirs in (
        (parts.params, whole.params),
        (parts.bse, whole.bse),
        (parts.varcorr()["sdcor"], whole.varcorr()["sdcor"]),
        (parts.ranef()["condval"], whole.ranef()["condval"]),
    ):
        one, other = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
        np.testing.assert_allclose(one, other, rtol=0.0, atol=1e-8 * np.abs(other).max())


@pytest.mark.parametrize(("source", "collect"), [("duckdb", "to_arrow_table"), ("polars", "collect")])
@pytest.mark.parametrize("name", ["ordered factor", "unused levels"])
def test_categories_are_coded_as_in_the_same_source_s_table_in_memory(
    source: str, collect: str, name: str, folder: Path
) -> None:
    rows = SOURCES[source](folder)
    parts, heard = fitted(rows, name)
    whole, said = fitted(getattr(rows, collect)(), name)
    assert heard == said
    pd.testing.assert_series_equal(parts.params, whole.params, rtol=1e-8)


def test_a_full_disk_is_refused_before_rows_are_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "IN_MEMORY", 0.0)
    monkeypatch.setattr("shutil.disk_usage", lambda where: SimpleNamespace(free=1_000))
    with pytest.raises(PlanError, match=r"TMPDIR.*sample="):
        fit("y ~ x + (1 | g)", str(folder))


def test_plans_say_where_rows_are_and_take_any_number(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows do not count as memory: held there, these would be refused."""
    planned = plan("y ~ x + (1 | g)", str(folder), memory_limit=26_000)
    assert any(reason.startswith("rows: 900, read a batch at a time from ") for reason in planned.reasons)
    assert "in memory, which the search reads once or twice" in str(planned)
