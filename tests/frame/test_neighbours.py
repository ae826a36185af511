"""Everything that ``car(W, gr = area)`` takes for W: one model whatever form it comes in, and refusals by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp

from lmmformula import Fit, build, fit
from lmmformula.errors import DataError, FormulaError
from lmmformula.ir.across import Car, Icar
from lmmformula.ir.across.intrinsic import components

AREAS = ["north", "east", "south", "west", "isle"]
EDGES = [("north", "east"), ("south", "west"), ("east", "south")]
TYPES = ("escar", "icar", "bym2")


def rows(areas: list[str] = AREAS) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    area = rng.permutation(np.repeat(areas, 6))
    x = rng.normal(size=area.size)
    b = dict(zip(AREAS, [1.4, 0.6, -0.4, -1.2, 0.5], strict=True))
    return pd.DataFrame(
        {"y": x + [b[i] for i in area] + 0.5 * rng.normal(size=area.size), "x": x, "area": area}
    )


def matrix(areas: list[str], edges: list[tuple[str, str]] = EDGES) -> pd.DataFrame:
    w = pd.DataFrame(0.0, index=areas, columns=areas)
    for a, b in edges:
        w.loc[a, b] = w.loc[b, a] = 1.0
    return w


def modes(m: Fit) -> dict[str, float]:
    table = m.ranef()
    return dict(zip(map(str, table["grp"]), map(float, table["condval"]), strict=True))


def formula(kind: str) -> str:
    return f'y ~ x + car(W, gr = area, type = "{kind}")'


def forms(areas: list[str], folder: Path) -> dict[str, Any]:
    """Ways to write the map of `areas`; pairs name an area without neighbours with nothing behind it."""
    w = matrix(areas)
    ordered = w.loc[sorted(areas), sorted(areas)].to_numpy()
    alone = [(a, None) for a in areas if not any(a in edge for edge in EDGES)]
    pairs = pd.DataFrame([*EDGES, *alone], columns=["area", "neighbour"])
    pairs.to_csv(folder / "pairs.csv", index=False)
    w.to_csv(folder / "w.csv", index_label="area")
    lists = {a: [b for b in areas if w.loc[a, b]] for a in areas}
    other = w.loc[areas[::-1]]
    both = pd.concat([pairs, pairs.dropna().set_axis(["neighbour", "area"], axis=1)[["area", "neighbour"]]])
    return {
        "labels": w,
        "columns in another order": other,
        "first column": w.reset_index(),
        "polars": pl.from_pandas(w.reset_index(names="area")),
        "dense": ordered,
        "whole numbers": ordered.astype(int),
        "sparse": sp.coo_array(ordered),
        "old sparse": sp.csc_matrix(ordered),
        "pair": (sp.csr_array(w.to_numpy()), areas),
        "pairs": pairs,
        "pairs both ways": both,
        "pairs with weights": pairs.assign(weight=1.0),
        "pairs in polars": pl.from_pandas(pairs),
        "file of pairs": folder / "pairs.csv",
        "lists": lists,
        "one direction": {a: [b for b in found if a < b] for a, found in lists.items()},
        "neighbors": SimpleNamespace(neighbors=lists),
    }


@pytest.mark.parametrize("kind", TYPES)
def test_one_model_in_every_form(kind: str, tmp_path: Path) -> None:
    """The matrices are those of one map; its fits are compared where W comes with labels, without, and as pairs."""
    areas = AREAS[:4] if kind == "escar" else AREAS
    data = rows(areas)
    wanted: dict[tuple[str, str], float] | None = None
    for name, form in forms(areas, tmp_path).items():
        problem = build(formula(kind), data, data2={"W": form})
        term = problem.terms[0]
        across = term.covariance.across
        assert across is not None
        q = across.precision(across.start()).matrix.tocoo()
        at = [str(term.levels[j]) for j in range(term.m)]
        found = {(at[i], at[j]): float(v) for i, j, v in zip(*q.coords, q.data, strict=True)}
        if wanted is None:
            wanted = found
        assert found.keys() == wanted.keys(), name
        assert all(found[k] == pytest.approx(wanted[k], rel=1e-12) for k in found), name
        level = [str(term.levels[c]) for c in term.codes]
        assert level == data["area"].tolist(), name


def test_fits_do_not_depend_on_the_order_of_areas(tmp_path: Path) -> None:
    data, known = rows(), forms(AREAS, tmp_path)
    found = [
        fit(formula("bym2"), data, data2={"W": known[k]})
        for k in ("labels", "columns in another order", "pairs")
    ]
    effects = [[modes(m)[area] for area in AREAS] for m in found]
    for m, own in zip(found[1:], effects[1:], strict=True):
        assert m.llf == pytest.approx(found[0].llf, abs=1e-7)
        np.testing.assert_allclose(own, effects[0], atol=1e-5)


def test_ways_to_write_it_are_one_model() -> None:
    data, w = rows(AREAS[:4]), matrix(AREAS[:4])
    written = [
        "car(W, gr = area)",
        'car(W, gr = area, type = "proper")',
        "car(W | area)",
        "car(1 | area, W)",
        "(1 | gr(area, cov = car(W)))",
    ]
    for term in written:
        problem = build(f"y ~ x + {term}", data, context={"W": w})
        (own,) = problem.terms
        assert (own.columns, own.group, own.levels.tolist()) == (("(Intercept)",), "area", AREAS[:4])
        assert isinstance(own.covariance.across, Car)
        np.testing.assert_array_equal(own.covariance.across.neighbours.toarray(), w)
    slopes = build("y ~ x + car(x | area, W)", data, context={"W": w})
    assert slopes.terms[0].columns == ("(Intercept)", "x")


def test_parts_of_a_map_have_sums_of_their_own() -> None:
    """Two parts and an island: effects of each part sum to zero, that of the island is zero, or keeps its variance."""
    edges = EDGES[:2]
    data, w = rows(), matrix(AREAS, edges)
    assert components(sp.csr_array(w.to_numpy())).tolist() == [0, 0, 1, 1, 2]
    effects = modes(fit(formula("icar"), data, data2={"W": w}))
    assert abs(effects["north"] + effects["east"]) < 1e-10
    assert abs(effects["south"] + effects["west"]) < 1e-10
    assert abs(effects["isle"]) < 1e-15
    assert min(abs(effects["north"]), abs(effects["south"])) > 0.1
    term = build(formula("bym2"), data, data2={"W": w}).terms[0]
    across = term.covariance.across
    assert across is not None
    variances = across.precision(np.array([0.7])).variances[:5]
    np.testing.assert_allclose(variances[4], 1.0, rtol=1e-10)
    own = 0.5 * np.log((variances[:4] - np.cos(0.7) ** 2) / np.sin(0.7) ** 2).reshape(2, 2).sum(axis=1)
    np.testing.assert_allclose(own, 0.0, atol=1e-10)  # geometric mean 1 in each part


@pytest.mark.parametrize("kind", TYPES)
def test_areas_without_rows_take_part(kind: str) -> None:
    """A matrix with labels may have areas that no row has; their effects are what their neighbours' say."""
    w = matrix(AREAS[:4])
    data = rows(["north", "south", "west"])
    m = fit(formula(kind), data, method="ml", data2={"W": w})
    b = modes(m)
    assert list(b) == AREAS[:4]
    if kind == "icar":
        assert b["east"] == pytest.approx(0.5 * (b["north"] + b["south"]))
        assert abs(sum(b.values())) < 1e-9
    if kind == "escar":
        alpha = np.sin(m.theta["area.alpha"]) ** 2
        assert b["east"] == pytest.approx(0.5 * alpha * (b["north"] + b["south"]))
    new = pd.DataFrame({"x": [0.0], "area": ["east"]})
    assert m.predict(new).to_numpy()[0] == pytest.approx(m.params.to_numpy()[0] + b["east"])


