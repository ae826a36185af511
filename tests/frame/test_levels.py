"""Levels of random-effects terms: several a row, one for all rows, and those of a known covariance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import build
from lmmformula.errors import DataError, FormulaError
from lmmformula.formula.bars import TERM_FUNCTIONS
from lmmformula.frame.signature import FUNCTIONS, column, needed, register_term
from lmmformula.frame.values import Basis
from lmmformula.ir.structured import row_spread


def table(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    letters = np.array(["c", "a", "b", "d"])
    columns: dict[str, Any] = {
        "y": rng.normal(size=n),
        "x": rng.normal(size=n),
        "g": letters[rng.integers(0, 3, n)],
        "h": letters[rng.integers(1, 4, n)],
        "t": rng.integers(1, 6, n),
        "u": rng.uniform(0.1, 1.0, n),
        "v": rng.uniform(0.1, 1.0, n),
    }
    return pd.DataFrame(columns)


def test_members_share_one_set_of_levels() -> None:
    data = table()
    (term,) = build("y ~ x + (1 | mm(g, h))", data).terms
    assert list(term.levels) == ["a", "b", "c", "d"]
    assert term.shares is not None
    np.testing.assert_array_equal(term.levels[term.codes], data[["g", "h"]].to_numpy())
    assert (term.shares == 0.5).all()


@pytest.mark.parametrize("scale", [True, False])
def test_weights_of_members(scale: bool) -> None:
    data = table()
    text = "TRUE" if scale else "FALSE"
    (term,) = build(f"y ~ (1 + x | mm(g, h, weights = cbind(u, v), scale = {text}))", data).terms
    assert term.shares is not None
    w = data[["u", "v"]].to_numpy()
    np.testing.assert_allclose(term.shares, w / w.sum(axis=1, keepdims=True) if scale else w)
    effects = np.random.default_rng(1).normal(size=(4, 2))
    at = {level: effects[j] for j, level in enumerate(term.levels)}
    z = np.column_stack([np.ones(len(data)), data["x"]])
    expected = [
        sum(s * z[r] @ at[data[name][r]] for s, name in zip(term.shares[r], ("g", "h"), strict=True))
        for r in range(len(data))
    ]
    np.testing.assert_allclose(term.apply(effects), expected)


def test_members_are_replayed() -> None:
    data = table()
    problem = build("y ~ (1 + x | mm(g, h, weights = cbind(u, v)))", data)
    (parts,) = problem.recipe.replay(data.iloc[[5, 2]]).terms
    basis, shares = problem.terms[0].basis, problem.terms[0].shares
    assert basis is not None
    assert shares is not None
    for j, part in enumerate(parts):
        np.testing.assert_array_equal(part.codes, problem.terms[0].codes[[5, 2], j])
        np.testing.assert_allclose(part.basis, (basis * shares[:, [j]])[[5, 2]])
    new = data.head(1).assign(h="z")
    first, second = problem.recipe.replay(new).terms[0]
    assert (first.codes[0] >= 0, second.codes[0], second.new_levels) == (True, -1, ("z",))


def test_bad_weights_of_members_are_named() -> None:
    data = table()
    with pytest.raises(DataError, match="2 grouping factors"):
        build("y ~ (1 | mm(g, h, weights = u))", data)
    data.loc[3, ["u", "v"]] = 0.0
    with pytest.raises(DataError, match="add up to zero in 1 rows"):
        build("y ~ (1 | mm(g, h, weights = cbind(u, v)))", data)


def test_a_labelled_covariance_gives_all_its_levels() -> None:
    labels = ["q", "c", "b", "a"]
    a = pd.DataFrame(np.eye(4) + 0.5, index=labels, columns=labels)
    (term,) = build("y ~ (x | gr(g, cov = A))", table(), context={"A": a}).terms
    assert list(term.levels) == labels
    np.testing.assert_array_equal(term.levels[term.codes], table()["g"])
    across = term.covariance.across
    assert across is not None
    np.testing.assert_allclose(across.precision(np.zeros(0)).matrix.toarray(), np.linalg.inv(a))
    (other,) = build(
        "y ~ (x | gr(g, prec = A))", table(), context={"A": np.linalg.inv(np.eye(3) + 0.5)}
    ).terms
    assert list(other.levels) == ["a", "b", "c"]


def test_a_pedigree_gives_animals_without_records_too() -> None:
    animals = pd.DataFrame({"animal": ["a", "b", "c"], "sire": ["s", "s", "a"], "dam": ["0", None, "b"]})
    animals.loc[3] = ["d", "a", "b"]
    (term,) = build("y ~ (1 | gr(g, cov = ped))", table(), context={"ped": animals}).terms
    assert list(term.levels) == ["a", "b", "c", "d", "s"]
    across = term.covariance.across
    assert across is not None
    found = np.linalg.inv(across.precision(np.zeros(0)).matrix.toarray())
    half = {"a": 0, "b": 1, "c": 2, "d": 3, "s": 4}
    assert found[half["a"], half["s"]] == pytest.approx(0.5)
    assert found[half["a"], half["b"]] == pytest.approx(0.25)
    assert found[half["c"], half["c"]] == pytest.approx(1.125)  # of half sibs


def test_structures_by_name_take_positions_from_labels() -> None:
    (term,) = build('y ~ (1 | gr(t, cov = "ar1"))', table()).terms
    across = term.covariance.across
    assert across is not None
    correlation = np.linalg.inv(across.precision(np.array([0.5])).matrix.toarray())
    rho = np.tanh(0.5)
    np.testing.assert_allclose(correlation[0], rho ** np.arange(5.0), atol=1e-12)


@pytest.mark.parametrize(
    ("formula", "context", "error", "message"),
    [
        ("y ~ (1 | gr(g, cov = B))", {"A": np.eye(3)}, FormulaError, "`B` is not given"),
        ('y ~ (1 | gr(g, cov = "spiral"))', {}, FormulaError, "no structure across levels"),
        ("y ~ (1 | gr(g, cov = A))", {"A": np.eye(4)}, DataError, "4 x 4 for 3 levels"),
        ("y ~ (1 | gr(g, cov = A))", {"A": np.ones((3, 3))}, DataError, "not positive definite"),
        (
            "y ~ (1 | gr(g, cov = A))",
            {"A": pd.DataFrame(np.eye(2), index=["a", "b"], columns=["a", "b"])},
            DataError,
            "1 of 3 levels of `g`",
        ),
        (
            "y ~ (1 | gr(g, cov = A))",
            {"A": pd.DataFrame(np.eye(2), index=list("ab"), columns=list("ac"))},
            DataError,
            "the same labels",
        ),
    ],
)
def test_what_is_no_covariance_of_the_levels(
    formula: str, context: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build(formula, table(), context=context)


def test_a_function_can_make_a_term() -> None:
    @register_term("bumps", needed("x", column))
    def bumps(x):
        centres = np.linspace(-2.0, 2.0, 5)
        return Basis(np.exp(-((x[:, None] - centres) ** 2)), tuple("12345"))

    try:
        data = table()
        problem = build("y ~ x + bumps(u) + (1 | g)", data)
        smooth = problem.terms[0]
        assert (smooth.m, smooth.k, smooth.group) == (1, 5, "bumps(u)")
        assert smooth.columns == tuple(f"bumps(u){j}" for j in range(1, 6))
        assert smooth.covariance.n_theta == 1
        assert problem.X.names == ("(Intercept)", "x")
        assert smooth.basis is not None
        ((part,), _) = problem.recipe.replay(data.head(4)).terms
        np.testing.assert_allclose(part.basis, smooth.basis[:4])
        assert (part.codes == 0).all()
    finally:
        TERM_FUNCTIONS.discard("bumps")
        del FUNCTIONS["bumps"]


def test_spread_of_rows_of_several_or_dependent_levels() -> None:
    """s_r from the definition: the variance of the row's combination of effects."""
    from oracle import GENERAL, across_covariance, general_problem, random_theta, z_matrix

    for layout in GENERAL:
        problem = general_problem(layout)
        theta = random_theta(problem)
        for term, where in zip(problem.terms, problem.theta_slices(), strict=True):
            plain = replace(term, basis=None, columns=("(Intercept)",))
            z = z_matrix(plain)
            expected = np.einsum("ns,st,nt->n", z, across_covariance(term, theta[where]), z)
            found = row_spread(term, theta[where])
            # a variance of zero, of an area without neighbours, is a difference of ones
            np.testing.assert_allclose(
                np.ones(problem.n) if found is None else found, expected, rtol=1e-9, atol=1e-15
            )
