"""Families of counts, proportions and skewed measurements against glmmTMB and likelihoods in TMB."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lmmformula import fit
from lmmformula.datasets import load_dataset

REFERENCE = json.loads((Path(__file__).parent / "families.json").read_text())


@pytest.mark.parametrize("name", REFERENCE["models"])
def test_optimum(name: str) -> None:
    ref = REFERENCE["models"][name]
    own = REFERENCE["data"].get(ref["data"])
    found = fit(
        ref["formula"],
        load_dataset(ref["data"]) if own is None else pd.DataFrame(own),
        family=ref["family"],
        method="laplace",
        **ref["arguments"],
    )
    assert found.converged
    assert found.llf == pytest.approx(ref["logLik"], abs=1e-5)
    errors = np.abs(np.asarray(found.params) - ref["fixef"]) / ref["se"]
    assert errors.max() < 1e-3
    np.testing.assert_allclose(found.bse, ref["se"], rtol=1e-4)
    sds = found.varcorr().query("grp != 'Residual'")["sdcor"].to_numpy()
    np.testing.assert_allclose(sds, ref["sd"], rtol=1e-4)
    predicted = ref.get("predictors", {})
    if not ref["arguments"] and not predicted:
        assert set(found.dispersion) == set(ref["parameters"])
    for parameter, value in ref["parameters"].items():
        if parameter in found.dispersion:
            assert found.dispersion[parameter] == pytest.approx(value, rel=1e-4)
    names = [a.name for a in found.problem.family.auxiliaries]
    for parameter, its in predicted.items():
        own = found.estimate.aux[names.index(parameter)]
        assert (np.abs(own - its["estimate"]) / its["se"]).max() < 1e-3
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
