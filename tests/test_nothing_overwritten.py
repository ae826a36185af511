"""A fit stays what it is: later changes of the caller's data do not reach it, and its results cannot be overwritten."""

from __future__ import annotations

import copy
import inspect
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kinds_of_fit import KINDS, rows

from lmmformula import DataError, Fit, LmmformulaError, build, compare_methods, fit

COSTLY = frozenset(("bootstrap", "profile", "extend", "refit", "update", "naivete"))
COSTLY |= {"kfold", "cross_validate", "allfit", "step", "drop1", "ranova", "caic", "permutation_test"}
"""Other fits."""
OUTSIDE = frozenset(
    (
        "plot",
        "plot_naivete",
        "pp_check",
        "save",
        "summary",
        "to_marginaleffects",
        "to_maketables",
        "to_datatree",
    )
)
"""Views, files, and objects of other packages."""
RECORDS = frozenset(("backend", "optimum", "plan", "point", "recall", "standard", "twin", "priors"))
"""How the fit was made; none of a result's numbers live there alone."""
INNER = frozenset(("recipe", "labels", "family", "covariance", "laplace", "states", "priors"))
"""Fields of records that hold no results."""
SEEDED = {"residuals": {"kind": "quantile", "seed": 1}, "simulate": {"seed": 1}}
SEEDED |= {"simulated_residuals": {"seed": 1, "n": 20}, "check": {"seed": 1, "n": 20}}


def accessors() -> list[str]:
    """Every public name of a fit that gives a result without an argument."""
    out = []
    for name in dir(Fit):
        if name.startswith("_") or name in COSTLY | OUTSIDE | RECORDS:
            continue
        member = inspect.getattr_static(Fit, name)
        if inspect.isfunction(member):
            needed = [
                p for p in list(inspect.signature(member).parameters.values())[1:] if p.default is p.empty
            ]
            if any(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in needed):
                continue
        out.append(name)
    return [*out, "problem", "estimate"]


def result(m: Fit, name: str) -> Any:
    """What the accessor gives; a refusal of this package is a result too."""
    value = getattr(m, name)
    if not callable(value):
        return value
    try:
        return value(**SEEDED.get(name, {}))
    except LmmformulaError as error:
        return str(error)


def is_record(value: Any) -> bool:
    """The canonical form, estimates and draws, whose arrays are looked into."""
    module = type(value).__module__
    if not hasattr(value, "__dataclass_fields__"):
        return False
    return module.startswith("lmmformula.ir.") or module == "lmmformula.backends.posterior.record"


