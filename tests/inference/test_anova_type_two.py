"""Which terms a test of type 2 adjusts for: lmerTest's rule in linear mixed models, car's in generalised ones."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import fit, load_dataset

# On two thirds of Salamanders. F of lmerTest 3.1-3, log(count + 1) ~ . + (1 | site); Wald's chi-square of car 3.1-1 for
# glmmTMB 1.1.5, count ~ . + (1 | site), Poisson.
LMM = {
    "mined*DOY": [82.520386737, 0.057990872, 0.253733372],
    "cover*DOY": [4.8031376493, 0.0057467756, 0.1067929577],
    "mined*cover*DOY": [70.68298069, 2.0229906, 0.21773921, 4.43844939, 0.75395455, 0.63561387, 0.02895652],
    "mined*poly(DOY, 2)": [81.761016941, 0.030052315, 0.58030849],
    "mined*DOY+cover": [67.165127255, 0.070306142, 1.64340292, 0.285727541],
    "mined+mined:DOY": [82.52038674, 0.15417879],
    "mined*DOY+mined*cover": [70.2283252, 0.10542279, 1.94480044, 0.3360508, 4.24172987],
    "cover*Wtemp*DOY": [
        4.8085585,
        0.050623359,
        2.7086982e-6,
        0.38348598,
        0.11120803,
        6.2006234e-4,
        0.1411552,
    ],
}
GLMM = {
    "mined*DOY": [71.5216106, 11.3695785, 1.6030464],
    "cover*DOY": [6.6883109, 10.8074633, 3.5746529],
    "mined*cover*DOY": [78.349196, 0.81870248, 11.237127, 5.0280713, 3.1017851, 5.1698216, 1.2613252e-4],
    "mined*poly(DOY, 2)": [68.9014975, 12.615379, 6.9025067],
    "mined*DOY+cover": [58.16549545, 11.41841629, 0.42550956, 1.61331593],
    "mined+mined:DOY": [72.292791, 12.972621],
    "mined*DOY+mined*cover": [78.34045544, 11.69098329, 0.83984837, 1.61699038, 5.02408264],
    "cover*Wtemp*DOY": [6.2800855, 1.3912677, 10.7792503, 1.1571328, 4.5757156, 1.3976401, 4.3567127],
}


@cache
def _salamanders() -> pd.DataFrame:
    data: Any = load_dataset("Salamanders")
    return data[np.arange(len(data)) % 3 != 1].reset_index(drop=True)


@pytest.mark.parametrize("terms", LMM)
def test_linear_mixed_models_as_lmertest(terms: str) -> None:
    table = fit(f"log(count + 1) ~ {terms} + (1 | site)", _salamanders()).anova(2)
    np.testing.assert_allclose(table["F value"], LMM[terms], rtol=2e-4, atol=1e-7)


@pytest.mark.parametrize("terms", GLMM)
def test_generalised_models_as_car(terms: str) -> None:
    table = fit(f"count ~ {terms} + (1 | site)", _salamanders(), family="poisson").anova(2)
    np.testing.assert_allclose(table["Chisq"], GLMM[terms], rtol=3e-4, atol=1e-5)


@pytest.mark.parametrize(
    "terms", ["cover*DOY", "mined*DOY", "mined*cover*DOY", "mined*DOY+mined*cover", "spp*DOY"]
)
@pytest.mark.parametrize("family", ["poisson", "binomial"])
def test_the_origin_of_a_covariate_does_not_matter(terms: str, family: str) -> None:
    data = _salamanders().assign(seen=lambda d: 1.0 * (d["count"] > 0))
    formula = f"{'count' if family == 'poisson' else 'seen'} ~ {terms} + (1 | site)"
    expected = fit(formula, data, family=family).anova(2)
    for shift in (5.0, -50.0):
        moved = data.assign(DOY=data["DOY"] + shift, cover=data["cover"] - shift)
        np.testing.assert_allclose(
            fit(formula, moved, family=family).anova(2), expected, rtol=2e-3, atol=1e-4
        )


def test_a_nested_factor_is_contained() -> None:
    """f of f + f:h does not depend on the coding of h, by either rule."""
    data, formula = _salamanders(), "count ~ spp + spp:mined + (1 | site)"
    for family in ("gaussian", "poisson"):
        plain = fit(formula, data, family=family).anova(2)
        coded = fit(formula, data, family=family, contrasts={"mined": "contr.SAS"}).anova(2)
        np.testing.assert_allclose(coded, plain, rtol=1e-3)
