"""Checks of every kind of fit, of many rows, of fits from files, and the panel that draws them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kinds_of_fit import KINDS, rows

from lmmformula import DataError, Fit, fit, load, load_dataset


@pytest.fixture(scope="module")
def sleep() -> Fit:
    return fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))


@pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_fit_is_checked(name: str) -> None:
    found = KINDS[name](rows()).check(seed=1, n=40)
    assert found.ok, found
    assert found.of("convergence")[0].verdict == "fine"


def many() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    g, x = np.arange(60_000) % 300, rng.normal(size=60_000)
    b = rng.normal(size=(300, 2))
    return pd.DataFrame({"y": b[g, 0] + (1.0 + b[g, 1]) * x + rng.normal(size=60_000), "x": x, "g": g})


def test_many_rows_are_sampled_and_said() -> None:
    data = many()
    found = fit("y ~ x + (x | g)", data).check(seed=1, n=20)
    assert found.look.in_words == "20,000 of 60,000 rows"
    assert "Residuals of" in repr(found)
    assert len(found.look.simulated) == 20_000
    few = fit("y ~ x + (x | g)", data).check(seed=1, n=20, rows=slice(0, 500))
    assert few.look.in_words == "500 of 60,000 rows"


def test_a_loaded_fit_is_checked(tmp_path: Path, sleep: Fit) -> None:
    sleep.save(tmp_path / "fit.lmm")
    found = load(tmp_path / "fit.lmm").check(seed=1, n=20)
    assert found.ok
    assert found.of("linearity")[0].about == "Days"
    with pytest.raises(DataError, match="does not carry its data"):
        load(tmp_path / "fit.lmm").check(time="Days")


def test_the_panel(sleep: Fit) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    axes = sleep.plot.check()
    assert [ax.get_title().split("\n")[0] for ax in axes] == [
        "Response over 50 simulated ones",
        "Residuals against fitted values",
        "Homogeneity",
        "Influence",
        "Residuals",
        "(Intercept) | Subject",
        "Days | Subject",
    ]
    data = load_dataset("cake")
    cake = fit("angle ~ recipe * temp + (1 | recipe:replicate)", data)
    assert cake.plot.check(n=5)[4].get_title() == "Collinearity"
    _, own = plt.subplots(2, 2)
    with pytest.raises(Exception, match="needs an array of 7"):
        sleep.plot.check(ax=own)
    plt.close("all")


def test_a_model_without_random_effects_is_checked() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=60), "f": rng.choice(list("ab"), 60)})
    frame["y"] = frame["x"] + rng.normal(size=60)
    assert "collinearity" in str(fit("y ~ x + f", frame).check())
