"""Rows that are read a batch at a time are those of the table read as a whole."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula.errors import DataError
from lmmformula.frame.opening import open_data
from lmmformula.frame.sources import Source, open_source, register_source, registry, table_of
from lmmformula.frame.sources.memory import rows_in_memory
from lmmformula.frame.sources.sampling import sampled
from lmmformula.frame.sources.steady import CopiedRows, SteadyRows
from lmmformula.frame.table import Table, open_table
from lmmformula.frame.values import Factor, labels_of

pa = pytest.importorskip("pyarrow")
ds = pytest.importorskip("pyarrow.dataset")
pq = pytest.importorskip("pyarrow.parquet")

NAMES = ("y", "x.1", "n", "g", "my var", "c")


def table(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    out = pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x.1": rng.integers(0, 9, n),
            "n": pd.array(rng.integers(0, 2**60, n), dtype="Int64"),
            "g": rng.choice(["b", "a", "Z", "é"], n),
            "my var": rng.normal(size=n) > 0,
            "c": pd.Categorical(rng.choice(["v", "u"], n), categories=["v", "unused", "u"]),
        }
    )
    out.loc[::7, "y"] = np.nan
    out.loc[::5, "n"] = pd.NA
    out.loc[::11, "g"] = None
    return out


def written(folder: Path) -> tuple[pd.DataFrame, list[Path]]:
    """Three files with row groups of 700 rows in a folder, and what is in them."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = [table(n, seed) for seed, n in enumerate((1500, 900, 2000))]
    paths = [folder / f"part-{k}.parquet" for k in range(3)]
    for one, path in zip(tables, paths, strict=True):
        one.to_parquet(path, index=False, row_group_size=700)
    return pd.concat(tables, ignore_index=True), paths


def opened(data: Any) -> Source:
    source = open_source(data)
    assert source is not None
    return source


def read(source: Source, names: Any = None, part: int | None = None) -> Any:
    batches = list(source.batches(source.names if names is None else names, part))
    return pa.Table.from_batches(batches)


def entries(data: Any, name: str) -> list[Any]:
    """Entries of a column as a table has them: numbers, or labels; None where it is missing."""
    column = open_table(data).column(name)
    values = column.at(None)
    found = labels_of(values) if isinstance(values, Factor) else values
    missing = np.zeros(len(found), dtype=bool) if column.missing is None else column.missing
    return [None if gone else item for item, gone in zip(found.tolist(), missing.tolist(), strict=True)]


CONNECTIONS: list[Any] = []
"""Relations of DuckDB 1 do not hold theirs."""


def connected() -> Any:
    CONNECTIONS[:] = [pytest.importorskip("duckdb").connect()]
    return CONNECTIONS[0]


def relation(folder: Path, whole: pd.DataFrame, paths: list[Path]) -> Any:
    connection = connected()
    connection.register("arrow", pa.Table.from_pandas(whole.astype({"c": str})))
    connection.execute("CREATE TYPE c AS ENUM ('v', 'unused', 'u')")
    connection.execute("CREATE TABLE ratings AS SELECT * REPLACE (c::c AS c) FROM arrow")
    return connection.table("ratings")


def lazyframe(folder: Path, whole: pd.DataFrame, paths: list[Path]) -> Any:
    pl = pytest.importorskip("polars")
    kind = pl.Enum(["v", "unused", "u"])
    return (
        pl.from_arrow(pa.Table.from_pandas(whole.astype({"c": str})))
        .lazy()
        .with_columns(pl.col("c").cast(kind))
    )


def partitions(folder: Path, whole: pd.DataFrame, paths: list[Path]) -> Any:
    dd = pytest.importorskip("dask.dataframe")
    return dd.from_pandas(whole, npartitions=5, sort=False)


KINDS: dict[str, Callable[[Path, pd.DataFrame, list[Path]], Any]] = {
    "glob": lambda folder, whole, paths: str(folder / "*.parquet"),
    "folder": lambda folder, whole, paths: folder,
    "list": lambda folder, whole, paths: [str(path) for path in paths],
    "dataset": lambda folder, whole, paths: ds.dataset(folder),
    "dataset with a filter": lambda folder, whole, paths: ds.dataset(folder).filter(ds.field("x.1") >= 0),
    "dataset in memory": lambda folder, whole, paths: ds.dataset(pa.Table.from_pandas(whole)),
    "relation": relation,
    "lazy frame": lazyframe,
    "partitions": partitions,
}


