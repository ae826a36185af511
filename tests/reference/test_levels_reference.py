"""Levels that are shared, related, or of several kinds: against lme4, TMB, glmmTMB and metafor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import Fit, fit

REFERENCE = json.loads(Path(__file__).with_name("levels.json").read_text())
MODELS = REFERENCE["models"]
GAUSSIAN = [n for n, m in MODELS.items() if m["family"] == "gaussian" and "(A)" not in m["formula"]]
EFFECTS = [n for n in GAUSSIAN if "ranef" in MODELS[n]] + ["by_pois"]
"""TMB reports effects at the last parameters that it tried, which are no modes to this accuracy; glmmTMB's are."""
OTHERS = [n for n, m in MODELS.items() if m["family"] != "gaussian"]


def rows(name: str) -> pd.DataFrame:
    return pd.DataFrame(REFERENCE["data"][name])


def relations(model: dict[str, Any]) -> dict[str, Any]:
    """What ``A`` of the formula stands for: a pedigree, or covariances of a tree by its shared branches."""
    if "animal" in model["formula"]:
        return {"A": rows("pedigree")}
    return {"A": REFERENCE["tree"]}


def fitted(name: str) -> Fit:
    model = MODELS[name]
    data2 = relations(model) if "cov = A" in model["formula"] else None
    return fit(
        model["formula"], rows(model["data"]), family=model["family"], method=model["method"], data2=data2
    )


@pytest.mark.parametrize("name", [*GAUSSIAN, *OTHERS])
def test_agrees_with_r(name: str) -> None:
    model, m = MODELS[name], fitted(name)
    assert list(m.params.index) == model["names"]
    assert abs(m.llf - model["logLik"]) < 1e-4
    np.testing.assert_array_less(
        np.abs(m.params.to_numpy() - model["estimate"]), 1e-3 * np.array(model["se"])
    )
    np.testing.assert_allclose(m.bse.to_numpy(), model["se"], rtol=2e-3)
    wanted = np.concatenate(list(model["sd"].values()))
    table = m.varcorr(se=True)
    if name == "konst_3level_reml":
        table = table.iloc[::-1]  # metafor has the outer factor first
    own, error = np.array(table["sdcor"]), np.array(table["se"])
    np.testing.assert_array_less(np.abs(own - wanted), 1e-3 * np.nan_to_num(error, nan=1.0))


@pytest.mark.parametrize("name", EFFECTS)
def test_effects_agree_with_r(name: str) -> None:
    modes = fitted(name).ranef(condsd=True)
    for table in MODELS[name]["ranef"]:
        group = table["group"].partition(":arm")[0]
        crossed = group == "district:school"  # metafor has the outer factor first
        own = modes[modes["grpvar"] == ("school:district" if crossed else group)]
        for level, values in zip(table["levels"], table["values"], strict=True):
            here = own[own["grp"] == (":".join(reversed(level.split())) if crossed else level)]
            wanted = [
                v for v in values if v != 0.0
            ]  # R's program has effects of the other arm too, which are 0
            assert len(here) == len(wanted), (table["group"], level)
            assert np.abs(np.array(here["condval"]) - wanted).max() < 1e-3 * float(np.max(here["condsd"]))