def frozen_copy(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def same(a: Any, b: Any) -> bool:
    if isinstance(a, pd.DataFrame):
        return a.equals(b) and a.index.names == b.index.names
    if isinstance(a, pd.Series | pd.Index):
        return a.equals(b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    if is_record(a):
        return all(same(getattr(a, f), getattr(b, f)) for f in a.__dataclass_fields__ if f not in INNER)
    if isinstance(a, float):
        return a == b or (a != a and b != b)
    return type(a) is type(b) if hasattr(a, "__dataclass_fields__") else a == b


def spoil(value: Any) -> None:
    """Overwrite whatever can be overwritten in a result."""
    if isinstance(value, pd.Series | pd.DataFrame):
        value.index.name = "spoilt"
        for part in [value] if isinstance(value, pd.Series) else [value[c] for c in value]:
            with suppress(ValueError):
                np.asarray(part.to_numpy(copy=False))[...] = 0
        value.iloc[:] = value.iloc[::-1].to_numpy()
        if not len(value):
            return
        value.loc["more"] = 0.0 if isinstance(value, pd.Series) else value.iloc[0]
    elif isinstance(value, np.ndarray):
        with suppress(ValueError):
            value[...] = 0
    elif isinstance(value, dict):
        for item in value.values():
            spoil(item)
        value.clear()
    elif isinstance(value, tuple | list):
        for item in value:
            spoil(item)
    elif is_record(value):
        for name in value.__dataclass_fields__:
            if name not in INNER and not isinstance(getattr(value, name), dict):
                spoil(getattr(value, name))


@pytest.mark.parametrize("kind", KINDS)
def test_no_result_can_be_overwritten(kind: str) -> None:
    m = KINDS[kind](rows(), weights="w" if kind == "reml" else None)
    names = accessors()
    assert {"params", "vcov", "fittedvalues", "ranef", "augment", "estimate", "llf"} <= set(names)
    before = {name: frozen_copy(result(m, name)) for name in names}
    for name in names:
        spoil(result(m, name))
    text = str(KINDS[kind](rows(), weights="w" if kind == "reml" else None).params)
    for name in names:
        assert same(before[name], result(m, name)), f"{name} was overwritten through a result"
    assert str(m.params) == text


def test_arrays_say_that_they_are_read_only() -> None:
    first = fit("y ~ x + (1 | g)", rows())
    m: Any
    for m in (pickle.loads(pickle.dumps(first)), copy.deepcopy(first), first):
        for array in (m.vcov, m.estimate.beta, m.problem.y, m.problem.X.matrix, m.estimate.modes[0]):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
    with pytest.raises(ValueError, match="read-only"):
        build("y ~ x + (1 | g)", rows()).y[0] = 0
    handed = m.params
    handed["x"] = 0.0
    assert m.params["x"] != 0.0
    assert m.tvalues["x"] == m.params["x"] / m.bse["x"]


# -- the caller goes on working with the data ------------------------------------------------------------------------


def _ruin(table: Any, arrays: dict[str, np.ndarray]) -> None:
    """Change everything that the caller can reach, in place."""
    for values in arrays.values():
        values[...] = values[::-1].copy() if values.dtype.kind == "O" else 1
    if isinstance(table, dict):
        for name in list(table):
            table[name] = table[name][::-1]
    else:
        for name in table.columns:
            table[name] = table[name].to_numpy()[::-1].copy()
        table.index.name = "mine"
        table.index = table.index[::-1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["frame", "arrays", "view"])
def test_later_changes_of_the_data_do_not_reach_the_fit(kind: str, source: str) -> None:
    arrays: Any = {name: column.to_numpy(copy=True) for name, column in rows().items()}
    arrays["f"] = arrays["f"].astype(object)
    table: Any = {
        "frame": lambda: rows(),
        "arrays": lambda: dict(arrays),
        "view": lambda: pd.DataFrame(arrays, copy=False),
    }[source]()
    weights = arrays["w"] if kind == "reml" else None
    m = KINDS[kind](table, weights=weights)
    before = {name: frozen_copy(result(m, name)) for name in accessors()}
    rows_before = frozen_copy(m.augment())
    _ruin(table, arrays)
    for name, value in before.items():
        assert same(value, result(m, name)), f"{name} follows the caller's data"
    pd.testing.assert_frame_equal(m.augment(), rows_before)
    response = "count" if "count" in rows_before else "y"
    np.testing.assert_allclose(rows_before[response] - rows_before[".fitted"], rows_before[".resid"])
    if kind == "reml":
        np.testing.assert_allclose(m.update(method="ml").update(method="reml").params, m.params, rtol=1e-6)


def test_kept_columns_have_the_types_of_the_frame() -> None:
    data = rows().assign(
        c=lambda d: pd.Categorical.from_codes(d["g"] % 3, [30, 10, 20], ordered=True),
        b=lambda d: d["x"] > 0,
        i=lambda d: d["count"].astype("Int64"),
        s=lambda d: d["f"].astype("string"),
        h=lambda d: d["x"].astype("float32"),
        n=lambda d: (d["x"] > 0.5).astype("boolean"),
        t=lambda d: np.where(np.arange(len(d)) % 2, "odd", "even").astype(object),
    )
    m = fit("y ~ c + b + i + s + h + n + t + (1 | g)", data)
    wanted: Any = data[list("ycbishntg")]
    pd.testing.assert_frame_equal(wanted, m.augment().loc[:, list(wanted)])


def test_only_the_columns_used_are_copied() -> None:
    data = rows().assign(**{f"z{j}": float(j) for j in range(50)})
    m = fit("y ~ x + (1 | g)", data)
    assert set(m.recall.data._columns) == {"y", "x", "g"}
    assert "fmid" in m.update("y ~ x + f + (1 | g)").params
    assert set(m.recall.data._columns) == {"y", "x", "g"}
    assert pickle.loads(pickle.dumps(m)).params.equals(m.params)


def test_arguments_are_those_of_the_call() -> None:
    coding, weights = {"f": "contr.sum"}, rows()["w"].tolist()
    m = fit("y ~ f + (1 | g)", rows(), contrasts=coding, weights=weights)
    coding["f"] = "contr.helmert"
    weights[:] = [1.0] * len(weights)
    np.testing.assert_allclose(m.update(method="reml").params, m.params)


def test_update_takes_other_columns_in_the_order_of_the_fit() -> None:
    data = rows()
    wanted = fit("y ~ x + w + (1 | g)", data).params
    m = fit("y ~ x + (1 | g)", data)
    data["y"], data["x"] = 0.0, data["x"].to_numpy()[::-1]
    np.testing.assert_allclose(m.update("y ~ x + w + (1 | g)").params, wanted, rtol=1e-10)


def test_a_file_that_has_changed_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    rows().to_csv(path, index=False)
    m = fit("y ~ x + (1 | g)", path)
    wanted = fit("y ~ x + w + (1 | g)", path).params
    np.testing.assert_allclose(m.update("y ~ x + w + (1 | g)").params, wanted)
    rows(seed=6).to_csv(path, index=False)
    np.testing.assert_allclose(m.augment()["y"], rows()["y"])
    with pytest.raises(DataError, match="has changed since the fit"):
        m.update("y ~ x + o + (1 | g)")


def test_refitted_rows_show_the_new_response() -> None:
    data = rows()
    y = data["y"].to_numpy()[::-1].copy()
    table = fit("y ~ x + (1 | g)", data).refit(y).augment()
    np.testing.assert_allclose(table["y"], y)
    np.testing.assert_allclose(table["y"] - table[".fitted"], table[".resid"])
    shown = fit("exp(y) ~ x + (1 | g)", data).refit(y).augment()
    np.testing.assert_allclose(shown[".response"] - shown[".fitted"], shown[".resid"])


def test_comparisons_hand_out_copies() -> None:
    both = compare_methods("y ~ x + (1 | g)", rows(), ["reml", "ml"])
    before = frozen_copy(both.tidy())
    spoil(both.tidy())
    spoil(both.differences())
    both.fits.clear()
    assert list(both.fits) == ["reml", "ml"]
    pd.testing.assert_frame_equal(both.tidy(), before)
