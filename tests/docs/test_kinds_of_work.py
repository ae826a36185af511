"""The functions whose calls the page of benchmarks counts by kind of work are there, and what is counted adds up."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("benchmarks.speed_kinds", reason="runs in a checkout alone")

from benchmarks.speed_kinds import KINDS, Ledger, Sizes, entered, measured, table
from lmmformula import fit
from lmmformula.frame.build import build


def test_every_function_is_there_and_put_back() -> None:
    ledger = Ledger()
    with entered(ledger):
        assert import_module("lmmformula.frame.build").build is not build
    assert import_module("lmmformula.frame.build").build is build
    assert ledger.calls == {}


def test_seconds_add_up() -> None:
    rng = np.random.default_rng(0)
    g, h = rng.integers(0, 30, 600), rng.integers(0, 8, 600)
    eta = 1.2 * rng.normal(size=30)[g] + rng.normal(size=8)[h]
    y = (rng.random(600) < 1.0 / (1.0 + np.exp(-eta))).astype(float)
    data = pd.DataFrame({"y": y, "x": rng.normal(size=600), "g": g, "h": h})
    ledger = Ledger()
    _, seconds, cpu = measured(
        ledger, lambda: fit("y ~ x + (1 | g) + (1 | h)", data, family="binomial", method="laplace")
    )
    assert seconds > 0.0
    rows = table(ledger, cpu, Sizes(600, 220, 30, 8, 2, 1, 0, 1e4, 1e3))
    np.testing.assert_allclose(sum(row["cpu"] for row in rows), cpu, rtol=1e-9)
    assert [row["kind"] for row in rows[:-1]] == [kind for kind in KINDS if kind in ledger.spent]
    assert rows[0]["calls"] == 1  # one table was read
    assert all(row["cpu"] >= 0.0 and row["stream"] >= 0.0 for row in rows)
    assert any(row["flops"] > 0.0 for row in rows)
