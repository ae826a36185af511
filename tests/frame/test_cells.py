"""Cells of grouping interactions are told apart level by level, whatever their joined labels read like."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmmformula import DataError, build, fit
from lmmformula.errors import FormulaError
from lmmformula.frame.grouping import match_cells
from lmmformula.frame.values import object_array

LEVELS = ["k", "k:1", "1:z", "z", ":", "::", '"k"', "k:1:z"]
level = st.text(alphabet=':k1"', min_size=1, max_size=4)


def crossed(seed: int = 3, per: int = 6) -> pd.DataFrame:
    """Every pair of `LEVELS` but the last, several times."""
    rng = np.random.default_rng(seed)
    cells = list(product(LEVELS, LEVELS))[:-1] * per
    frame = pd.DataFrame(cells, columns=["a", "b"])
    effect = {cell: rng.normal() for cell in dict.fromkeys(cells)}
    frame["x"] = rng.normal(size=len(frame))
    frame["y"] = frame["x"] + [effect[cell] for cell in cells] + 0.3 * rng.normal(size=len(frame))
    return frame.assign(one=[f"{LEVELS.index(a)}.{LEVELS.index(b)}" for a, b in cells])


def test_cells_that_read_alike_are_different() -> None:
    data = crossed()
    m, alone = fit("y ~ x + (1 | a:b)", data), fit("y ~ x + (1 | one)", data)
    assert m.ngroups == {"a:b": len(LEVELS) ** 2 - 1}
    assert m.llf == pytest.approx(alone.llf, abs=1e-8)
    shuffled = data.sample(frac=1.0, random_state=1)
    np.testing.assert_allclose(m.predict(shuffled), m.fittedvalues.loc[shuffled.index], rtol=1e-12)
    labels = m.ranef()["grp"]
    assert labels.is_unique
    assert {'k:"1:z"', '"k:1":z'} <= set(labels)
    assert "z:z" in set(labels)


def test_an_unseen_cell_does_not_take_the_effect_of_another() -> None:
    data = crossed()
    seen = data[~((data["a"] == "k") & (data["b"] == "1:z"))]  # "k:1" with "z" is there and reads the same
    m = fit("y ~ x + (1 | a:b)", seen)
    new = {"x": 0.0, "a": "k", "b": "1:z"}
    with pytest.raises(DataError, match=r"levels of a:b that the fit has not seen: 'k:1:z'"):
        m.predict(new)
    np.testing.assert_allclose(m.predict(new, new_levels="population"), m.predict(new, re_form=None))


@pytest.mark.filterwarnings("ignore::lmmformula.errors.SingularFitWarning")
def test_three_factors_and_nesting() -> None:
    data = crossed().assign(c=lambda d: np.where(np.arange(len(d)) % 2, "z", "1:z"))
    for formula in ("y ~ x + (1 | a:b:c)", "y ~ x + (1 | a/b)", "y ~ x + (1 | a/b/c)"):
        m = fit(formula, data)
        np.testing.assert_allclose(m.predict(data), m.fittedvalues, rtol=1e-10)
        for term in m.problem.terms:
            assert term.m == len(set(data[re.findall(r"\w", term.group)].itertuples(index=False, name=None)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(level, level, level), min_size=1, max_size=30, unique=True), st.data())
def test_matching_is_by_tuples(known: list[tuple[str, ...]], more: st.DataObject) -> None:
    asked = more.draw(
        st.lists(st.one_of(st.sampled_from(known), st.tuples(level, level, level)), max_size=20)
    )
    place = {cell: i for i, cell in enumerate(known)}
    columns = [
        tuple(object_array(part) for part in zip(*cells, strict=True)) for cells in (known, asked or known)
    ]
    wanted = [place.get(cell, -1) for cell in asked or known]
    assert match_cells(columns[0], columns[1]).tolist() == wanted


def test_labels_stay_as_they_are_where_none_collide() -> None:
    data = pd.DataFrame({"y": np.arange(12.0) ** 2, "a": ["u:1", "v", "w"] * 4, "b": list("pq") * 6})
    levels = build("y ~ 1 + (1 | a:b)", data).terms[0].levels
    assert list(levels) == ["u:1:p", "u:1:q", "v:p", "v:q", "w:p", "w:q"]


def test_interaction_refuses_labels_of_two_cells() -> None:
    data = crossed()
    data = data.assign(p=["k", "k.k"] * (len(data) // 2), q=["k.k", "k", "z"] * (len(data) // 3))
    with pytest.raises(FormulaError, match=r"two different cells the label 'k\.k\.k'"):
        build("y ~ interaction(p, q) + (1 | a)", data)
    assert len(build("y ~ interaction(p, q, sep = '/') + (1 | a)", data).X.names) == 6
