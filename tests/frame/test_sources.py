"""Rows that are read a batch at a time are those of the table read as a whole."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula.errors import DataError
from lmmformula.frame.sources import Source, open_source, table_of
from lmmformula.frame.table import open_table
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


KINDS: dict[str, Callable[[Path, pd.DataFrame, list[Path]], Any]] = {
    "glob": lambda folder, whole, paths: str(folder / "*.parquet"),
    "folder": lambda folder, whole, paths: folder,
    "list": lambda folder, whole, paths: [str(path) for path in paths],
    "dataset": lambda folder, whole, paths: ds.dataset(folder),
    "dataset with a filter": lambda folder, whole, paths: ds.dataset(folder).filter(ds.field("x.1") >= 0),
    "dataset in memory": lambda folder, whole, paths: ds.dataset(pa.Table.from_pandas(whole)),
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
