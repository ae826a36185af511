"""Gaussian models against lme4: every number of every reference file, and likelihood-ratio tests."""

from __future__ import annotations

from typing import Any

import pytest
from compare import CHECKS, check_lrt, fitted_model, lrt_pairs, model_ids, reference, report

import lmmformula
from lmmformula.datasets import load_dataset


@pytest.mark.parametrize("quantity", CHECKS)
@pytest.mark.parametrize("model", model_ids("lmm"))
def test_agrees_with_lme4(model: str, quantity: str) -> None:
    differences = report(CHECKS[quantity](reference(model), fitted_model(model)))
    assert not differences, f"{reference(model)['r_call']}\n{differences}"


@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize("pair", lrt_pairs("lmer"), ids=lambda pair: pair["id"])
def test_likelihood_ratio(pair: dict[str, Any], method: str) -> None:
    # REML fits are refitted by ML before they are compared, so both methods give R's numbers.
    data = load_dataset(pair["dataset"])
    small, large = (
        lmmformula.fit(pair[f"formula_{size}"], data, method=method) for size in ("small", "large")
    )
    differences = report(check_lrt(pair, lmmformula.anova(small, large)))
    assert not differences, differences


def test_every_reference_is_there() -> None:
    kinds = {kind: len(model_ids(kind)) for kind in ("lmm", "glmm", "tmb", "pql")}
    assert kinds == {"lmm": 27, "glmm": 16, "tmb": 9, "pql": 3}
    assert sum(kinds.values()) == reference("index")["count"]
