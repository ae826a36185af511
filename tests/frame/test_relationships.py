"""Everything that ``gr(g, cov = A)`` takes for A: one model whatever form it comes in, and refusals by name."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp

from lmmformula import build, compare_methods, fit, load, plan
from lmmformula.errors import DataError, FormulaError
from lmmformula.ir.across import Car

FORMULA = "y ~ x + (1 | gr(id, cov = A))"
LABELS = ["c", "a", "b", "d", "e"]
TREE = "((a:1,b:1):1,(c:0.5,(d:0.2,e:0.2):0.3):1.5);"
ANIMALS = pd.DataFrame({"id": ["c", "d", "e"], "sire": ["a", "a", "c"], "dam": ["b", "c", "d"]})


def rows() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    ids = rng.permutation(np.repeat(LABELS, 8))
    x = rng.normal(size=ids.size)
    b = dict(zip(LABELS, [1.2, -0.8, 0.3, 1.0, -0.5], strict=True))
    return pd.DataFrame({"y": x + [b[i] for i in ids] + rng.normal(size=ids.size), "x": x, "id": ids})


def covariance() -> pd.DataFrame:
    from lmmformula.numerics.newick import read_tree

    found = read_tree(TREE)
    at = [found.labels.index(label) for label in LABELS]
    a = np.linalg.inv(found.precision().toarray())[np.ix_(at, at)]
    return pd.DataFrame(a, index=LABELS, columns=LABELS)


def forms(tmp_path: Any) -> dict[str, Any]:
    a = covariance()
    shuffled = a.loc[["e", "d", "a", "b", "c"]]
    (tmp_path / "a.nwk").write_text(TREE + "\n")
    a.to_csv(tmp_path / "a.csv", index_label="id")
    ordered = a.loc[sorted(LABELS), sorted(LABELS)].to_numpy()
    return {
        "tree": TREE,
        "file of a tree": tmp_path / "a.nwk",
        "labels": a,
        "columns in another order": shuffled,
        "first column": a.reset_index(),
        "polars": pl.from_pandas(a.reset_index()),
        "file of a matrix": str(tmp_path / "a.csv"),
        "dense": ordered,
        "sparse": sp.csr_array(ordered),
        "pair": (sp.csc_matrix(a.to_numpy()), LABELS),
    }


def test_one_model_in_every_form(tmp_path) -> None:
    data = rows()
    wanted = fit(FORMULA, data, data2={"A": covariance()})
    for name, form in forms(tmp_path).items():
        own = fit(FORMULA, data, data2={"A": form})
        assert own.llf == pytest.approx(wanted.llf, abs=1e-8), name
        effects = own.ranef().set_index("grp")["condval"]
        np.testing.assert_allclose(
            effects[LABELS], wanted.ranef().set_index("grp")["condval"][LABELS], atol=1e-6
        )
    inverse = pd.DataFrame(np.linalg.inv(covariance()), index=LABELS, columns=LABELS)
    precise = fit("y ~ x + (1 | gr(id, prec = A))", data, data2={"A": inverse})
    assert precise.llf == pytest.approx(wanted.llf, abs=1e-8)
    assert fit(FORMULA, data, context={"A": covariance()}).llf == pytest.approx(wanted.llf, abs=1e-10)


def test_every_call_takes_them(tmp_path) -> None:
    data, own = rows(), {"A": ANIMALS}
    assert build(FORMULA, data, data2=own).terms[0].levels.tolist() == ["c", "d", "e", "a", "b"]
    assert "gr(id, cov = A)" in str(plan(FORMULA, data, data2=own))
    both = compare_methods(FORMULA, data, methods=["reml", "ml"], data2=own)
    assert len(both.table()) > 0
    m = fit(FORMULA, data, data2=own)
    smaller = m.update(formula=". ~ . - x")
    assert smaller.ngroups == m.ngroups
    m.save(tmp_path / "m.lmm")
    again = load(tmp_path / "m.lmm")
    np.testing.assert_allclose(again.predict(data.head(3)), m.fittedvalues.head(3))
    assert again.update(formula=". ~ . - x", data=data).llf == pytest.approx(smaller.llf)


def test_animals_without_rows_have_effects_and_predictions() -> None:
    data = rows()
    m = fit(FORMULA, data[data["id"] != "e"], data2={"A": ANIMALS})
    effects = m.ranef(condsd=True).set_index("grp")
    young = effects.loc["e"]
    assert young["condval"] == pytest.approx(
        0.5 * (effects.loc["c", "condval"] + effects.loc["d", "condval"])
    )
    new = pd.DataFrame({"x": [0.0], "id": ["e"]})
    assert m.predict(new).iloc[0] == pytest.approx(m.params["(Intercept)"] + young["condval"])


BROKEN: dict[str, tuple[Any, str]] = {
    "labels of rows": (covariance().rename(index={"a": "z"}), "no column is called z"),
    "labels twice": (
        covariance().rename(index={"a": "b"}, columns={"a": "b"}),
        "1 labels more than once, for example 'b'",
    ),
    "levels without a label": (
        covariance().drop(index="a", columns="a"),
        "1 of 5 levels of `id` are not among the 4",
    ),
    "not symmetric": (
        covariance() + np.triu(np.ones((5, 5)), 1),
        "not symmetric: elements differ by up to 1",
    ),
    "not definite": (covariance() - 0.5 * np.eye(5), "not positive definite (smallest eigenvalue -0.3"),
    "missing": (covariance().where(lambda a: a < 2.0), "elements that are not finite"),
    "not square": (np.ones((5, 4)), "is not square"),
    "size": (np.eye(4), "is 4 x 4 for 5 levels"),
    "loop": (ANIMALS.replace({"sire": {"a": "e"}}), "is its own ancestor"),
    "rows twice": (pd.concat([ANIMALS, ANIMALS.head(1)]), "c has 2 rows"),
    "tree": ("((a:1,b:1):1,c);", "has no length"),
    "file": ("nowhere.nwk", "neither a tree in Newick's format nor a file"),
    "pair": ((np.eye(5), ["a"]), "has 1 labels for a matrix of shape (5, 5)"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_serve_is_refused_by_name(name: str) -> None:
    value, message = BROKEN[name]
    with pytest.raises(DataError, match=re.escape(message)):
        fit(FORMULA, rows(), data2={"A": value})


def test_names_that_are_not_there_or_twice() -> None:
    with pytest.raises(FormulaError, match="`A` is not given in data2="):
        fit(FORMULA, rows(), data2={"B": TREE})
    with pytest.raises(DataError, match="given twice"):
        fit(FORMULA, rows(), data2={"A": TREE}, context={"A": ANIMALS})


def test_areas_by_a_structure() -> None:
    """A proper conditional autoregression against the same covariance given as a matrix, at its own alpha."""
    data = rows()
    w = np.diag(np.ones(4), 1) + np.diag(np.ones(4), -1)
    m = fit(FORMULA, data, data2={"A": Car(sp.csr_array(w))}, method="ml")
    across = m.problem.terms[0].covariance.across
    assert across is not None
    alpha = across.natural(m.estimate.theta[-1:])[0]
    q = np.diag(w.sum(axis=1)) - alpha * w
    given = fit("y ~ x + (1 | gr(id, prec = A))", data, data2={"A": q}, method="ml")
    assert given.llf == pytest.approx(m.llf, abs=1e-6)
    with pytest.raises(DataError, match="a neighbour for every level"):
        Car(sp.csr_array(np.zeros((3, 3))))
