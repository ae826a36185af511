"""The data sets: every column has R's type, R's level order and R's sum."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from lmmformula.datasets import dataset_info, dataset_names, load_dataset
from lmmformula.errors import DataError

DTYPES = {
    "numeric": pd.api.types.is_float_dtype,
    "integer": pd.api.types.is_integer_dtype,
    "logical": pd.api.types.is_bool_dtype,
    "character": pd.api.types.is_string_dtype,
}

# Level lists that the metadata gives as a rule: how many, and a digest of R's list joined by newlines.
LONG_LEVELS = [
    ("cake", "replicate", 15, "71ad76c676dfc768"),
    ("InstEval", "s", 2972, "1308b1552ad5fa3f"),
    ("InstEval", "d", 1128, "faa0615fabc504a2"),
    ("VerbAgg", "id", 316, "e36b577fdedaa8d9"),
    ("cbpp", "herd", 15, "71ad76c676dfc768"),
    ("grouseticks", "INDEX", 403, "a057b59d116520ff"),
    ("grouseticks", "BROOD", 118, "0aac4c6c0e6c4faf"),
    ("grouseticks", "LOCATION", 63, "23d0ee4845409ad1"),
    ("Oxboys", "Occasion", 9, "4590e824e464c790"),
    ("bdf", "pupilNR", 2287, "2021e8d70eb06c59"),
    ("syn", "item", 20, "7747a514fec0c8bb"),
    ("syn", "obs", 240, "33a603bce33a6cfb"),
]


@pytest.mark.parametrize("name", dataset_names())
def test_columns_are_as_in_r(name: str) -> None:
    info, frame = dataset_info(name), load_dataset(name)
    assert len(frame) == info.rows
    assert list(frame.columns) == [column.name for column in info.columns]
    for column in info.columns:
        values = frame[column.name]
        assert int(np.count_nonzero(values.isna())) == column.missing, column.name
        if column.type in ("factor", "ordered"):
            assert values.cat.ordered == (column.type == "ordered"), column.name
            if column.levels is not None:
                assert tuple(values.cat.categories) == column.levels, column.name
        else:
            assert DTYPES[column.type](values.dtype), (column.name, values.dtype)
        if column.sum is not None:
            total = np.nansum(values.to_numpy(dtype=float, na_value=np.nan))
            assert total == pytest.approx(column.sum, rel=1e-12), column.name


@pytest.mark.parametrize(("name", "column", "count", "digest"), LONG_LEVELS)
def test_long_level_lists_are_r_s(name: str, column: str, count: int, digest: str) -> None:
    levels = list(load_dataset(name)[column].cat.categories)
    assert len(levels) == count
    assert hashlib.sha256("\n".join(levels).encode()).hexdigest()[:16] == digest


def test_every_numeric_column_has_a_sum_to_compare() -> None:
    columns = [c for name in dataset_names() for c in dataset_info(name).columns]
    assert all(c.sum is not None for c in columns if c.type in ("numeric", "integer"))


def test_a_data_set_is_loaded_anew_each_time() -> None:
    first = load_dataset("sleepstudy")
    first.loc[0, "Reaction"] = 0.0
    assert load_dataset("sleepstudy")["Reaction"].iloc[0] == 249.56


@pytest.mark.parametrize(("wrong", "near"), [("sleep", "sleepstudy"), ("insteval", "InstEval")])
def test_unknown_name_lists_near_names(wrong: str, near: str) -> None:
    for ask in (load_dataset, dataset_info):
        with pytest.raises(DataError, match=f"no data set '{wrong}'.*{near}"):
            ask(wrong)


def test_unknown_name_without_near_names() -> None:
    with pytest.raises(DataError, match=r"no data set 'qqqqqq'\. dataset_names\(\) lists all"):
        load_dataset("qqqqqq")


def test_module_does_not_import_pandas() -> None:
    code = "import sys, lmmformula.datasets as d; d.dataset_info('syn'); sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
