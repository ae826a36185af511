"""``method="pql"`` as a user meets it: planning, options, results without a likelihood, naivete."""

from __future__ import annotations

import numpy as np
import pytest

from lmmformula import PlanError, anova, fit, load_dataset, plan

FORMULA = "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)"


@pytest.fixture(scope="module")
def verbal():
    return fit(FORMULA, load_dataset("VerbAgg"), family="binomial", method="pql")


def test_the_plan_says_which_traces_the_size_allows() -> None:
    data = load_dataset("VerbAgg")
    small = plan(FORMULA, data, family="binomial", method="pql")
    assert (small.method, small.engine) == ("pql", "blocked")
    asked = plan(FORMULA, data, family="binomial", method="pql", traces="diagonal")
    assert (asked.engine, asked.dense) == ("backfitting", 0)
    assert "backfitted" in str(asked)


def test_results_have_no_likelihood_and_say_so(verbal) -> None:
    assert np.isnan(verbal.llf)
    text = str(verbal.summary())
    assert "PQL (exact traces)" in text
    assert "logLik" not in text
    with pytest.raises(PlanError, match="no likelihood to compare"):
        anova(verbal, verbal.update("r2 ~ Anger + (1 | id) + (1 | item)"))
    assert verbal.anova().loc["btype", "Df"] == 2


def test_naivete_of_a_plain_glm(verbal) -> None:
    table = verbal.naivete()
    assert list(table.index) == list(verbal.params.index)
    assert (table["naivete"] > 5).all()
    assert (table["inefficiency"] > 1).all()


def test_a_search_that_stopped_early_goes_on_from_its_estimate() -> None:
    data = load_dataset("VerbAgg")
    with pytest.warns(match="limit of evaluations"):
        part = fit(FORMULA, data, family="binomial", method="pql", traces="diagonal", max_outer=2)
    rest = fit(FORMULA, data, family="binomial", method="pql", traces="diagonal", start=part.estimate)
    whole = fit(FORMULA, data, family="binomial", method="pql", traces="diagonal")
    np.testing.assert_allclose(rest.params, whole.params, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "pql", "traces": "guess"}, "traces='guess'"),
        ({"method": "pql", "nagq": 5}, "'nagq' is no option of method='pql'"),
        ({"method": "laplace", "traces": "exact"}, "'traces' is an option of method='pql' only"),
        ({"method": "pql", "dispersion": "some"}, "dispersion='some'"),
    ],
)
def test_options(arguments, message) -> None:
    with pytest.raises(PlanError, match=message):
        fit(FORMULA, load_dataset("VerbAgg"), family="binomial", **arguments)
