"""Means, slopes and tests of terms of several responses: those of fits by themselves, and hypotheses across responses."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

from lmmformula import Fit, fit
from lmmformula.errors import PlanError

ALONE = {"y": "y ~ f * x + (1 | g)", "z": "z ~ f + (1 | g)"}


@cache
def data() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    n, g = 160, np.repeat(np.arange(20), 8)
    x, e = rng.normal(size=n), rng.normal(size=(n, 2))
    f = np.array(["a", "b", "c"])[rng.integers(0, 3, n)]
    b = rng.normal(size=(20, 2))
    y = 1 + 0.5 * x + (f == "b") + 0.7 * b[g, 0] + 0.6 * e[:, 0]
    z = 2 - (f == "c") + 0.5 * b[g, 1] + 0.5 * e[:, 0] + 0.5 * e[:, 1]
    table = pd.DataFrame({"y": y, "z": z, "x": x, "f": f, "g": g.astype(str)})
    table["k"] = rng.poisson(np.exp(0.4 + 0.3 * x + 0.3 * b[g, 1]))
    return table


@cache
def together() -> Fit:
    return fit("bf(y ~ f * x + (1 | g)) + bf(z ~ f + (1 | g)) + set_rescor(FALSE)", data(), method="reml")


@cache
def alone(name: str) -> Fit:
    return fit(ALONE[name], data(), method="reml")


def test_means_of_independent_responses_are_those_of_fits_by_themselves() -> None:
    found = together().emmeans("f").contrast("pairwise").table
    assert list(dict.fromkeys(found["response"])) == ["y", "z"]
    for name in ALONE:
        own = alone(name).emmeans("f").contrast("pairwise").table
        part = found[found["response"] == name]
        for column in ("estimate", "SE", "p.value"):
            np.testing.assert_allclose(part[column], own[column], rtol=2e-4)
        np.testing.assert_allclose(part["df"], own["df"], rtol=5e-3)


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_terms_of_independent_responses_are_tested_as_in_fits_by_themselves(kind: int) -> None:
    table = together().anova(type=kind)
    own = pd.concat([alone(name).anova(type=kind).rename(lambda s, n=name: f"{n}:{s}") for name in ALONE])
    assert list(table.index) == list(own.index)
    for column in ("Sum Sq", "NumDF", "F value"):
        np.testing.assert_allclose(table[column], own[column], rtol=5e-4)
    np.testing.assert_allclose(table["DenDF"], own["DenDF"], rtol=5e-3)


def test_a_response_whose_formula_lacks_the_variable_has_no_slope() -> None:
    found = together().emtrends("f", "x").table
    own = alone("y").emtrends("f", "x").table
    assert set(found["response"]) == {"y"}
    np.testing.assert_allclose(found["x.trend"], own["x.trend"], rtol=1e-4)
    tests = together().joint_tests()
    assert list(zip(tests["model term"], tests["response"], strict=True)) == [
        ("f", "y"),
        ("x", "y"),
        ("f:x", "y"),
        ("f", "z"),
    ]


def test_contrasts_of_responses_are_hypotheses_about_their_coefficients() -> None:
    m = fit("bf(mvbind(y, z) ~ x + (1 |p| g)) + set_rescor(TRUE)", data())
    contrast = m.emtrends("~ 1", "x").contrast("pairwise", by=[]).table.iloc[0]
    known = m.hypothesis("y:x = z:x").iloc[0]
    for one, other in (("estimate", "estimate"), ("SE", "std_error"), ("df", "df")):
        assert float(contrast[one]) == pytest.approx(float(known[other]), rel=1e-8)


def test_responses_of_other_families_have_scales_of_their_own() -> None:
    families = {"y": "gaussian", "k": "poisson"}
    m = fit(["y ~ f + (1 | g)", "k ~ x + f + (1 | g)"], data(), family=families)
    count = fit("k ~ x + f + (1 | g)", data(), family="poisson")
    for kind, column in (("link", "emmean"), ("response", "rate")):
        own = count.emmeans("f", kind=kind).table
        found = m.emmeans("f", kind=kind).table
        part = found[found["response"] == "k"]
        np.testing.assert_allclose(part["emmean"], own[column], rtol=1e-4)
        np.testing.assert_allclose(part["SE"], own["SE"], rtol=1e-3)
    terms = m.anova().loc["k:f", "Chisq"]
    assert terms == pytest.approx(count.anova().loc["f", "Chisq"], rel=1e-3)


def test_what_needs_one_response_is_refused_by_name() -> None:
    with pytest.raises(PlanError, match=r"average='population'.*several"):
        together().emmeans("f", average="population")
    with pytest.raises(PlanError, match="z has smooths"):
        fit("bf(y ~ x + (1 | g)) + bf(z ~ s(x) + (1 | g)) + set_rescor(FALSE)", data()).anova()


def test_smooths_count_in_means_of_their_response() -> None:
    m = fit("bf(y ~ f) + bf(z ~ f + s(x)) + set_rescor(FALSE)", data(), method="reml")
    own = fit("z ~ f + s(x)", data(), method="reml")
    found, known = m.emmeans("f", at={"x": 0.5}).table, own.emmeans("f", at={"x": 0.5}).table
    part = found[found["response"] == "z"]
    np.testing.assert_allclose(part["emmean"], known["emmean"], rtol=1e-4)
    np.testing.assert_allclose(part["SE"], known["SE"], rtol=2e-3)
