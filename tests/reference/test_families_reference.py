"""Families of counts, proportions and skewed measurements against glmmTMB and likelihoods in TMB."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lmmformula import fit

REFERENCE = json.loads((Path(__file__).parent / "families.json").read_text())


@pytest.mark.parametrize("name", REFERENCE["models"])
def test_optimum(name: str) -> None:
    ref = REFERENCE["models"][name]
    found = fit(
        ref["formula"],
        pd.DataFrame(REFERENCE["data"][ref["data"]]),
        family=ref["family"],
        method="laplace",
        **ref["arguments"],
    )
    assert found.converged
    assert found.llf == pytest.approx(ref["logLik"], abs=1e-5)
    errors = np.abs(np.asarray(found.params) - ref["fixef"]) / ref["se"]
    assert errors.max() < 1e-3
    np.testing.assert_allclose(found.bse, ref["se"], rtol=1e-4)
    assert found.varcorr()["sdcor"].iloc[0] == pytest.approx(ref["sd"][0], rel=1e-4)
    if not ref["arguments"]:
        assert set(found.dispersion) == set(ref["parameters"])
    for parameter, value in ref["parameters"].items():
        if parameter in found.dispersion:
            assert found.dispersion[parameter] == pytest.approx(value, rel=1e-4)
    if ref["fixef_zi"] is not None:
        zeros = found.problem.family.zeros_at
        assert zeros is not None
        zi = found.estimate.aux[zeros]
        assert (np.abs(zi - ref["fixef_zi"]) / ref["se_zi"]).max() < 1e-3
    if ref["fitted_sum"] is not None:
        # glmmTMB's fitted values of an ordered beta response are the means of its beta part
        kind = "conditional" if ref["family"] == "ordbeta" else "response"
        total = float(np.sum(np.asarray(found.predict(kind=kind))))
        assert total == pytest.approx(ref["fitted_sum"], rel=1e-5)
