"""Random-effects terms have no parameter that no data could identify."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from lmmformula import build, fit, load_dataset
from lmmformula.errors import LmmformulaWarning, RankDeficientWarning
from lmmformula.formula.bars import CONSTRUCTORS, PLACED
from lmmformula.ir.covariance import KINDS
from lmmformula.ir.prior_defaults import resolve_priors


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    table = load_dataset("sleepstudy")
    return table.assign(
        one="a",
        c=5.0,
        double=2 * table["Days"] + 1,
        half=np.where(table["Days"] < 5, "early", "late"),
        between=np.where(table["Subject"].astype(int) % 2 == 1, "odd", "even"),
    )


def quietly(formula: str, data: pd.DataFrame, category: type[Warning], match: str):
    with pytest.warns(category, match=match):
        return build(formula, data)


@pytest.mark.parametrize("name", sorted(set(CONSTRUCTORS.values()) - PLACED))
@pytest.mark.parametrize("column", ["1", "0 + one", "0 + Days"])
def test_one_column_has_one_parameter(data, name: str, column: str) -> None:
    """By every constructor, also where levels that do not occur leave one column."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        problem = build(f"Reaction ~ Days + {name}({column} | Subject)", data)
    assert (problem.terms[0].k, problem.n_theta) == (1, 1)
    said = [str(w.message) for w in seen if w.category is LmmformulaWarning]
    assert bool(said) == (KINDS[name](1).n_theta > 1)
    assert all("one column" in text and f"{name}(" in text for text in said)


@pytest.mark.parametrize("name", ["ar1", "cs"])
def test_one_column_is_the_model_of_an_intercept(data, name: str) -> None:
    plain = fit("Reaction ~ Days + (1 | Subject)", data)
    with pytest.warns(LmmformulaWarning, match="1 parameter fewer"):
        ours = fit(f"Reaction ~ Days + {name}(1 | Subject)", data)
    assert (ours.df_model, ours.aic) == (plain.df_model, pytest.approx(plain.aic, abs=1e-9))
    with pytest.warns(LmmformulaWarning, match="one column"):
        priors = resolve_priors(build(f"Reaction ~ Days + {name}(1 | Subject)", data))
    assert "cor" not in str(priors)  # a posterior has no such parameter either


@pytest.mark.parametrize(("name", "count", "kind"), [("us", 2, "diag"), ("cs", 2, "diag"), ("ar1", 1, "iid")])
def test_columns_that_never_meet_in_a_level_have_no_correlation(
    data, name: str, count: int, kind: str
) -> None:
    problem = quietly(
        f"Reaction ~ Days + {name}(0 + between | Subject)",
        data,
        LmmformulaWarning,
        "no level has rows of two",
    )
    assert (problem.n_theta, problem.terms[0].covariance.name) == (count, kind)


@pytest.mark.parametrize("name", ["us", "cs", "ar1"])
def test_columns_that_meet_keep_theirs(data, name: str) -> None:
    kind = build(f"Reaction ~ Days + {name}(0 + half | Subject)", data).terms[0].covariance
    assert (kind.name, kind.n_theta) == (name, KINDS[name](2).n_theta)


def test_a_correlation_that_never_shows_is_not_in_the_likelihood(data) -> None:
    """The fit with variances alone has the likelihood of separate terms."""
    with pytest.warns(LmmformulaWarning, match="no level has rows of two"):
        ours = fit("Reaction ~ Days + cs(0 + between | Subject)", data)
    split = fit("Reaction ~ Days + (0 + between || Subject)", data)
    assert ours.llf == pytest.approx(split.llf, abs=1e-8)
    assert ours.df_model == split.df_model


@pytest.mark.parametrize(
    ("random", "gone", "equal"),
    [
        ("(1 + c | Subject)", "c", "(1 | Subject)"),
        ("(Days + double | Subject)", "double", "(Days | Subject)"),
        ("cs(0 + half + c | Subject)", "c", "cs(0 + half | Subject)"),
        ("(1 + Days + I(0 * Days) | Subject)", r"I\(0 \* Days\)", "(Days | Subject)"),
    ],
)
def test_columns_that_others_determine_are_dropped(data, random: str, gone: str, equal: str) -> None:
    """Estimates, and predictions of old and new levels, are those of the formula without them."""
    with pytest.warns(RankDeficientWarning, match=f"1 of . columns of .* dropped .*: {gone}"):
        ours = fit(f"Reaction ~ Days + {random}", data)
    plain = fit(f"Reaction ~ Days + {equal}", data)
    assert ours.df_model == plain.df_model
    assert ours.llf == pytest.approx(plain.llf, abs=1e-8)
    assert ours.problem.terms[0].columns == plain.problem.terms[0].columns
    rows = data.iloc[::17]
    np.testing.assert_allclose(ours.predict(rows), plain.predict(rows), rtol=1e-6)
    new = rows.assign(Subject="new")
    draws = [m.predict(new, new_levels="sample", seed=3) for m in (ours, plain)]
    np.testing.assert_allclose(draws[0], draws[1], rtol=1e-4)


def test_predictions_by_a_part_of_a_term_know_the_dropped_columns(data) -> None:
    with pytest.warns(RankDeficientWarning):
        ours = fit("Reaction ~ Days + (c + Days | Subject)", data)
    plain = fit("Reaction ~ Days + (Days | Subject)", data)
    part = [m.predict(data.head(), re_form="~ (0 + Days | Subject)") for m in (ours, plain)]
    np.testing.assert_allclose(part[0], part[1], rtol=1e-6)
