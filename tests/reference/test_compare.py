"""The comparison itself: it passes R's own numbers, and fails when they move by one part in a hundred."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from compare import CHECKS, check_lrt, fit_arguments, lrt_pairs, model_ids, reference, report

WHOLE = [name for name in model_ids("lmm") if not any(t["truncated"] for t in reference(name)["ranef"])]


def stand_in(ref: dict[str, Any], move: float = 0.0) -> Any:
    """An object like a fit that returns the numbers of `ref`, each moved by the share `move`."""
    by = 1.0 + move
    fixef = ref["fixef"]
    names = fixef["names"]

    def series(values: Any) -> pd.Series:
        return pd.Series(values, names, dtype=float) * by

    def anova(**how: Any) -> pd.DataFrame:
        table = ref["anova"][f"{'I' * how['type']}_{how['ddf']}"]
        return pd.DataFrame(table["values"], table["rows"], table["columns"], dtype=float) * by

    def conf_int(level: float, method: str) -> pd.DataFrame:
        return pd.DataFrame(ref["confint"][method]["values"], ref["confint"][method]["rows"]) * by

    def predict(new: pd.DataFrame, **how: Any) -> list[float]:
        wanted = {"all": "NULL", None: "NA"}.get(how["re_form"], how["re_form"])
        allow = how["new_levels"] == "population"
        for p in ref["predict"]["predictions"]:
            source = pd.DataFrame(ref["predict"]["newdata"][p["newdata"]])
            if p["re_form"] == wanted and p["allow_new_levels"] == allow and source.equals(new):
                return [v * by for v in p["values"]]
        raise AssertionError("no such prediction")

    return SimpleNamespace(
        params=series(fixef["estimate"]),
        bse=series(fixef["se"]),
        tvalues=series(fixef["stat"]),
        df=series(fixef["df_satterthwaite"]),
        pvalues=series(fixef["p_satterthwaite"]),
        cov_params=lambda: pd.DataFrame(ref["vcov"], names, names) * by,
        llf=ref["logLik"] * by,
        aic=ref["AIC"] * by,
        bic=ref["BIC"] * by,
        nobs=ref["nobs"],
        ngroups=ref["ngrps"],
        sigma=ref["sigma"] * by,
        is_singular=ref["isSingular"] != bool(move),
        varcorr=lambda: varcorr(ref, by),
        ranef=lambda condsd: ranef(ref, by),
        fittedvalues=vector(ref["fitted"]) * by,
        residuals=lambda kind: vector(ref["residuals"][kind]) * by,
        predict=predict,
        conf_int=conf_int,
        anova=anova,
    )


def varcorr(ref: dict[str, Any], by: float) -> pd.DataFrame:
    rows: list[tuple[str, str | None, str | None, float]] = []
    for term in ref["varcorr"]:
        for i, a in enumerate(term["columns"]):
            rows.append((term["name_in_VarCorr"], a, None, term["sd"][i] * by))
            rows += [
                (term["group"], b, a, term["corr"][i][j] * by) for j, b in enumerate(term["columns"][:i])
            ]
    rows.append(("Residual", None, None, ref["sigma"] * by))
    return pd.DataFrame(rows, columns=pd.Index(["grp", "var1", "var2", "sdcor"]))


def ranef(ref: dict[str, Any], by: float) -> pd.DataFrame:
    rows = [
        (term["group"], column, level, values[k] * by, sds[k] * by)
        for term in ref["ranef"]
        for k, column in enumerate(term["columns"])
        for level, values, sds in zip(term["levels"], term["values"], term["cond_sd"], strict=True)
    ]
    return pd.DataFrame(rows, columns=pd.Index(["grpvar", "term", "grp", "condval", "condsd"]))


def vector(expected: dict[str, Any]) -> np.ndarray:
    """Some vector with the head, length, sum and sum of squares that the file lists."""
    head = np.array(expected["head"])
    k = expected["n"] - len(head)
    mean = (expected["sum"] - head.sum()) / k
    spread = math.sqrt(max((expected["sumsq"] - head @ head) - k * mean**2, 0.0) / (k - k % 2))
    signs = np.array([(-1.0) ** i for i in range(k - k % 2)] + [0.0] * (k % 2))
    return np.concatenate([head, mean + spread * signs])


@pytest.mark.parametrize("model", WHOLE)
def test_r_agrees_with_itself(model: str) -> None:
    ref = reference(model)
    assert not report(line for check in CHECKS.values() for line in check(ref, stand_in(ref)))


@pytest.mark.parametrize("quantity", CHECKS)
def test_a_moved_number_is_noticed(quantity: str) -> None:
    ref = reference("sleep_slope_reml")
    assert report(CHECKS[quantity](ref, stand_in(ref, move=0.01)))


def test_a_missing_coefficient_is_noticed() -> None:
    ref = reference("sleep_slope_reml")
    fit = stand_in(ref)
    fit.params = fit.params.iloc[:1]
    assert "names" in report(CHECKS["fixef"](ref, fit))


@pytest.mark.parametrize("pair", lrt_pairs("lmer"), ids=lambda pair: pair["id"])
def test_likelihood_ratio_table(pair: dict[str, Any]) -> None:
    def table(by: float) -> pd.DataFrame:
        small, large = pair["small"], pair["large"]
        return pd.DataFrame(
            {
                "npar": [small["df"], large["df"]],
                **{name: [small[name], large[name]] for name in ("logLik", "AIC", "BIC")},
                "Chisq": [math.nan, pair["chisq"] * by],
                "Df": [math.nan, pair["chi_df"]],
                "Pr(>Chisq)": [math.nan, pair["p"]],
            }
        )

    assert not report(check_lrt(pair, table(1.0)))
    assert report(check_lrt(pair, table(1.01)))


def test_arguments_ask_for_the_model_of_the_file() -> None:
    assert fit_arguments(reference("cbpp_gaussian_weights_reml")) == {
        "family": "gaussian",
        "method": "reml",
        "weights": "size",
    }
    probit = fit_arguments(reference("bacteria_probit_laplace"))
    assert probit == {"family": "binomial(link='probit')", "method": "laplace", "information": "expected"}
    assert fit_arguments(reference("bacteria_agq9"))["nagq"] == 9
    sums = {**reference("sleep_int_ml"), "contrasts_arg": 'list(f = "contr.sum", g = "contr.helmert")'}
    assert fit_arguments(sums)["contrasts"] == {"f": "contr.sum", "g": "contr.helmert"}
