"""Permutation tests: what is exchanged, that p-values are uniform without an effect, and small with one."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, Fit, LmmformulaError, fit, load_dataset
from lmmformula.errors import LmmformulaWarning
from lmmformula.inference.many.permuting import _order


def table(effect: float = 0.0, seed: int = 1, groups: int = 12, size: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), size)
    x, z = rng.normal(size=len(g)), rng.normal(size=groups)[g]
    y = effect * (x + z) + rng.normal(size=groups)[g] + rng.normal(size=len(g))
    return pd.DataFrame({"y": y, "x": x, "z": z, "g": g})


@cache
def model(effect: float = 0.0) -> Fit:
    return fit("y ~ x + z + (1 | g)", table(effect))


@pytest.mark.parametrize("how", ["within", "between", "rows"])
def test_what_is_exchanged(how: str) -> None:
    codes = np.array([0, 1, 1, 0, 2, 2, 2, 1, 0, 3, 3])
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(50):
        order = _order(how, codes, len(codes), rng)
        assert sorted(order) == list(range(len(codes)))
        seen.add(tuple(order))
        if how == "within":
            assert (codes[order] == codes).all()
        elif how == "between":
            for level in range(4):
                (source,) = set(codes[order[codes == level]])
                assert (codes == source).sum() == (codes == level).sum()
                assert (np.diff(order[codes == level]) > 0).all()
    assert len(seen) > 5


@pytest.mark.parametrize(("term", "how"), [("x", "within"), ("z", "between")])
def test_how_follows_from_the_term(term: str, how: str) -> None:
    none, some = (model(e).permutation_test(term, 199, seed=2) for e in (0.0, 3.0))
    assert none.found.how == some.found.how == how
    assert some.p_value <= 0.01
    assert none.p_value > 0.02
    assert none.statistic == pytest.approx(
        float(model().tvalues.to_numpy()[1 if term == "x" else 2]) ** 2, rel=1e-5
    )
    again = model().permutation_test(term, 199, seed=2)
    assert again.p_value == none.p_value


def test_p_values_are_uniform_without_an_effect() -> None:
    found = []
    for seed in range(30):
        m = fit("y ~ x + z + (1 | g)", table(seed=seed + 10))
        found.append(m.permutation_test("z", 59, seed=seed).p_value)
    assert 0.3 < np.mean(found) < 0.7
    assert np.mean(np.array(found) <= 0.2) == pytest.approx(0.2, abs=0.22)


def test_factors_and_linear_models() -> None:
    m = fit("angle ~ recipe + temp + (1 | recipe:replicate)", load_dataset("cake"))
    found = m.permutation_test("temp", 99, seed=1)
    assert found.frame["NumDF"].iloc[0] == 1
    assert found.p_value == 0.01
    both = m.permutation_test("recipe", 99, seed=1)
    assert both.frame["NumDF"].iloc[0] == 2
    assert both.found.how == "between"
    plain = fit("Reaction ~ Days", load_dataset("sleepstudy")).permutation_test("Days", 99, seed=1)
    assert plain.found.how == "rows"
    assert plain.p_value == 0.01


def test_it_prints_and_draws() -> None:
    found = model().permutation_test("x", 99, seed=2)
    assert "rows within g" in repr(found)
    assert "0.01" in repr(found)
    assert found._repr_html_()
    assert found.tidy()["permuted"].iloc[0] == "rows within g"
    pytest.importorskip("matplotlib")
    assert "permuting rows within g" in found.plot().get_title("left")


def test_refusals() -> None:
    m = model()
    with pytest.raises(DataError, match="no term and no coefficient"):
        m.permutation_test("w", 9)
    with pytest.raises(DataError, match="no grouping factor"):
        m.permutation_test("x", 9, cluster="h")
    with pytest.raises(DataError, match="'between'"):
        m.permutation_test("x", 9, how="across")
    sizes = table()
    sizes = sizes[sizes.index % 6 <= sizes["g"] % 6]
    three = sizes[sizes["g"] < 4]
    uneven = fit("y ~ z + (1 | g)", three)
    with pytest.raises(DataError, match="sizes all differ"):
        uneven.permutation_test("z", 9)
    with pytest.warns(LmmformulaWarning, match="only 24 arrangements"):
        fit("y ~ z + (1 | g)", table(groups=4)).permutation_test("z", 9, seed=1)
    crossed = fit("diameter ~ 1 + (1 | plate) + (1 | sample)", load_dataset("Penicillin"))
    with pytest.raises(LmmformulaError, match="cluster="):
        crossed.permutation_test("(Intercept)", 9)
