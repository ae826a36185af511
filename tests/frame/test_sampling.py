"""A sample of rows: simple random, the same for a seed, said in plan and summary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kinds_of_fit import rows

from lmmformula import ArgumentError, PlanError, fit, plan
from lmmformula.frame import open_table, sampling
from lmmformula.frame.sampling import sampled


def test_every_row_is_as_likely_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "BATCH_ROWS", 7)
    table = open_table({"row": np.arange(20)})
    counts, pairs = np.zeros(20), np.zeros((20, 20))
    for seed in range(2_000):
        found = sampled(table, ["row"], 6, seed).column("row").at(None).astype(int)  # type: ignore[union-attr]
        assert len(set(found.tolist())) == 6
        assert (np.diff(found) > 0).all()
        counts[found] += 1
        pairs[np.ix_(found, found)] += 1
    assert np.abs(counts / 2_000 - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 2_000)
    together = pairs[~np.eye(20, dtype=bool)] / 2_000  # 6 5 / (20 19)
    assert np.abs(together - 30 / 380).max() < 5 * np.sqrt(0.08 * 0.92 / 2_000)


def test_a_source_and_a_table_give_the_same_rows(tmp_path: Path) -> None:
    data = rows(400)
    for k in range(4):
        data.iloc[100 * k : 100 * (k + 1)].to_parquet(tmp_path / f"part-{k}.parquet")
    one, other = (
        fit("y ~ x + f + (1 | g)", given, weights="w", sample=0.5, seed=1) for given in (data, str(tmp_path))
    )
    np.testing.assert_allclose(one.params, other.params, rtol=1e-12)
    assert one.nobs == other.nobs == 200
    said = "a sample of 200 of 400 rows, seed 1"
    for m in (one, other):
        assert said in str(m.summary())
        assert f"rows: {said}" in m.plan.reasons
    again = fit("y ~ x + f + (1 | g)", data, weights="w", sample=200, seed=2)
    assert abs(float(again.params.loc["x"]) - float(one.params.loc["x"])) > 1e-6
    assert said in str(plan("y ~ x + f + (1 | g)", str(tmp_path), weights="w", sample=200, seed=1))
    smaller = one.update("~ . - f")
    assert smaller.nobs == 200
    assert list(one.augment().index) == sorted(one.augment().index)


def test_what_is_refused() -> None:
    data = rows(50)
    with pytest.raises(ArgumentError, match="51 rows of 50"):
        fit("y ~ x", data, sample=51)
    with pytest.raises(ArgumentError, match="0 rows of 50"):
        fit("y ~ x", data, sample=0.001)
    with pytest.raises(ArgumentError, match="sample"):
        fit("y ~ x", data, sample=2.5)
    with pytest.raises(PlanError, match="name a column"):
        fit("y ~ x", data, weights=np.ones(50), sample=10)


def test_columns_stay_what_they_are(tmp_path: Path) -> None:
    data = pd.DataFrame(
        {
            "y": np.arange(40.0),
            "f": pd.Categorical(["b", "a"] * 20, ["b", "a"]),
            "t": ["u", "v", "w", "u"] * 10,
        }
    )
    data["y"] += np.tile([0.0, 1.0, 0.3, 2.0], 10)
    for k in range(2):
        data.iloc[20 * k : 20 * (k + 1)].to_parquet(tmp_path / f"part-{k}.parquet")
    assert list(fit("y ~ f + t", str(tmp_path), sample=30, seed=1).params.index) == [
        "(Intercept)",
        "fa",
        "tv",
        "tw",
    ]