@pytest.fixture(params=list(KINDS))
def source(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Source, pd.DataFrame]:
    whole, paths = written(tmp_path / "ratings")
    return opened(KINDS[request.param](tmp_path / "ratings", whole, paths)), whole


def test_all_rows_in_order(source: tuple[Source, pd.DataFrame]) -> None:
    rows, whole = source
    assert rows.names == NAMES
    assert rows.n_rows in (None, len(whole))
    for name in NAMES:
        assert entries(read(rows, [name]), name) == entries(whole, name)


def test_the_same_rows_at_every_pass(source: tuple[Source, pd.DataFrame]) -> None:
    rows, _ = source
    assert read(rows).equals(read(rows))
    rows.unchanged()


def test_parts_below_each_other_are_the_whole(source: tuple[Source, pd.DataFrame]) -> None:
    rows, whole = source
    apart = pa.concat_tables([read(rows, ["y", "g"], part) for part in range(rows.parts)])
    assert apart.equals(read(rows, ["y", "g"]))
    assert len(apart) == len(whole)


def test_columns_come_as_they_are_asked_for(source: tuple[Source, pd.DataFrame]) -> None:
    rows, _ = source
    assert read(rows, ["g", "y"]).column_names == ["g", "y"]
    assert sum(batch.num_rows for batch in rows.batches([])) == 4400


def test_a_batch_is_read_as_a_table_in_memory_is(source: tuple[Source, pd.DataFrame]) -> None:
    rows, whole = source
    (batch,) = rows.batches(NAMES)
    got, expected = table_of(batch), open_table(whole)
    for name in NAMES:
        ours, theirs = got.column(name).values, expected.column(name).values
        if isinstance(ours, Factor):
            assert isinstance(theirs, Factor)
            assert (ours.kind, ours.levels.tolist()) == (theirs.kind, theirs.levels.tolist())
            np.testing.assert_array_equal(ours.codes, theirs.codes)
        else:
            assert isinstance(theirs, np.ndarray)
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_equal(got.column(name).missing, expected.column(name).missing)


def test_an_unknown_column_is_refused_before_anything_is_read(source: tuple[Source, pd.DataFrame]) -> None:
    rows, _ = source
    with pytest.raises(
        DataError, match=r"no column `gg` in the data \(did you mean `g`\?\); columns: y, x.1"
    ):
        rows.batches(["y", "gg"])


def test_large_batches_are_cut_and_small_ones_gathered(tmp_path: Path) -> None:
    n = 300_000
    pq.write_table(pa.table({"x": np.arange(n)}), tmp_path / "a.parquet", row_group_size=1000)
    pq.write_table(pa.table({"x": np.arange(n)}), tmp_path / "b.parquet", row_group_size=n)
    batches = list(opened(tmp_path).batches(["x"]))
    assert [batch.num_rows for batch in batches] == [131_072] * 4 + [2 * n - 4 * 131_072]
    np.testing.assert_array_equal(
        np.concatenate([batch.column("x").to_numpy() for batch in batches]), np.tile(np.arange(n), 2)
    )


def test_files_can_be_sent_elsewhere(tmp_path: Path) -> None:
    whole, _ = written(tmp_path)
    there = pickle.loads(pickle.dumps(opened(tmp_path)))
    assert (there.n_rows, there.parts) == (len(whole), 8)
    assert read(there).equals(read(opened(tmp_path)))


def test_keys_of_folders_are_columns(tmp_path: Path) -> None:
    whole = []
    for year, client in (("2024", "b"), ("2023", "a b"), ("2023", "__HIVE_DEFAULT_PARTITION__")):
        folder = tmp_path / "k=9" / "ratings" / f"year={year}" / f"client={client.replace(' ', '%20')}"
        folder.mkdir(parents=True)
        one = table(50, int(year) + len(client))[["y", "g"]]
        one.to_parquet(folder / "part.parquet", index=False)
        whole.append(one.assign(year=int(year), client=None if client.startswith("_") else client))
    expected = pd.concat([whole[2], whole[1], whole[0]], ignore_index=True)
    root = tmp_path / "k=9" / "ratings"
    for data in (
        root,
        str(root / "**" / "*.parquet"),
        str(root / "year=*"),
        [root / "year=2023", root / "year=2024"],
    ):
        source = opened(data)
        assert source.names == ("y", "g", "year", "client")
        got = read(source)
        for name in source.names:
            assert entries(got, name) == entries(expected, name)
        assert read(source, ["client"]).column_names == ["client"]


