"""Levels of rows that are read batch by batch, however many there are."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from batched import Batches, encoded, noted, same_block, same_term, source, streamed

from lmmformula.formula import model_spec
from lmmformula.frame import build
from lmmformula.frame.sources import open_source
from lmmformula.frame.streamed import learn
from lmmformula.frame.streamed.distinct import DistinctNumbers, Places


def many() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    n = 6000
    d = pd.DataFrame({"x": rng.normal(size=n), "who": [f"é{k % 7}-{k:d}" for k in rng.integers(0, 2900, n)]})
    d["f"] = rng.choice(["a", "b"], n)
    d["y"] = d.x + rng.normal(size=n)
    d["na"] = d.x.where(np.arange(n) % 5 != 3)
    d["id"] = 7 * pd.factorize(d.who)[0] - 100
    d["cat"] = pd.Categorical(
        d.who, list(dict.fromkeys([*d.who, *(f"never {j}" for j in range(99))])), ordered=True
    )
    d.loc[::100, ["who", "cat"]] = None
    return d


@pytest.mark.parametrize(
    "text", ["y ~ na + (1 | who)", "y ~ x + (x | who) + (1 | f:who)", "y ~ x + (1 | id)"]
)
def test_many_levels_are_numbers_until_they_are_looked_at(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts that are read as keys, and labels that are written when they are asked for."""
    monkeypatch.setattr("lmmformula.frame.streamed.coding.MANY", 500)
    monkeypatch.setattr("lmmformula.frame.streamed.texts.MANY", 500)
    data = many()
    over = source(data, 4500)
    options: dict[str, Any] = {"levels_below_rows": False}
    whole, said = noted(lambda: build(model_spec(text), data, **options))
    (problem, kept, parts), heard = noted(lambda: streamed(text, over, **options))
    assert heard == said
    for j, (own, term) in enumerate(zip(problem.terms, whole.terms, strict=True)):
        same_term(own, term, [part.terms[j] for part in parts], kept.terms[j])
    labels, wanted = problem.terms[0].levels, whole.terms[0].levels
    assert not isinstance(labels, np.ndarray)
    assert (len(labels), labels[3], labels[-1]) == (len(wanted), wanted[3], wanted[-1])
    for rows in (slice(5, 9), slice(9, 3, -2), np.array([4, 1, -1]), np.arange(len(wanted)) % 3 == 0):
        assert labels[rows].tolist() == wanted[rows].tolist()
    assert np.asarray(labels, dtype=object).tolist() == pickle.loads(pickle.dumps(labels)).tolist()
    new = data.iloc[:40]
    mine, theirs = problem.recipe.replay(new), whole.recipe.replay(new)
    np.testing.assert_array_equal(mine.terms[0][0].codes, theirs.terms[0][0].codes)


def test_texts_of_one_key_take_another_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    from lmmformula.frame.streamed import texts

    def poor(ends: Any, content: Any, seed: int) -> Any:
        keys, checks = good(ends, content, seed)
        return (keys % 100 if seed < 2 else keys), checks

    good = texts.text_keys
    monkeypatch.setattr(texts, "text_keys", poor)
    data = many()
    (problem, _, _), _ = noted(lambda: streamed("y ~ x + (1 | who)", source(data, 4500)))
    assert list(problem.terms[0].levels) == sorted(set(data.who.dropna()))


@pytest.mark.parametrize("spread", [3, 40_000, 10**12])
def test_distinct_numbers_and_their_places(spread: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marked in a table that grows to both sides, or sorted where they lie too far apart."""
    monkeypatch.setattr("lmmformula.frame.streamed.distinct._SMALL", 2000)
    rng = np.random.default_rng(5)
    parts = [rng.integers(-j * spread, (9 - j) * spread, 500).astype(np.int64) for j in range(9)]
    found = DistinctNumbers()
    for part in parts:
        found.add(part)
    wanted = np.array(sorted(set(np.concatenate(parts).tolist())))
    np.testing.assert_array_equal(found.values(), wanted)
    places = Places(wanted)
    np.testing.assert_array_equal(places.of(wanted[::-1]), np.arange(len(wanted))[::-1])
    assert places.of(np.array([wanted[-1] + 1, wanted[0], wanted[0] - 1])).tolist() == [-1, 0, -1]


def test_whole_numbers_of_any_width() -> None:
    for dtype in (np.int8, np.uint8, np.int16, np.uint64, np.float64):
        values = np.array([100, 3, 3, 7, 120], dtype=dtype)
        found = DistinctNumbers()
        found.add(values)
        assert Places(found.values()).of(values).tolist() == [2, 0, 0, 1, 3]
    large = np.array([2**64 - 1, 2**63, 5], dtype=np.uint64)
    found = DistinctNumbers()
    found.add(large)
    assert Places(found.values()).of(large).tolist() == [2, 1, 0]
    low = np.array([-128, 127, 0], dtype=np.int8)
    found = DistinctNumbers()
    found.add(low)
    assert Places(found.values()).of(low).tolist() == [0, 2, 1]


def test_files_whose_categories_differ(tmp_path: Path) -> None:
    """Levels in the order in which dictionaries have them, file after file, as a table of all files has them."""
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    rng = np.random.default_rng(8)
    for j, levels in enumerate((["b", "a"], ["c", "b", "never"], ["a", "d"])):
        frame = pd.DataFrame(
            {"y": rng.normal(size=60), "x": rng.normal(size=60), "g": rng.integers(0, 9, 60)}
        )
        frame["c"] = pd.Categorical(rng.choice([v for v in levels if v != "never"], 60), levels)
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), tmp_path / f"{j}.parquet")
    over = open_source(str(tmp_path / "*.parquet"))
    assert over is not None
    whole = build(model_spec("y ~ c * x + (1 | g) + (1 | c)"), ds.dataset(tmp_path).to_table())
    draft = learn(model_spec("y ~ c * x + (1 | g) + (1 | c)"), over)
    parts, seen = encoded(draft, cast("Batches", over))
    problem, kept = draft.finish(seen)
    assert problem.X.names[1:4] == ("ca", "cc", "cd")
    same_block(problem.X, whole.X, [part.fixed.matrix for part in parts], kept.fixed)
    for j, (own, term) in enumerate(zip(problem.terms, whole.terms, strict=True)):
        same_term(own, term, [part.terms[j] for part in parts], kept.terms[j])
