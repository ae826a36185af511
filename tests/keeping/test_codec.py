"""Values to plain values and back: every record that a fit is made of."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula.families import resolve, zero_inflated
from lmmformula.families.links import LINKS
from lmmformula.families.registry import FAMILIES
from lmmformula.formula import model_spec
from lmmformula.ir.covariance import KINDS
from lmmformula.ir.estimate import Status
from lmmformula.keeping.codec import Decoder, Encoder
from lmmformula.keeping.refusal import CodecError


def there_and_back(value: Any) -> Any:
    encode = Encoder()
    text = json.dumps(encode(value))
    return Decoder(encode.arrays)(json.loads(text))


VALUES = [
    None,
    True,
    -3,
    0.1 + 0.2,
    float("inf"),
    "τ ≠ 0",
    (1, (2, "a"), ()),
    [1, (2,), [3]],
    {"a": 1, 2: (3,), ("x", "y"): None},
    {1, 2},
    frozenset({"a"}),
    1 - 2j,
    b"\x00\xff",
    np.exp,
    Status.STALLED,
    *LINKS.values(),
    *(resolve(name) for name in FAMILIES),
    zero_inflated(resolve("poisson")),
    model_spec("log(y) ~ x * I(x^2) + (1 + x || g/h) + offset(-a)"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: str(getattr(value, "name", value)))
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    back = there_and_back(value)
    assert type(back) is type(value)
    assert back == value


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.__name__)
def test_every_covariance_kind_comes_back(kind: Any) -> None:
    assert there_and_back(kind(3)) == kind(3)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3).T,
        np.array([1, -1], dtype=np.int32),
        np.array([], dtype=np.float32),
        np.array(3.5),
        np.array([True, False]),
        np.array(["2024-01-01"], dtype="datetime64[D]"),
        np.array([["a", None], ["b", 2]], dtype=object),
        np.array(["a", "bc"]),
    ],
    ids=lambda array: str(array.dtype),
)
def test_arrays_come_back(array: np.ndarray) -> None:
    back = there_and_back(array)
    assert back.shape == array.shape
    assert back.dtype == (object if array.dtype.kind == "U" else array.dtype)
    np.testing.assert_array_equal(back, array)


def test_an_array_is_kept_once() -> None:
    encode, array = Encoder(), np.arange(3.0)
    encode((array, {"again": array}))
    assert len(encode.arrays) == 1


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1.5, 2.5], index=["a", "b"], name="w"),
        pd.Series(["x", None, "y"]),
        pd.Series(["x", "y", "x"], dtype="category"),
        pd.Series(pd.Categorical(["lo", "hi"], categories=["lo", "hi"], ordered=True), index=[4, 7]),
        pd.Series(pd.to_datetime(["2024-01-01", "2024-01-02"])),
    ],
    ids=lambda column: str(column.dtype),
)
def test_columns_of_pandas_come_back(column: pd.Series) -> None:
    pd.testing.assert_series_equal(there_and_back(column), column)
    frame = pd.DataFrame({"a": column, "b": np.arange(len(column))})
    pd.testing.assert_frame_equal(there_and_back(frame), frame)


def test_what_a_file_cannot_hold_is_named() -> None:
    with pytest.raises(CodecError, match=r"x\['f'\]\[1\] is a builtins\.function"):
        Encoder()({"f": (1, lambda: 0)}, "x")
    with pytest.raises(CodecError, match=r"enum\.EnumType, which a file cannot hold"):
        Encoder()(Status)


@pytest.mark.parametrize(
    "record",
    [
        {"class": ["os", "system", {}]},
        {"class": ["result.os", "system", {}]},
        {"class": ["errors", "FitError", {}]},
        {"class": ["ir.problem", "Nothing", {}]},
        {"class": ["ir.problem", "np", {}]},
        {"class": ["ir.estimate", "Convergence", {"unknown": 1}]},
        {"class": ["ir.estimate", "Convergence", {}]},
        {"class": ["..sub.process", "Popen", {}]},
        {"enum": ["ir.estimate", "Status", "GONE"]},
        {"enum": ["ir.problem", "Problem", "y"]},
        {"link": "gone"},
        {"ufunc": "load"},
        {"function": "eval"},
        {"pickle": "..."},
        {"list": [], "dict": []},
    ],
    ids=str,
)
def test_no_file_makes_anything_but_our_records(record: dict[str, Any]) -> None:
    with pytest.raises(CodecError):
        Decoder([])(record)
