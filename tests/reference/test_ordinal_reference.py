"""Ordinal models against ordinal::clmm and clmm2, and against binary models of the steps of a stopping ratio."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import PlanError, fit

REFERENCE = json.loads((Path(__file__).parent / "ordinal.json").read_text())

OF_THE_OPTIMISER = ("wine_clmm_equidistant",)
"""Standard errors of clmm itself, by differences where its search stopped; others are of a Newton optimum."""


def fitted(name: str) -> Any:
    ref = REFERENCE["models"][name]
    data: Any = pd.DataFrame(REFERENCE["data"][ref["data"]])
    if ref["data"] == "ratings":
        data["y"] = pd.Categorical(data["y"], ordered=True)
    return fit(ref["formula"], data, family=ref["family"], method="laplace", **ref["arguments"])


@pytest.mark.parametrize("name", REFERENCE["models"])
@pytest.mark.filterwarnings("ignore::lmmformula.errors.SingularFitWarning")
def test_optimum(name: str) -> None:
    ref, found = REFERENCE["models"][name], fitted(name)
    assert found.converged
    assert found.llf == pytest.approx(ref["logLik"], abs=1e-5)
    assert found.df_model == ref["df"]
    assert (np.abs(found.params - ref["fixef"]) / ref["se"]).max() < 1e-3
    table = found.tidy()
    cuts = table[table["component"] == "thresholds"]
    errors = cuts["std_error"] if ref["threshold_se"] is None else ref["threshold_se"]
    assert (np.abs(cuts["estimate"].to_numpy() - ref["thresholds"]) / errors).max() < 1e-3
    sds = found.varcorr()["sdcor"].to_numpy()
    np.testing.assert_allclose(sds, ref["sd"], rtol=1e-4, atol=1e-5)
    close = 5e-3 if name in OF_THE_OPTIMISER else 1e-4
    np.testing.assert_allclose(found.bse, ref["se"], rtol=close)
    np.testing.assert_allclose(cuts["std_error"], errors, rtol=close)
    if ref["predict"] is not None and name not in OF_THE_OPTIMISER:
        rows = ref["predict"]["rows"]
        conditional = found.predict().iloc[rows].to_numpy()
        # clmm's modes solve their equations to about 1e-4
        np.testing.assert_allclose(conditional, ref["predict"]["with_effects"], atol=1e-4)
        of_all = found.predict(re_form=None).iloc[rows].to_numpy()
        np.testing.assert_allclose(of_all, ref["predict"]["population"], atol=1e-5)


def test_standard_errors_of_equidistant_thresholds_are_those_of_the_likelihood() -> None:
    """By differences of the profile of each parameter: where it is 1 below its maximum on the scale of 2 log L."""
    found = fitted("wine_clmm_equidistant")
    limits = found.conf_int(method="profile", level=0.05, parameters=["spacing", "tempwarm"])
    half = (limits.iloc[:, 1] - limits.iloc[:, 0]) / 2 / 0.0627067779432
    table = found.tidy().set_index("term")["std_error"]
    np.testing.assert_allclose(half, table[["spacing", "tempwarm"]], rtol=1e-3)


def test_continuation_and_stopping_ratios_agree_where_the_link_is_symmetric() -> None:
    ref = REFERENCE["models"]["wine_sratio"]
    data: Any = pd.DataFrame(REFERENCE["data"]["wine"])
    found: Any = fit(ref["formula"], data, family="cratio")
    assert found.llf == pytest.approx(ref["logLik"], abs=1e-5)


def test_two_categories_are_a_binomial_response() -> None:
    data: Any = pd.DataFrame(REFERENCE["data"]["wine"])
    data["high"] = (data["rating"] > 2).astype(int)
    binary: Any = fit("high ~ temp + contact + (1 | judge)", data, family="binomial")
    for family in ("cumulative", "sratio", "cratio", "acat"):
        found: Any = fit("high ~ temp + contact + (1 | judge)", data, family=family)
        assert found.llf == pytest.approx(binary.llf, abs=1e-7)
        np.testing.assert_allclose(found.params, binary.params.iloc[1:], rtol=1e-4)
        assert found.dispersion["0|1"] == pytest.approx(-binary.params.iloc[0], rel=1e-4)


def test_adjacent_categories_without_groups_are_a_poisson_model() -> None:
    """log P(k+1)/P(k) = eta - tau_k is a multinomial with scores: counts with a constant for each value of x."""
    data: Any = pd.DataFrame(REFERENCE["data"]["wine"])
    found: Any = fit("rating ~ temp", data, family="acat")
    counts = data.groupby(["temp", "rating"]).size().unstack(fill_value=0).stack().rename("n").reset_index()
    counts["score"] = counts["rating"] * (counts["temp"] == "warm")
    counts["rating"] = counts["rating"].astype(str)
    poisson: Any = fit("n ~ temp + rating + score", counts, family="poisson")
    assert found.params["tempwarm"] == pytest.approx(poisson.params["score"], rel=1e-5)
    assert found.bse["tempwarm"] == pytest.approx(poisson.bse["score"], rel=1e-4)


def test_discrimination_is_the_scale_of_clm() -> None:
    """clm(rating ~ temp + contact, scale = ~ temp, data = wine) of ordinal 2022.11-16; disc is 1 / scale."""
    data: Any = pd.DataFrame(REFERENCE["data"]["wine"])
    found: Any = fit("bf(rating ~ temp + contact, disc ~ temp)", data, family="cumulative")
    assert found.llf == pytest.approx(-86.4394628794, abs=1e-7)
    np.testing.assert_allclose(found.params, [2.62941843044, 1.58784375509], rtol=1e-4)
    table = found.tidy().query("component == 'disc'")
    assert table["estimate"].item() == pytest.approx(-0.09535916685, abs=1e-4)
    assert table["std_error"].item() == pytest.approx(0.2941424654, rel=1e-3)
    assert "disc" not in found.dispersion
    with pytest.raises(PlanError, match="thresholds have"):
        fit("bf(rating ~ temp, disc ~ 1)", data, family="cumulative")
