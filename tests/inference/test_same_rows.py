"""anova() compares fits of the same rows only, whatever shows that they are not, and names the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, Fit, PlanError, anova, fit, load, load_dataset

pytestmark = pytest.mark.filterwarnings("ignore::lmmformula.DataDroppedWarning")
SMALL, LARGE = "score ~ x + (1 | plot)", "score ~ x + z + (1 | plot)"


def _scores() -> pd.DataFrame:
    """Scores of 24 plots; rows 50 and 51 have the same score and plot."""
    rng = np.random.default_rng(16)
    plot = np.repeat(np.arange(24), 10)
    x, z = rng.normal(size=(2, 240))
    score = np.clip(np.round(4 + x + rng.normal(size=24)[plot] + rng.normal(size=240)), 1, 7)
    score[51] = score[50]
    return pd.DataFrame({"score": score, "x": x, "z": z, "plot": plot})


def _with_gaps() -> pd.DataFrame:
    data = _scores()
    data.loc[50, "x"], data.loc[51, "z"] = np.nan, np.nan
    return data


def _columns(data: pd.DataFrame) -> dict[str, Any]:
    return {name: data[name].to_numpy() for name in data}


@pytest.mark.parametrize("form", [pd.DataFrame, _columns], ids=["frame", "dict"])
@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_each_leaves_out_another_row(form: Any, family: str) -> None:
    data = form(_with_gaps())
    small = fit("score ~ x + (1 | plot)", data, family=family)
    large = fit("score ~ z + (1 | plot)", data, family=family)
    assert small.nobs == large.nobs == 239
    np.testing.assert_array_equal(small.problem.y, large.problem.y)
    with pytest.raises(DataError, match=r"row 51 is only in .*row 50 is only in .*dropna\(subset="):
        anova(small, large)


def test_loaded_fits(tmp_path: Path) -> None:
    data = _with_gaps()
    fits = [fit(f"score ~ {name} + (1 | plot)", data) for name in ("x", "z")]
    for i, m in enumerate(fits):
        m.save(tmp_path / f"{i}.lmm")
    small, large = (load(tmp_path / f"{i}.lmm") for i in range(2))
    for pair in ((small, large), (small, fits[1])):
        with pytest.raises(DataError, match="row"):
            anova(*pair)
    assert len(anova(small, fit("score ~ x + I(x^2) + (1 | plot)", data))) == 2
    shuffled = fit("score ~ x + I(x^2) + (1 | plot)", data.sample(frac=1.0, random_state=4))
    shuffled.save(tmp_path / "shuffled.lmm")
    assert len(anova(small, load(tmp_path / "shuffled.lmm"))) == 2


def test_tables_from_which_other_rows_were_dropped() -> None:
    data = _scores()
    small, large = fit(SMALL, data.drop(index=50)), fit(LARGE, data.drop(index=51))
    np.testing.assert_array_equal(small.problem.rows, large.problem.rows)
    with pytest.raises(DataError, match="row 51 is only in"):
        anova(small, large)


def test_the_contents_tell_where_positions_cannot() -> None:
    data = _with_gaps().assign(z=_scores()["z"])
    without = _scores().drop(index=51).reset_index(drop=True)
    with pytest.raises(DataError, match=r"tables of 240 and 239 rows.*row 51 of those used has x ="):
        anova(fit(SMALL, data), fit(LARGE, without))


def _fits_of_the_same_rows() -> list[tuple[str, Fit, Fit]]:
    data = _with_gaps()
    complete = data.dropna()
    shuffled = complete.sample(frac=1.0, random_state=1)
    small = fit(SMALL, complete)
    return [
        ("missing rows dropped by fit or before", small, fit(LARGE, data)),
        ("numbered anew", small, fit(LARGE, complete.reset_index(drop=True))),
        ("a dict and a frame", small, fit(LARGE, _columns(complete))),
        ("another order", small, fit(LARGE, shuffled)),
        (
            "text labels",
            fit(SMALL, complete.set_index("r" + complete.index.astype(str))),
            fit(LARGE, complete),
        ),
    ]


def test_the_same_rows_are_recognised() -> None:
    expected = None
    for name, small, large in _fits_of_the_same_rows():
        table = anova(small, large)
        expected = table if expected is None else expected
        np.testing.assert_allclose(table, expected, rtol=1e-6, err_msg=name)
        as_they_are = anova(small, small.update(method="reml"), refit=False)
        assert as_they_are["Df"].iloc[1] == 0


def test_another_order_without_labels_is_refused() -> None:
    data = _scores()
    turned = {name: values[::-1] for name, values in _columns(data).items()}
    with pytest.raises(DataError, match="another order"):
        anova(fit(SMALL, data), fit(LARGE, turned))
    with pytest.raises(
        DataError, match=r"different responses or different rows \(239 of 240|different responses"
    ):
        anova(fit(SMALL, data), fit("exp(score) ~ x + (1 | plot)", data))


def test_restricted_likelihoods_as_they_are() -> None:
    """lme4: anova(a, b, refit = FALSE) on sleepstudy."""
    data = load_dataset("sleepstudy")
    small = fit("Reaction ~ Days + (1 | Subject)", data)
    large = fit("Reaction ~ Days + (Days | Subject)", data)
    table = anova(small, large, refit=False)
    np.testing.assert_allclose(table["AIC"], [1794.465085, 1755.628272], atol=2e-6)
    np.testing.assert_allclose(table["logLik"], [-893.2325427, -871.8141360], atol=2e-6)
    assert table["Chisq"].iloc[1] == pytest.approx(42.83681, abs=2e-5)
    assert table.attrs["refitted"] == 0
    assert "REML" in table.attrs["note"]
    shuffled = fit("Reaction ~ Days + (Days | Subject)", data.sample(frac=1.0, random_state=2))
    np.testing.assert_allclose(anova(small, shuffled, refit=False), table, rtol=1e-8)
    with pytest.raises(PlanError, match=r"has \(Intercept\), Days; .* has \(Intercept\)\."):
        anova(small, fit("Reaction ~ 1 + (1 | Subject)", data), refit=False)
    with pytest.raises(PlanError, match=r"different kinds \(ML, REML\)"):
        anova(small, large.update(method="ml"), refit=False)
    ml = [m.update(method="ml") for m in (small, large)]
    pd.testing.assert_frame_equal(anova(*ml, refit=False), anova(*ml))


def test_what_is_no_fit() -> None:
    data = load_dataset("sleepstudy")
    m = fit("Reaction ~ Days + (1 | Subject)", data)
    for wrong, said in (
        ((m, "Days"), "argument 2 is of type str"),
        (([m, m],), "one by one"),
        ((m, data), "DataFrame"),
    ):
        with pytest.raises(DataError, match=said):
            anova(*wrong)
    with pytest.raises(DataError, match="without a fit"):
        anova()
    with pytest.raises(DataError, match=r"type=2 is for the tests of one fit"):
        anova(m, m, type=2)
    pd.testing.assert_frame_equal(anova(m, type=2, ddf="kenward-roger"), m.anova(2, "kenward-roger"))