def test_a_column_of_the_file_has_the_right_of_way_over_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "year=2023"
    folder.mkdir()
    pq.write_table(pa.table({"year": ["'23", "'23"]}), folder / "a.parquet")
    assert read(opened(tmp_path)).to_pydict() == {"year": ["'23", "'23"]}


def test_hidden_files_are_none_of_the_data(tmp_path: Path) -> None:
    whole, _ = written(tmp_path)
    for name in ("_SUCCESS", "_metadata", ".part-0.parquet.crc", "_temporary.parquet"):
        (tmp_path / name).write_bytes(b"")
    for data in (tmp_path, tmp_path / "*"):
        assert opened(data).n_rows == len(whole)


def test_only_the_columns_asked_for_are_decoded(tmp_path: Path) -> None:
    """The pages of one column are overwritten; the others can still be read."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": np.arange(5000), "z": np.random.default_rng(1).normal(size=5000)}), path)
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(1)
    at = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[at : at + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)
    source = opened([path])
    assert read(source, ["x"]).column("x").to_pylist() == list(range(5000))
    with pytest.raises(
        DataError, match=r"cannot read .*a\.parquet: it is no Parquet, was cut off, or is damaged"
    ):
        read(source, ["z"])


def test_one_file_is_read_as_a_whole_unless_it_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (path, *_) = written(tmp_path)
    assert open_source(str(path)) is None
    monkeypatch.setattr("lmmformula.frame.sources.paths.available_memory", lambda: 100_000)
    assert opened(str(path)).n_rows == 1500


@pytest.mark.parametrize(
    "data", ["sleepstudy", "no/such.csv", "a.parquet", pd.DataFrame({"x": [1]}), {"x": [1]}, [1.0], []]
)
def test_other_data_are_left_alone(data: Any) -> None:
    assert open_source(data) is None


def pair(folder: Path, a: Any, b: Any) -> Source:
    pq.write_table(pa.table({"y": [1.0, 2.0], "g": a}), folder / "a.parquet")
    pq.write_table(pa.table({"y": [3.0, 4.0], "g": b}), folder / "b.parquet")
    return opened(folder)


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (["01", "02"], [1, 2], r"text in .*a\.parquet and whole numbers \(int64\) in .*b\.parquet"),
        ([1.5, 2.0], ["1.5", "2"], r"numbers \(double\) in .*a\.parquet and text in .*b\.parquet"),
        ([True, False], [1, 0], r"true or false in .*a\.parquet and whole numbers"),
        (["u", "v"], pd.Categorical(["u", "v"]), r"text in .* and categories of text in"),
    ],
)
def test_a_column_of_two_types_is_named_with_its_files(tmp_path: Path, a: Any, b: Any, words: str) -> None:
    source = pair(tmp_path, a, b)
    assert read(source, ["y"]).column("y").to_pylist() == [1.0, 2.0, 3.0, 4.0]
    for ask in (source.batches, source.size):
        with pytest.raises(DataError, match=f"column `g` is {words}"):
            ask(["g"])


def test_a_column_that_a_file_lacks_is_named_with_that_file(tmp_path: Path) -> None:
    source = pair(tmp_path, ["u", "v"], ["u", "v"])
    pq.write_table(pa.table({"y": [5.0]}), tmp_path / "c.parquet")
    source = opened(tmp_path)
    assert source.n_rows == 5
    with pytest.raises(DataError, match=r"column `g` is in .*a\.parquet and not in .*c\.parquet"):
        source.batches(["g"])


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.array([1, 2], np.int32), [3, 2**60]),
        ([1, 2], [3.5, None]),
        (pa.array([None, None]), ["u", "v"]),
        (
            pd.Categorical(["u", "v"]),
            pd.Categorical([f"l{k}" for k in range(200)][:2], [f"l{k}" for k in range(200)]),
        ),
        (pa.array(["u", "v"], pa.large_string()), ["v", None]),
    ],
)
def test_types_that_hold_the_same_values_are_one_column(tmp_path: Path, a: Any, b: Any) -> None:
    source = pair(tmp_path, a, b)
    got = read(source, ["g"]).column("g")
    assert got.to_pylist() == pa.array(a).to_pylist() + pa.array(b).to_pylist()


def test_whole_numbers_are_not_merged_by_decimals(tmp_path: Path) -> None:
    source = pair(tmp_path, [2**60 + 1, 2**60 + 2], [0.5, 1.0])
    with pytest.raises(
        DataError,
        match=r"column `g` is whole numbers \(int64\) in .*a\.parquet and numbers \(double\) beside",
    ):
        read(source, ["g"])


def test_what_is_no_parquet_is_named(tmp_path: Path) -> None:
    _, paths = written(tmp_path)
    content = paths[1].read_bytes()
    for wrong in (b"", content[: len(content) // 2], b"y,g\n1,a\n"):
        paths[1].write_bytes(wrong)
        with pytest.raises(
            DataError, match=r"cannot read .*part-1\.parquet: it is no Parquet, was cut off, or is damaged"
        ):
            open_source(tmp_path)


def test_a_file_cut_off_in_the_midst_of_a_pass(tmp_path: Path) -> None:
    _, paths = written(tmp_path)
    source = opened(tmp_path)
    paths[1].write_bytes(paths[1].read_bytes()[:2000])
    with pytest.raises(DataError, match=r"part-1\.parquet was written to .* bytes then, 2,000 now"):
        read(source, ["y", "n"])


def test_whoever_stops_early_leaves_no_thread(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": np.arange(600_000)}), tmp_path / "a.parquet")
    batches = opened(tmp_path).batches(["x"])
    assert next(batches).num_rows == 131_072
    assert any(thread.name == "lmmformula rows" for thread in threading.enumerate())
    batches.close()  # type: ignore[attr-defined]
    assert not any(thread.name == "lmmformula rows" for thread in threading.enumerate())


def test_no_files_and_no_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file matches .*\*\.parquet"):
        open_source(str(tmp_path / "*.parquet"))
    with pytest.raises(DataError, match=r"no file matches .*: there is no folder .*none"):
        open_source(str(tmp_path / "none" / "*.parquet"))
    with pytest.raises(DataError, match=r"the folder .* holds no Parquet files: it is empty"):
        open_source(tmp_path)
    (tmp_path / "a.csv").write_text("y\n1\n")
    with pytest.raises(DataError, match=r"holds no Parquet files .* but 1 \.csv"):
        open_source(tmp_path)
    pq.write_table(pa.table({"y": pa.array([], pa.float64())}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="has no rows"):
        open_source(tmp_path)
    with pytest.raises(DataError, match=r"no such file: .*b\.parquet"):
        open_source([tmp_path / "a.parquet", tmp_path / "b.parquet"])


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="rights of this system are others")
def test_no_right_to_read(tmp_path: Path) -> None:
    _, paths = written(tmp_path)
    opened(tmp_path)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == paths[0].owner() and folder != Path("/tmp"):
            folder.chmod(0o755)
        if folder.parent == Path("/tmp"):
            break
    paths[2].chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        with pytest.raises(DataError, match=r"cannot read .*part-2\.parquet: you have no right to read it"):
            open_source(tmp_path)
    finally:
        if is_root:
            os.seteuid(0)


def test_files_that_change_are_found_out(tmp_path: Path) -> None:
    whole, paths = written(tmp_path)
    source = opened(tmp_path)
    os.utime(paths[0])
    with pytest.raises(
        DataError, match=r"part-0\.parquet was written to while its rows were in use \(at another time\)"
    ):
        source.unchanged()
    source = opened(tmp_path)
    whole.to_parquet(paths[1])
    with pytest.raises(DataError, match=r"part-1\.parquet was written to .* bytes then, .* now"):
        source.unchanged()
    source = opened(tmp_path)
    paths[2].unlink()
    with pytest.raises(DataError, match=r"part-2\.parquet is no longer there"):
        source.unchanged()
    with pytest.raises(DataError, match=r"part-2\.parquet is no longer there"):
        read(source, ["y"])


@pytest.mark.parametrize("nested", [[[1], [2]], [{"a": 1}, {"a": 2}]])
def test_nested_columns_are_refused_when_used(tmp_path: Path, nested: Any) -> None:
    source = pair(tmp_path, nested, nested)
    assert (source.size(["g"]) or 0) > 0
    (batch,) = source.batches(["y", "g"])
    with pytest.raises(DataError, match=r"column `g` has type .*, which has no coding in a model"):
        table_of(batch).column("g")


def test_a_query_without_an_order_is_read_from_a_copy() -> None:
    """Joins and aggregations give their rows as threads finish; from the copy they come alike at every pass."""
    connection = connected()
    connection.execute("SET threads = 4")
    connection.execute("CREATE TABLE t AS SELECT i, i % 200_000 AS g FROM range(400_000) r(i)")
    grouped = connection.sql("SELECT g, sum(i)::BIGINT AS s, count(*) AS n FROM t GROUP BY g")
    source = opened(grouped)
    assert isinstance(source, CopiedRows)
    first = read(source, ["g", "s"])
    assert source.n_rows == 200_000
    assert first.equals(read(source, ["g", "s"]))
    assert first.column("s").equals(read(source, ["s"], 0).column("s"))
    g = first.column("g").to_numpy()
    np.testing.assert_array_equal(np.sort(g), np.arange(200_000))
    np.testing.assert_array_equal(first.column("s").to_numpy(), 2 * g + 200_000)
    copy = source._copy
    assert copy is not None
    path = Path(copy.files[0].path)
    assert path.exists()
    del source
    gc.collect()
    assert not path.parent.exists()


def test_a_lazy_frame_without_an_order_is_read_from_a_copy() -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {"i": range(3000), "c": pl.Series(["a", "b", None] * 1000, dtype=pl.Categorical)}
    ).lazy()
    source = opened(frame.group_by("i").agg(pl.col("c").first()))
    assert isinstance(source, CopiedRows)
    first = read(source)
    assert first.equals(read(source))
    assert sorted(first.column("i").to_pylist()) == list(range(3000))
    assert first.schema.field("c").type == pa.large_string()
    there = pickle.loads(pickle.dumps(source))
    assert sorted(read(there, ["i"]).column("i").to_pylist()) == list(range(3000))


def test_names_that_need_quotes() -> None:
    connection = connected()
    connection.execute('CREATE TABLE t AS SELECT 1 AS "a""b", 2 AS "x.y", 3 AS "select", 4 AS "sum(1)"')
    source = opened(connection.table("t"))
    assert read(source).to_pydict() == {'a"b': [1], "x.y": [2], "select": [3], "sum(1)": [4]}
    assert read(source, ["sum(1)", "x.y"]).to_pydict() == {"sum(1)": [4], "x.y": [2]}


def test_order_of_a_connection_that_does_not_keep_it() -> None:
    connection = connected()
    connection.execute("CREATE TABLE t AS SELECT range AS i FROM range(1000)")
    assert isinstance(opened(connection.table("t")), SteadyRows)
    connection.execute("SET preserve_insertion_order = false")
    assert isinstance(opened(connection.table("t")), CopiedRows)
    assert connection.sql("SELECT count(*) FROM duckdb_views() WHERE NOT internal").fetchall() == [(0,)]


def changing_relation() -> Any:
    return connected().sql("SELECT random() AS x FROM range(100)")


def changing_lazyframe() -> Any:
    pl = pytest.importorskip("polars")
    return pl.LazyFrame({"x": range(100)}).map_batches(lambda frame: frame.sample(fraction=1.0, shuffle=True))


def changing_partitions() -> Any:
    dd = pytest.importorskip("dask.dataframe")
    frame = dd.from_pandas(pd.DataFrame({"x": np.arange(100.0)}), npartitions=2)
    return frame.map_partitions(lambda part: part.sample(frac=1.0))


@pytest.mark.parametrize("make", [changing_relation, changing_lazyframe, changing_partitions])
def test_rows_that_change_from_pass_to_pass_are_found_out(make: Callable[[], Any]) -> None:
    source = opened(make())
    read(source, ["x"])
    with pytest.raises(
        DataError, match=r"does not give the same rows in the same order at every pass \(column `x`"
    ):
        read(source, ["x"])


def test_rows_that_become_fewer_are_found_out() -> None:
    connection = connected()
    connection.execute("CREATE TABLE t AS SELECT range AS i FROM range(1000)")
    source = opened(connection.table("t"))
    read(source)
    connection.execute("DELETE FROM t WHERE i > 900")
    with pytest.raises(
        DataError, match=r"a DuckDB query does not give the same rows .*(column `i`|1,000 rows then, 901 now)"
    ):
        read(source)
    connection.execute("DROP TABLE t")
    with pytest.raises(DataError, match=r"DuckDB cannot run the query: .*t"):
        read(source)


def test_only_columns_asked_for_are_made() -> None:
    """The others raise an error when they are."""
    pl, dd = (pytest.importorskip(name) for name in ("polars", "dask.dataframe"))
    wrong = connected().sql("SELECT range AS x, CAST('a' || range AS INTEGER) AS z FROM range(10)")
    frame = pl.LazyFrame({"x": range(10)}).with_columns(z=("a" + pl.col("x").cast(pl.String)).cast(pl.Int64))
    parts = dd.from_pandas(pd.DataFrame({"x": np.arange(10), "t": ["a"] * 10}), npartitions=2)
    parts = parts.assign(z=parts.t.astype("int64"))
    for data, words in (
        (wrong, "DuckDB cannot run the query: .*Could not convert"),
        (frame, "polars cannot run the LazyFrame: .*conversion"),
        (parts, r"Dask cannot make partition 0 of 2: \w+: "),
    ):
        source = opened(data)
        assert read(source, ["x"]).column("x").to_pylist() == list(range(10))
        with pytest.raises(DataError, match=f"(?s){words}"):
            read(source, ["x", "z"])


def test_partitions_of_different_types() -> None:
    dd = pytest.importorskip("dask.dataframe")
    tables = [pd.DataFrame({"g": ["01"], "x": [1]}), pd.DataFrame({"g": [1], "x": [2]})]
    source = opened(dd.from_map(lambda k: tables[k], [0, 1], meta=tables[0]))
    assert read(source, ["x"]).column("x").to_pylist() == [1, 2]
    with pytest.raises(
        DataError, match=r"column `g` is whole numbers \(int64\) in partition 1 and text by what Dask says"
    ):
        read(source, ["g"])


def test_categories_that_dask_has_not_seen() -> None:
    dd = pytest.importorskip("dask.dataframe")
    frame = pd.DataFrame({"g": ["b", "a", None, "c"], "x": [1, 2, 3, 4]})
    source = opened(
        dd.from_pandas(frame, npartitions=2, sort=False).assign(g=lambda d: d.g.astype("category"))
    )
    assert entries(read(source, ["g"]), "g") == ["b", "a", None, "c"]


def test_partitions_come_from_the_client_of_the_user() -> None:
    distributed, dd = (pytest.importorskip(name) for name in ("distributed", "dask.dataframe"))
    frame = dd.from_pandas(pd.DataFrame({"x": np.arange(100)}), npartitions=3).map_partitions(
        lambda part: part.assign(where=type(distributed.get_worker()).__name__),
        meta=pd.DataFrame({"x": [1], "where": pd.array(["a"], dtype="string[pyarrow]")}),
    )
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    )
    with cluster, distributed.Client(cluster):
        got = read(opened(frame))
    assert set(got.column("where").to_pylist()) == {"Worker"}
    assert got.column("x").to_pylist() == list(range(100))


def test_a_connection_is_not_a_table() -> None:
    duckdb = pytest.importorskip("duckdb")
    with pytest.raises(DataError, match=r"data is a connection of DuckDB: pass one of its relations"):
        open_source(duckdb.connect())


@pytest.mark.parametrize(
    "kind", [one for one in ("string", "large_string", "string_view") if hasattr(pa, one)]
)
def test_text_of_all_kinds(kind: str) -> None:
    text = ["é", None, "z", "", "\U0001f600", "Z", "z", "\uffff"]
    batch = pa.record_batch([pa.array(text, getattr(pa, kind)())], ["g"])
    factor = table_of(batch).column("g").values
    assert isinstance(factor, Factor)
    assert factor.kind == "text"
    assert factor.levels.tolist() == sorted({one for one in text if one is not None})
    assert labels_of(factor).tolist() == text


def test_text_that_is_not_unicode() -> None:
    column = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")]
    )
    with pytest.raises(DataError, match="column `g` holds text that is not Unicode"):
        table_of(pa.record_batch([column], ["g"])).column("g")


@pytest.mark.parametrize("rows", [1, 7, 10_000])
def test_a_table_in_memory_in_batches_of_any_size(rows: int) -> None:
    whole = table(100, 1)
    source = rows_in_memory(whole, rows)
    assert (source.parts, source.n_rows) == (-(-100 // rows), 100)
    for name in NAMES:
        assert entries(read(source, [name]), name) == entries(whole, name)
    assert sum(len(read(source, ["y"], part)) for part in range(source.parts)) == 100
    assert [batch.num_rows for batch in source.batches([])] == [
        batch.num_rows for batch in source.batches(["y"])
    ]


def test_another_kind_comes_in_by_one_door(monkeypatch: pytest.MonkeyPatch) -> None:
    class Numbers:
        def __init__(self, n: int) -> None:
            self.n = n

    monkeypatch.setattr(registry, "_KINDS", list(registry._KINDS))
    assert open_source(Numbers(3)) is None
    register_source(
        "numbers",
        lambda data: isinstance(data, Numbers),
        lambda data: rows_in_memory({"x": list(range(data.n))}),
    )
    assert read(opened(Numbers(3))).to_pydict() == {"x": [0, 1, 2]}


def test_tables_in_memory_ask_for_no_other_package() -> None:
    code = (
        "import sys, pandas as pd; from lmmformula.frame.sources import open_source; open_source(pd.DataFrame({'x': [1]})); "
        "open_source('sleepstudy'); open_source('a.csv'); "
        "others = ('pyarrow.dataset', 'pyarrow.parquet', 'duckdb', 'polars', 'dask', 'distributed'); "
        "print([m for m in others if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_column_called_batches_makes_no_source() -> None:
    data = open_data(pd.DataFrame({"batches": [1, 2]}))
    assert isinstance(data, Table)
    assert isinstance(open_data(connected().sql("SELECT 1 AS batches")), SteadyRows)


@pytest.mark.parametrize("size", [1, 7, 4400])
def test_a_sample_does_not_depend_on_batches(size: int) -> None:
    whole = table(4400, 3).assign(row=np.arange(4400))
    source = rows_in_memory(whole, size)
    got = sampled(source, ["row", "g", "c"], 50, seed=1)
    rows = got.column("row").to_numpy()
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, np.sort(np.argsort(np.random.default_rng(1).random(4400))[:50]))
    assert entries(got, "g") == entries(whole.iloc[rows], "g")
    assert entries(got, "c") == entries(whole.iloc[rows], "c")


def test_samples_of_all_rows_and_more() -> None:
    source = rows_in_memory({"x": list(range(100))}, 9)
    for rows in (100, 1000):
        assert sampled(source, ["x"], rows, seed=1).column("x").to_pylist() == list(range(100))
    with pytest.raises(DataError, match="a table has no rows"):
        sampled(rows_in_memory({"x": []}), ["x"], 5, seed=1)


def test_every_row_is_as_likely_to_be_drawn() -> None:
    """Counts of 300 samples of 5 in 50 rows: chi-square of 49 degrees of freedom times .9, as none is drawn twice."""
    source = rows_in_memory({"x": list(range(50))}, 13)
    rng = np.random.default_rng(11)
    drawn = np.concatenate([sampled(source, ["x"], 5, rng).column("x").to_numpy() for _ in range(300)])
    counts = np.bincount(drawn, minlength=50)
    assert counts.sum() == 1500
    statistic = ((counts - 30.0) ** 2 / 30.0).sum() / 0.9
    assert 25.0 < statistic < 85.0  # the .1% points of both tails are 23.98 and 85.35
