"""Smooths against mgcv and gamm4: likelihoods, variances, degrees of freedom, tests, curves."""

from __future__ import annotations

import json
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, Fit, fit, load, to_markdown
from lmmformula.errors import SingularFitWarning
from lmmformula.frame.smooths import mixed

FOLDER = Path(__file__).parents[1] / "reference"
REFERENCE: dict[str, Any] = json.loads((FOLDER / "smooths.json").read_text(encoding="utf-8"))
NAMES = [name for name in REFERENCE if not name.startswith("_")]


@cache
def data() -> pd.DataFrame:
    return pd.read_csv(FOLDER / "smooths.csv")


@cache
def fitted(name: str) -> Fit:
    case = REFERENCE[name]
    return fit(case["formula"], data(), family=case["family"], method=case["method"])


EXACT = [name for name in NAMES if name != "gam_fs_reml"]


@pytest.mark.parametrize("name", EXACT)
def test_likelihood_and_variances(name: str) -> None:
    case, model = REFERENCE[name], fitted(name)
    assert model.llf == pytest.approx(case["logLik"], abs=1e-5)
    table = model.smooths()
    found = table[[c for c in table if str(c).startswith("sd")]].to_numpy().ravel()
    wanted = case["sd"] if name != "gam_re_ml" else case["sd"][:1]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    values = model.predict(kind="link" if case["family"] == "poisson" else "response")
    np.testing.assert_allclose(values.iloc[:10], case["fitted"], atol=1e-5)


@pytest.mark.parametrize("name", [n for n in EXACT if "smooths" in REFERENCE[n]])
def test_degrees_of_freedom_and_tests(name: str) -> None:
    case, table = REFERENCE[name], fitted(name).smooths()
    wanted = {"".join(s["label"].split()): s for s in case["smooths"]}
    row: Any
    for label, row in table.iterrows():
        own = wanted["".join(str(label).split())]
        assert row["edf"] == pytest.approx(own["edf"], abs=1e-5)
        assert row["ref.df"] == pytest.approx(own["ref_df"], abs=1e-4)
        if not str(label).startswith(
            "t2"
        ):  # mgcv takes the columns of t2 as they are for one factor, centred for the other
            assert row["F value"] == pytest.approx(own["F_or_chisq"], rel=1e-5)
        assert row["Pr(>F)"] < 1e-10


@pytest.mark.parametrize("name", [n for n in EXACT if n != "gam_re_ml"])
def test_curves_and_their_errors(name: str) -> None:
    grid = REFERENCE[name]["grid"]
    for j, label in enumerate(grid["terms"]):
        if not label.startswith(("s(x)", "s(z)", "t2")):
            continue
        curve = fitted(name).smooth(label, pd.DataFrame(grid["newdata"])).frame
        wanted, errors = np.array(grid["fit"])[:, j], np.array(grid["se"])[:, j]
        there = wanted != 0.0  # of other levels of by
        np.testing.assert_allclose(curve["fit"][there], wanted[there], atol=1e-4 * errors.max())
        # mgcv's scale has n - edf degrees of freedom, that of maximum likelihood n
        ratio = 1.0 if REFERENCE[name]["method"] != "ml" else _ml_ratio(fitted(name))
        np.testing.assert_allclose(curve["se"][there] / errors[there], ratio, rtol=1e-4)


def _ml_ratio(model: Fit) -> float:
    left = model.nobs - REFERENCE["gam_s_z_ml"]["edf_total"]
    return float(model.sigma / np.sqrt((model.residuals() ** 2).sum() / left))


