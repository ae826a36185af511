"""Rows of a Dask DataFrame stay with the workers of the user's client; a worker that dies does not take the fit with it."""

from __future__ import annotations

import logging
import os
import signal
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, fit, plan
from lmmformula.errors import LmmformulaWarning
from lmmformula.frame.sources.cluster import workers_of
from lmmformula.frame.sources.partitions import Partitions
from lmmformula.ir.streamed import dealing
from lmmformula.result import Fit

dd = pytest.importorskip("dask.dataframe")
distributed = pytest.importorskip("distributed")

FORMULA = "y ~ x + f + (1 | g) + (1 | h)"


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two processes with a thread each."""
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def frame(n: int = 3_000) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    g, h = rng.integers(0, 60, n), rng.integers(0, 12, n)
    out = pd.DataFrame({"x": rng.normal(size=n), "f": rng.choice(list("abc"), n), "g": g * 7, "h": h})
    out["h"] = "item " + out["h"].astype(str)
    eta = 0.3 * out["x"] + 0.7 * rng.normal(size=60)[g] + 0.5 * rng.normal(size=12)[h]
    out["y"] = (rng.uniform(size=n) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    out["z"] = eta + rng.normal(size=n)
    out.loc[rng.integers(0, n, 20), "x"] = np.nan
    return out


def fitted(formula: str, data: Any, **options: Any) -> Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LmmformulaWarning)  # of rows left out, and events that are few
        return fit(formula, data, **options)


def stays(m: Fit) -> bool:
    """Whether rows were left with workers."""
    return hasattr(m.problem.data, "store") and "rows stay on" in m.problem.data.store.told(1.0)  # type: ignore[attr-defined]


def alike(one: Fit, other: Fit, rtol: float) -> None:
    a, b = one.estimate, other.estimate
    for name in ("beta", "theta", "sigma", "vcov"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=rtol, atol=rtol)
    for own, theirs in zip(a.modes, b.modes, strict=True):
        np.testing.assert_allclose(own, theirs, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("partitions", [1, 5])
def test_same_estimates(client: Any, partitions: int) -> None:
    data = frame()
    own = dd.from_pandas(data, npartitions=partitions)
    m = fitted(FORMULA, own, family="binomial", method="pql")
    assert stays(m)
    alike(m, fitted(FORMULA, data, family="binomial", method="pql"), 1e-8)
    if partitions > 1:
        text = str(plan("z ~ f + (1 | g) + (1 | h)", own))
        assert "rows stay on 2 workers of Dask" in text
        assert "bytes for each pair of levels that meet" in text


def test_rows_in_memory_are_worked_on_where_they_are(client: Any) -> None:
    own = dd.from_pandas(frame(), npartitions=6).persist()
    distributed.wait(own)
    workers = workers_of(Partitions(own))
    assert workers is not None
    holders = {key[-1]: where for key, where in client.who_has(distributed.futures_of(own)).items()}
    assert sorted(i for group in workers.groups for i in group) == list(range(6))
    for place, group in zip(workers.places, workers.groups, strict=True):
        assert all(place in holders[i] for i in group)
    m = fitted("z ~ x + f + (x | g) + (1 | h)", own)
    assert stays(m)
    alike(m, fitted("z ~ x + f + (x | g) + (1 | h)", frame()), 1e-8)


@pytest.mark.parametrize("formula", ["z ~ x * f + (1 | g / h)", "z ~ x + (1 | many) + (1 | c)"])
def test_levels_are_learned_where_rows_are(
    client: Any, formula: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text, categories, many texts, crossed factors: no more than the first partition is looked at here."""
    data = frame(8_000)
    data["many"] = [f"client {i % 5_000}" for i in range(len(data))]
    data["c"] = pd.Categorical(data["h"], sorted(set(data["h"]), reverse=True))
    read, plain = set(), Partitions._computed

    def computed(self: Partitions, columns: list[str], part: int, rows: int | None = None) -> pd.DataFrame:
        if "z" in columns:
            assert rows is not None  # no more than a batch comes here
            read.add(part)
        return plain(self, columns, part, rows)

    monkeypatch.setattr(Partitions, "_computed", computed)
    own = dd.from_pandas(data, npartitions=4)
    m = fitted(formula, own)
    assert stays(m)
    assert read <= {0}
    theirs = fitted(formula, data)
    alike(m, theirs, 1e-8)
    for a, b in zip(m.problem.terms, theirs.problem.terms, strict=True):
        assert list(a.levels) == list(b.levels)


