"""An interval and a p-value of one coefficient never contradict each other, wherever they are shown."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from lmmformula import DataError, Fit, PlanError, fit, load_dataset
from lmmformula.inference.student import critical, two_sided
from lmmformula.interfaces.maketables import coef_table

KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "reml": ("angle ~ recipe + temp + (1 | recipe:replicate)", "cake", {}),
    "ml": ("Reaction ~ Days + (Days | Subject)", "sleepstudy", {"method": "ml"}),
    "krylov": ("diameter ~ 1 + (1 | plate) + (1 | sample)", "Penicillin", {"method": "krylov", "seed": 1}),
    "laplace": ("incidence / size ~ period + (1 | herd)", "cbpp", {"family": "binomial", "weights": "size"}),
    "pql": ("Reaction ~ Days + (1 | Subject)", "sleepstudy", {"method": "pql"}),
    "dispersion": ("Reaction ~ Days + (1 | Subject)", "sleepstudy", {"dispformula": "~ Days"}),
}


@cache
def _fitted(kind: str) -> Fit:
    formula, dataset, arguments = KINDS[kind]
    return fit(formula, load_dataset(dataset), **arguments)


@pytest.mark.parametrize("kind", KINDS)
def test_an_interval_leaves_out_zero_exactly_where_p_is_small(kind: str) -> None:
    m = _fitted(kind)
    for name, p in m.pvalues.items():
        for level, out in ((1 - 1.001 * p, True), (1 - 0.999 * p, False)):
            if 0 < level < 1 and p > 1e-12:
                low, high = m.conf_int(level).loc[name]
                assert (low > 0 or high < 0) == out, (name, level)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_every_table_shows_the_same_interval(kind: str, level: float) -> None:
    m = _fitted(kind)
    expected = m.conf_int(level)
    tidy = m.tidy("fixed", conf_int=True, level=level).iloc[: m.problem.p]
    np.testing.assert_allclose(tidy[["conf_low", "conf_high"]], expected)
    np.testing.assert_allclose(tidy["p_value"], m.pvalues)
    found = m.inference.fixed_intervals(level)
    np.testing.assert_allclose(np.column_stack([found.low, found.high]), expected)
    assert np.isnan(m.inference.fixed_intervals(None).low).all()
    table = coef_table(m)
    np.testing.assert_allclose(table[["ci95l", "ci95u"]], m.conf_int(0.95))


@pytest.mark.parametrize(
    ("ddf", "expected"),
    [
        (
            "satterthwaite",
            [
                [-8.60798839, 7.06222851],
                [-6.28637328, 4.10984926],
                [-6.67079506, 3.72541219],
                [0.13359103, 0.20332405],
            ],
        ),
        (
            "kenward-roger",
            [
                [-8.60900657, 7.0632467],
                [-6.28618796, 4.10966394],
                [-6.67060973, 3.72522686],
                [0.133585374, 0.203329705],
            ],
        ),
        (
            "normal",
            [
                [-8.5661836, 7.020423733],
                [-6.1364185, 3.959894487],
                [-6.5208395, 3.575456640],
                [0.13381668, 0.203098399],
            ],
        ),
    ],
)
def test_against_lmertest_and_lme4(ddf: str, expected: list[list[float]]) -> None:
    """lmerTest 3.1-3's contest1D(confint = TRUE), and lme4's confint(method = "Wald")."""
    cake = load_dataset("cake")
    m = fit("angle ~ recipe + temp + (1 | recipe:replicate)", cake[np.arange(1, len(cake) + 1) % 7 != 0])
    np.testing.assert_allclose(m.conf_int(ddf=ddf), expected, rtol=5e-5)


def test_kenward_roger_intervals_agree_with_its_tests() -> None:
    m = fit("distance ~ age * Sex + (1 | Subject)", load_dataset("Orthodont"))
    known, rows = m.inference.uncertainty("kenward-roger"), np.eye(m.problem.p)
    p = two_sided(m.params.to_numpy() / known.errors(rows), known.df(rows))
    name = m.params.index[-1]
    assert p[-1] == pytest.approx(m.anova(3, "kenward-roger").loc["age:Sex", "Pr(>F)"], rel=1e-6)
    for level, out in ((1 - 1.001 * p[-1], True), (1 - 0.999 * p[-1], False)):
        low, high = m.conf_int(level, ddf="kenward-roger").loc[name]
        assert (low > 0 or high < 0) == out


def test_quantiles() -> None:
    np.testing.assert_allclose(
        critical(0.95, np.array([1.0, 17.0, np.inf])), [12.7062047, 2.1098156, 1.9599640]
    )
    np.testing.assert_allclose(
        two_sided(critical(0.9, np.array([3.5, np.inf])), np.array([3.5, np.inf])), 0.1
    )


def test_refusals() -> None:
    with pytest.raises(DataError, match="ddf='kr'"):
        _fitted("reml").conf_int(ddf="kr")
    with pytest.raises(PlanError, match="method='reml'"):
        _fitted("ml").conf_int(ddf="kenward-roger")
    with pytest.raises(PlanError, match="Gaussian responses"):
        _fitted("laplace").conf_int(ddf="kenward-roger")