def test_factor_smooths_have_axes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """mgcv takes the axes of the null space as rounding leaves them: turned by one angle, everything agrees."""
    case, plain = REFERENCE["gam_fs_reml"], mixed._level_first

    def turned(angle: float) -> Fit:
        c, s = np.cos(angle), np.sin(angle)
        rotation = np.array([[c, -s], [s, c]])
        monkeypatch.setattr(mixed, "_level_first", lambda columns, maps: plain(columns, maps) @ rotation)
        return fit(case["formula"], data())

    from scipy.optimize import brentq

    angles = np.linspace(0.0, np.pi / 2, 13)
    gaps = [turned(a).llf - case["logLik"] for a in angles]
    crossing = [j for j in range(12) if gaps[j] * gaps[j + 1] < 0.0]
    assert crossing
    agreed = []
    for j in crossing:
        angle: Any = brentq(lambda a: turned(a).llf - case["logLik"], angles[j], angles[j + 1], xtol=1e-8)
        values = turned(float(angle)).fittedvalues.iloc[:10]
        agreed.append(float(np.abs(values - case["fitted"]).max()))
    assert min(agreed) < 1e-4


def test_bands_hold_points_and_whole_curves() -> None:
    curve = fitted("gam_s_reml").smooth("s(x)", points=40, level=0.9)
    frame = curve.frame
    inside = (frame["lower_all"] < frame["lower"]) & (frame["upper"] < frame["upper_all"])
    assert bool(np.all(inside))
    assert curve.factor > 1.645
    again = fitted("gam_s_reml").smooth("s(x)", points=40, level=0.9)
    pd.testing.assert_frame_equal(again.frame, frame)


def test_coverage_across_the_function() -> None:
    """Bands of 95% hold the centred function at 95% of the rows on average (Nychka 1988), and wholly about as often."""
    rng, x = np.random.default_rng(8), np.linspace(0.0, 1.0, 120)
    truth = np.sin(2.0 * np.pi * x)
    points, whole = [], []
    for _ in range(40):
        own = pd.DataFrame({"x": x, "y": truth + 0.5 * rng.normal(size=120)})
        frame = fit("y ~ s(x)", own).smooth("s(x)", own).frame
        points.append(((frame["lower"] < truth) & (truth < frame["upper"])).mean())
        whole.append(((frame["lower_all"] < truth) & (truth < frame["upper_all"])).all())
    assert 0.90 < np.mean(points) < 0.99
    assert np.mean(whole) > 0.85


def test_a_smooth_of_noise_is_a_line_with_a_fair_p_value() -> None:
    rng, found = np.random.default_rng(5), []
    for _ in range(60):
        own = pd.DataFrame({"x": rng.uniform(size=100), "y": rng.normal(size=100)})
        found.append(float(fit("y ~ s(x, k = 6)", own).smooths()["Pr(>F)"].iloc[0]))
    assert 0.0 < np.mean(np.array(found) < 0.2) < 0.45


pytestmark = pytest.mark.filterwarnings("ignore::lmmformula.errors.SingularFitWarning")


def test_everything_after_the_fit(tmp_path: Path) -> None:
    model = fitted("gamm4_s_g_reml")
    assert "Smooth terms" in str(model.summary())
    assert "Smooth terms" in model.summary()._repr_html_()
    assert list(model.varcorr()["grp"]) == ["g", "s(x)", "s(z)", "Residual"]
    assert list(model.icc().index) == ["g"]
    r2 = dict(zip(model.r2().index, np.asarray(model.r2(), dtype=float), strict=True))
    assert r2["marginal"] < r2["conditional"]
    assert len(model.tidy(effects="ran_pars")) == 4
    assert model.simulate(2, seed=1).shape == (240, 2)
    model.save(tmp_path / "m.lmm")
    kept = load(tmp_path / "m.lmm")
    pd.testing.assert_frame_equal(kept.smooths(), model.smooths())
    np.testing.assert_array_equal(kept.predict(data().head(9)), model.predict(data().head(9)))
    smaller = model.update(". ~ . - s(z)")
    assert list(smaller.smooths().index) == ["s(x)"]
    assert "s(x)" in to_markdown(model.smooths())
    assert "s(x)" in to_markdown(model.smooth("s(x)"))