def test_the_same_rows_give_the_same_bits(client: Any) -> None:
    own = dd.from_pandas(frame(), npartitions=4)
    one, other = (fitted(FORMULA, own, family="binomial", method="pql") for _ in range(2))
    alike(one, other, 0.0)


def test_errors_are_those_of_rows_in_memory(client: Any) -> None:
    data = frame()
    data["y"] = data["y"] * 2
    seen = []
    for own in (data, dd.from_pandas(data, npartitions=3)):
        with pytest.raises(DataError) as caught:
            fitted(FORMULA, own, family="binomial")
        seen.append(str(caught.value))
    assert seen[0] == seen[1]


def test_a_worker_that_dies(client: Any) -> None:
    """Killed in the midst of a fit: its partitions are made again elsewhere, and the estimates are the same."""
    own = dd.from_pandas(frame(), npartitions=4)
    whole = fitted(FORMULA, own, family="binomial", method="pql")
    alike(killed_in_the_third(client, own), whole, 1e-10)
    wait_for_two(client)


def killed_in_the_third(client: Any, own: Any) -> Fit:
    """A fit in whose third iteration a worker is killed."""
    victims = client.run(os.getpid)
    killed = []

    def hook(iteration: int, value: float, change: float) -> None:
        if iteration == 3 and not killed:
            killed.append(victims[max(victims)])
            os.kill(killed[0], signal.SIGKILL)

    m = fitted(FORMULA, own, family="binomial", method="pql", progress=hook)
    assert killed
    return m


def wait_for_two(client: Any) -> None:
    """Whoever comes next finds two workers again."""
    for _ in range(100):
        if len(client.scheduler_info(n_workers=-1)["workers"]) == 2:
            break
        time.sleep(0.1)


def test_workers_eliminate_their_own_levels(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are dealt out by the largest factor; one worker is killed in the third iteration, with the effects that it has."""
    monkeypatch.setattr(dealing, "LITTLE", 0.0)
    data = frame()
    own = dd.from_pandas(data, npartitions=5)
    whole = fitted(FORMULA, own, family="binomial", method="pql")
    assert whole.problem.data.store.apart  # type: ignore[attr-defined]
    assert "were dealt out by it once" in whole.problem.data.told(1.0)
    alike(whole, fitted(FORMULA, data, family="binomial", method="pql"), 1e-8)
    alike(killed_in_the_third(client, own), whole, 1e-10)
    wait_for_two(client)


def test_without_a_client_rows_are_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise ValueError("No clients found")

    monkeypatch.setattr(distributed, "default_client", none)
    data = frame(500)
    m = fitted("z ~ f + (1 | h)", dd.from_pandas(data, npartitions=2))
    assert not stays(m)
    alike(m, fitted("z ~ f + (1 | h)", data), 1e-8)


def test_rows_are_scored(client: Any, tmp_path: Path) -> None:
    """What has a number for each row is written to a file, rows in the order of the data."""
    data = frame(400)
    m = fitted("z ~ x + f + (1 | g)", dd.from_pandas(data, npartitions=3))
    m.augment(out=str(tmp_path / "rows.parquet"))
    own = pd.read_parquet(tmp_path / "rows.parquet")
    theirs = fitted("z ~ x + f + (1 | g)", data).augment()
    np.testing.assert_allclose(own[".fitted"], theirs[".fitted"], rtol=1e-8)