def test_areas_that_nothing_is_known_of() -> None:
    m = fit(formula("bym2"), rows(), data2={"W": matrix(AREAS)})
    new = pd.DataFrame({"x": [0.0, 0.0], "area": ["north", "moon"]})
    with pytest.raises(DataError, match="moon"):
        m.predict(new)
    population = m.predict(new, new_levels="population")
    assert population.iloc[1] == pytest.approx(m.params["(Intercept)"])
    assert population.iloc[0] == pytest.approx(m.predict(new.head(1)).iloc[0])


def skewed(w: pd.DataFrame) -> pd.DataFrame:
    out = w.copy()
    out.loc["north", "east"] = 0.0
    return out


BROKEN: dict[str, tuple[Callable[[], Any], str]] = {
    "asymmetric": (
        lambda: skewed(matrix(AREAS)),
        "2 elements differ from those mirrored. Neighbours that were entered in one",
    ),
    "negative": (lambda: -matrix(AREAS), "6 weights are negative or not finite"),
    "missing": (lambda: matrix(AREAS).replace(1.0, np.nan), "6 weights are negative or not finite"),
    "diagonal": (lambda: matrix(AREAS) + np.eye(5), "5 elements of the diagonal are not zero"),
    "no neighbours": (lambda: matrix(AREAS, []), "no two levels of car() are neighbours"),
    "labels": (lambda: matrix(AREAS).rename(index={"isle": "moon"}), "no column is called moon"),
    "other areas": (
        lambda: matrix(["north", "east", "south"], EDGES[:1]),
        "2 of 5 levels of `area` are not among the 3 labels of its covariance: isle, west",
    ),
    "size": (
        lambda: np.ones((4, 4)) - np.eye(4),
        "`W` is 4 x 4 for 5 levels of `area` in the rows used; give it labels",
    ),
    "shape": (lambda: np.ones((5, 4)), "`W` is not square: its shape is (5, 4)"),
    "pedigree": (lambda: pd.DataFrame(np.ones((7, 4))), "needs the same labels"),
    "twice": (
        lambda: pd.DataFrame([("north", "east", 1.0), ("east", "north", 2.0)]),
        "1 pairs that come twice with different weights",
    ),
    "itself": (
        lambda: pd.DataFrame([("north", "north"), ("east", "north")]),
        "1 pairs of an area with itself",
    ),
    "no first": (
        lambda: pd.DataFrame([(None, "north"), ("east", "north")]),
        "1 rows without an area in its first column",
    ),
    "no weight": (
        lambda: pd.DataFrame([("north", "east", 0.0)]),
        "1 pairs of an area with itself, or without a weight",
    ),
    "file": (lambda: "nowhere.csv", "'nowhere.csv', which is no file"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_map_is_refused_by_name(name: str) -> None:
    make, message = BROKEN[name]
    with pytest.raises(DataError, match=re.escape(message)):
        build(formula("icar"), rows(), data2={"W": make()})


def test_a_proper_autoregression_needs_neighbours_everywhere() -> None:
    message = "1 of 5 areas of `W` have no neighbours: isle. A proper autoregression has no variance there"
    with pytest.raises(DataError, match=re.escape(message)):
        build(formula("escar"), rows(), data2={"W": matrix(AREAS)})
    with pytest.raises(FormulaError, match="`W` is not given in data2="):
        build(formula("escar"), rows(), data2={"V": matrix(AREAS)})


def test_whole_numbers_name_areas_however_they_are_read() -> None:
    """Labels 1, 2, 3 are those of the data whether the column of neighbours has a missing value, and so is a float, or not."""
    data = rows().replace({"area": {a: i + 1 for i, a in enumerate(AREAS)}})
    pairs = pd.DataFrame({"a": [1, 3, 2, 5], "b": [2, 4, 3, np.nan]})
    problem = build(formula("icar"), data.infer_objects(), data2={"W": pairs})
    across = problem.terms[0].covariance.across
    assert isinstance(across, Icar)
    assert problem.terms[0].levels.tolist() == ["1", "3", "2", "5", "4"]
    assert across.neighbours.nnz == 6