def test_quasi_likelihood_and_posterior() -> None:
    formula = "cnt ~ s(x, k = 6)"
    quasi = fit(formula + " + (1 | g)", data(), family="poisson", method="pql")
    assert quasi.smooths()["edf"].iloc[0] == pytest.approx(4.5, abs=1.0)
    drawn = fit("y ~ s(x, k = 6)", data(), method="hmc", sampler="importance", draws=400, chains=2, seed=1)
    exact = fit("y ~ s(x, k = 6)", data())
    one: Any = drawn.smooth("s(x)").frame
    other: Any = exact.smooth("s(x)").frame
    assert bool(np.all(np.abs(one["fit"] - other["fit"]) < other["se"]))
    assert list(drawn.smooths()) == ["sd"]


def test_plots() -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    axes = fitted("gam_by_reml").plot.smooths()
    assert len(axes) == 2
    both = fitted("gam_by_reml").smooth("s(x)")
    assert len(both.plot().get_lines()) == 3
    assert "t2(x, z)" in fitted("gamm4_t2_reml").smooth("t2(x, z)", points=9).plot().get_title()
    plt.close("all")


def test_tests_beside_random_effects_of_sigma() -> None:
    """Where sigma does not vary, they are those of the model in which it cannot."""
    rng = np.random.default_rng(6)
    data = {"x": rng.uniform(size=120), "g": np.repeat(np.arange(12), 10)}
    data["y"] = np.sin(5.0 * data["x"]) + rng.normal(size=120)
    plain = fit("bf(y ~ s(x, k = 5), sigma ~ 1)", data, method="laplace")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        beside = fit("bf(y ~ s(x, k = 5), sigma ~ 1 + (1 | g))", data)
    assert beside.is_singular
    np.testing.assert_allclose(
        beside.smooths().to_numpy(dtype=float), plain.smooths().to_numpy(dtype=float), rtol=1e-3
    )


@pytest.mark.parametrize("smooth", ["s(z, k = 4)", "s(z, g, k = 4, bs = 'fs')"])
def test_a_smooth_of_two_predictors_is_that_of_a_copy(smooth: str) -> None:
    rng = np.random.default_rng(2)
    z = rng.uniform(-1.0, 1.0, 90)
    data = {"y": z**2 + np.exp(z - 1.0) * rng.standard_normal(90), "z": z, "v": z, "g": np.arange(90) % 3}
    data["g"] = np.array(list("abc"))[data["g"]]
    same = fit(f"y ~ {smooth}", data, dispformula=f"~ {smooth}")
    copy = fit(f"y ~ {smooth}", data, dispformula=f"~ {smooth.replace('z', 'v')}")
    assert same.llf == pytest.approx(copy.llf, abs=1e-6)
    np.testing.assert_allclose(same.predict(data), copy.predict(data), atol=1e-4)


def test_a_smooth_of_each_category() -> None:
    rng = np.random.default_rng(2)
    z = rng.uniform(-1.0, 1.0, 120)
    data = {"y": rng.choice(np.array(["a", "b", "c"]), 120), "z": z}
    m = fit("y ~ s(z, k = 4)", data, family="categorical")
    assert [len(block.names) for block in m.problem.aux] == [2]
    assert m.predict(data).sum(axis=1).to_numpy() == pytest.approx(np.ones(120))


def test_the_smooth_of_an_auxiliary_predictor_is_named_after_it() -> None:
    rng = np.random.default_rng(2)
    z = rng.uniform(-1.0, 1.0, 90)
    m = fit(
        "y ~ s(z, k = 4)",
        {"y": z**2 + np.exp(z) * rng.standard_normal(90), "z": z},
        dispformula="~ s(z, k = 4)",
    )
    assert list(m.varcorr()["var1"]) == ["smooth", "sigma:smooth"]
    assert len(m.smooths()) == 1
    assert "sigma: s(z)" in m.smooths().attrs["note"]
    with pytest.raises(DataError, match=r"sigma: s\(z\)\) have no curve and no test"):
        m.smooth("sigma: s(z)")
    assert (m.predict(kind="sigma", se=True)["se"] > 0.0).all()
