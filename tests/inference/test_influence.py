"""Deletion by updating against the dense equations without the rows; measures against R, statsmodels, fits to fewer rows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from oracle import Oracle

from lmmformula import DataError, Fit, PlanError, fit, load, load_dataset
from lmmformula.inference.influence import deletion, influence, shared
from lmmformula.reporting.influence import InfluenceTable
from lmmformula.typing import Array, Index

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "influence.json").read_text(encoding="utf-8")
)
MEASURES = ["cooks_distance", "mdffits", "covratio", "covtrace", "sigma"]


def column(found: Any, name: str) -> Array:
    """One column of a frame, or of that of a result."""
    return np.asarray((found if isinstance(found, pd.DataFrame) else found.frame)[name], dtype=float)


def rows(n: int = 240, seed: int = 1) -> pd.DataFrame:
    """g in c, s in g, h crossed with all, k another label of it, f and t factors without effects."""
    rng = np.random.default_rng(seed)
    g, h = rng.integers(0, 8, n), rng.integers(0, 7, n)
    x = rng.normal(size=n)
    table = pd.DataFrame(
        {
            "x": x,
            "g": g,
            "h": h,
            "k": rng.integers(0, 7, n),
            "c": g // 3,
            "s": 10 * g + rng.integers(0, 3, n),
            "t": rng.integers(0, 5, n),
            "f": rng.integers(0, 3, n).astype(str),
            "w": rng.uniform(0.5, 2.0, n),
            "o": rng.normal(size=n),
        }
    )
    own = rng.normal(size=(2, 8))
    more = {name: rng.normal(size=90)[table[name]] for name in ("c", "h", "k", "s", "t")}
    y = 1.0 + x + own[0, g] + own[1, g] * x + (1.0 + 0.5 * x) * more["t"] + rng.normal(size=n)
    y += 2.0 * more["c"] + more["h"] * (1.0 + x) + 0.7 * more["k"] + 0.7 * more["s"]
    return table.assign(y=y, count=rng.poisson(np.exp(0.3 + 0.3 * x + 0.5 * own[0, g] + 0.4 * more["h"])))


def solved(x: Array, y: Array, v: Array, df: float) -> tuple[Array, Array, float]:
    """Fixed effects, their covariance and sigma, from V."""
    inverse = np.linalg.inv(v)
    unscaled = np.linalg.inv(x.T @ inverse @ x)
    beta = unscaled @ x.T @ inverse @ y
    r = y - x @ beta
    sigma2 = float(r @ inverse @ r) / df
    return beta, sigma2 * unscaled, sigma2**0.5


def by_definition(model: Fit, codes: Index, which: Iterable[int]) -> tuple[Array, Array]:
    """The measures and DFBETAS of some units from V of the rows that stay, one after the other."""
    oracle = Oracle(model.problem, model.estimate.theta, model.estimate.restricted)
    x, y, v, p = model.problem.X.matrix, oracle.target, oracle.v, model.problem.p
    fewer = p if model.estimate.restricted else 0
    beta, cov, _ = solved(x, y, v, len(y) - fewer)
    out, scaled = [], []
    for i in which:
        k = codes != i
        if np.linalg.matrix_rank(x[k]) < p:
            out.append([np.nan] * 5)
            scaled.append([np.nan] * p)
            continue
        own, own_cov, sigma = solved(x[k], y[k], v[np.ix_(k, k)], k.sum() - fewer)
        d = beta - own
        ratio = np.linalg.solve(cov, own_cov)
        quadratic = [d @ np.linalg.solve(c, d) / p for c in (cov, own_cov)]
        out.append([*quadratic, np.linalg.det(ratio), abs(np.trace(ratio) - p), sigma])
        scaled.append(d / np.sqrt(np.diagonal(own_cov)))
    return np.array(out), np.array(scaled)


def hold(model: Fit, group: str | None, values: Any) -> None:
    """Hold a sample of the units of `group` to the definition; `values` are those of the factor on the rows."""
    found = influence(model, group)
    codes = np.unique(values, return_inverse=True)[1]
    which = np.arange(0, len(found), 1 + len(found) // 12)
    expected, dfbetas = by_definition(model, codes, which)
    np.testing.assert_allclose(found.frame[MEASURES].iloc[which], expected, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(found.dfbetas.iloc[which], dfbetas, rtol=1e-8, atol=1e-9)


MODELS: list[tuple[str, dict[str, Any]]] = [
    ("y ~ x + f + (x | g)", {}),
    ("y ~ x + (1 | c/g) + (1 | h)", {"method": "ml"}),
    ("y ~ x + (1 | c) + (1 | g) + (1 | s) + (1 | h) + (x | t)", {"weights": "w", "offset": "o"}),
    ("y ~ x + f + (1 | mm(h, k)) + (x || g)", {"engine": "blocked"}),
    ("y ~ x + (1 | h) + (1 | gr(t, cov = 'ar1'))", {}),
    ("y ~ x + (1 | h) + (1 | g)", {"engine": "dense"}),
]


@pytest.mark.parametrize(("formula", "more"), MODELS, ids=[f for f, _ in MODELS])
def test_the_equations_without_the_rows(formula: str, more: dict[str, Any]) -> None:
    table = rows()
    model = fit(formula, table, **more)
    for name in ("g", "h", "c", "s", "t", "f"):
        if "mm(" in formula and name == "h":
            continue
        hold(model, name, table[name])
    hold(model, None, np.arange(len(table)))


def test_both_ways_to_leave_groups_out_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    table = rows()
    model = fit("y ~ x + (1 | c/g) + (x | h) + (1 | t)", table)
    for name in ("h", "s"):
        for choice in (True, False):
            monkeypatch.setattr(deletion, "_anew_is_cheaper", lambda *given, choice=choice: choice)
            hold(model, name, table[name])


def test_batches_and_scarce_memory_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    table = rows()
    model = fit("y ~ x + (1 | g) + (x | h) + (1 | t)", table)
    whole = {name: influence(model, name).tidy() for name in ("s", "h")}
    monkeypatch.setattr(shared, "CELLS", 50)
    monkeypatch.setattr(shared, "available_memory", lambda: 0)
    for name, frame in whole.items():
        pd.testing.assert_frame_equal(influence(model, name).tidy(), frame, rtol=1e-9)


def test_levels_crossed_and_labels() -> None:
    table = rows()
    table.index = pd.Index([f"row {i}" for i in range(len(table))])
    model = fit("y ~ x + (1 | g)", table)
    crossed = influence(model, "g:t")
    by_hand = influence(fit("y ~ x + (1 | g)", table.assign(b=table["g"] * 10 + table["t"])), "b")
    np.testing.assert_allclose(crossed.frame, by_hand.frame, rtol=1e-9)
    assert crossed.frame.index[0] == f"{table['g'].min()}:{table['t'].min()}"
    assert list(model.influence().frame.index) == list(table.index)
    assert influence(model, "g").frame.index.name == "g"
    np.testing.assert_array_equal(
        column(influence(model, "g"), "n"), np.bincount(column(table, "g").astype(int))
    )


def test_without_random_effects_they_are_those_of_a_linear_model() -> None:
    sm = pytest.importorskip("statsmodels.api")
    table = rows()
    plain = fit("y ~ x + f", table)
    theirs = sm.OLS(table["y"].to_numpy(), plain.problem.X.matrix).fit().get_influence()
    found = plain.influence()
    np.testing.assert_allclose(found.frame["cooks_distance"], theirs.cooks_distance[0], rtol=1e-8)
    np.testing.assert_allclose(found.frame["covratio"], theirs.cov_ratio, rtol=1e-8)
    np.testing.assert_allclose(found.params, plain.params.to_numpy() - theirs.dfbeta, rtol=1e-8)
    np.testing.assert_allclose(found.frame["leverage"], theirs.hat_matrix_diag, rtol=1e-8)
    np.testing.assert_allclose(found.frame["studentised"], theirs.resid_studentized_internal, rtol=1e-8)
    np.testing.assert_allclose(
        found.frame["studentised_deleted"], theirs.resid_studentized_external, rtol=1e-8
    )


@pytest.mark.parametrize("name", list(REFERENCE))
def test_refits_are_those_of_lme4(name: str) -> None:
    ref = REFERENCE[name]
    found = fit(ref["formula"], load_dataset(name)).influence(ref["group"], refit=True)
    own = found.frame.loc[ref["levels"]]
    np.testing.assert_allclose(own["cooks_distance"], ref["cooks_distance_over_p"], rtol=1e-4)
    assert list(found.dfbetas.columns) == ref["dfbetas_columns"]
    np.testing.assert_allclose(found.dfbetas.loc[ref["levels"]], ref["dfbetas"], atol=2e-5)


def test_rows_are_those_of_lme4() -> None:
    ref = REFERENCE["sleepstudy"]
    frame, own = fit(ref["formula"], load_dataset("sleepstudy")).influence().frame, ref["observation"]
    h, r = column(frame, "leverage"), column(frame, "studentised")
    np.testing.assert_allclose(h[:10], own["hatvalues_head"], rtol=2e-5)
    assert h.sum() == pytest.approx(own["hatvalues_sum"], rel=1e-5)
    np.testing.assert_allclose(r[:10], own["rstudent_head"], rtol=2e-5)
    conditional = (
        r**2 * h / ((1.0 - h) * 2.0)
    )  # lme4's Cook's distance of a row: of its fitted value, effects included
    np.testing.assert_allclose(conditional[:10], own["cooks_distance_head"], rtol=5e-5)
    assert conditional.sum() == pytest.approx(own["cooks_distance_sum"], rel=1e-4)


def test_leverages_by_definition() -> None:
    table = rows()
    model = fit("y ~ x + (x | g) + (1 | h)", table, weights="w")
    oracle = Oracle(model.problem, model.estimate.theta, model.estimate.restricted)
    x, inverse = model.problem.X.matrix, np.linalg.inv(oracle.v)
    h1 = x @ np.linalg.solve(x.T @ inverse @ x, x.T @ inverse)
    h2 = (oracle.v - np.diag(1.0 / oracle.weights)) @ inverse @ (np.eye(len(x)) - h1)
    found = influence(model).frame
    np.testing.assert_allclose(found["leverage_fixed"], np.diag(h1), rtol=1e-8)
    np.testing.assert_allclose(found["leverage_random"], np.diag(h2), rtol=1e-8)
    by_level = influence(model, "h")
    for name in ("leverage_fixed", "leverage_random", "leverage"):
        means = [column(found, name)[table["h"] == level].mean() for level in range(7)]
        np.testing.assert_allclose(column(by_level, name), means, rtol=1e-10)


@pytest.mark.parametrize("more", [{}, {"method": "ml", "weights": "w"}], ids=["reml", "ml, weights"])
def test_refits_are_fits_to_fewer_rows(more: dict[str, Any]) -> None:
    table = rows()
    formula = "y ~ x + (x | g) + (1 | h)"
    model = fit(formula, table, **more)
    found = influence(model, "t", refit=True)
    for level in (0, 3):
        fewer = fit(formula, table[table["t"] != level], **more)
        np.testing.assert_allclose(found.params.iloc[level], fewer.params, rtol=2e-5)
        assert found.frame["sigma"].iloc[level] == pytest.approx(fewer.sigma, rel=1e-5)
        change = fewer.varcorr()["vcov"] / model.varcorr()["vcov"] - 1.0
        rvc = found.frame.filter(like="rvc_").iloc[level]
        np.testing.assert_allclose(rvc, change, atol=2e-4)
        assert list(rvc.index) == [
            *("rvc_g.(Intercept)", "rvc_g.x", "rvc_g.(Intercept).x", "rvc_h.(Intercept)", "rvc_Residual")
        ]
        scaled = (model.params - fewer.params) / fewer.bse
        np.testing.assert_allclose(found.dfbetas.iloc[level], scaled, atol=1e-4)


def test_rows_that_are_written_out_are_those_that_repeat() -> None:
    table = rows().assign(w=lambda d: 1 + d["t"] % 3)
    short = influence(fit("y | weights(w) ~ x + (1 | g) + (1 | h)", table), "h")
    tall = influence(
        fit(
            "y ~ x + (1 | g) + (1 | h)",
            table.iloc[np.repeat(np.arange(len(table)), column(table, "w").astype(int))],
        ),
        "h",
    )
    np.testing.assert_allclose(short.frame[MEASURES], tall.frame[MEASURES], rtol=1e-5)


def test_units_do_not_matter() -> None:
    table = rows()
    model = fit("y ~ x + (x | g) + (1 | h)", table)
    moved = fit("y ~ x + (x | g) + (1 | h)", table.assign(y=1e6 * table["y"], x=1e-4 * table["x"]))
    for group in ("g", "h", None):
        one, other = influence(model, group), influence(moved, group)
        np.testing.assert_allclose(other.frame["sigma"], 1e6 * one.frame["sigma"], rtol=1e-6)
        apart = one.frame.columns.drop("sigma")
        np.testing.assert_allclose(other.frame[apart], one.frame[apart], rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(other.dfbeta["x"], 1e10 * one.dfbeta["x"], rtol=1e-3, atol=1e3)


# -- one step ------------------------------------------------------------------------------------------------------


GENERALISED: list[dict[str, Any]] = [
    {"method": "laplace"},
    {"method": "laplace", "nagq": 0},
    {"method": "pql"},
]


@pytest.mark.parametrize("more", GENERALISED, ids=["laplace", "nagq = 0", "pql"])
def test_one_step_is_the_working_model_without_the_rows(more: dict[str, Any]) -> None:
    table = rows()
    model = fit("count ~ x + (1 | g) + (1 | h)", table, family="poisson", **more)
    eta = np.log(model.fittedvalues.to_numpy())
    mu = np.exp(eta)
    oracle = Oracle(model.problem, model.estimate.theta, reml=False)
    v = oracle.v - np.eye(len(mu)) + np.diag(1.0 / mu)
    x = model.problem.X.matrix
    r = eta + (table["count"].to_numpy() - mu) / mu - x @ model.params.to_numpy()
    score = x.T @ np.linalg.solve(v, r)  # zero but for what log|M| adds to Laplace's criterion, which is held
    for name in ("h", "t", "g"):
        found = influence(model, name)
        assert "sigma" not in found.frame
        for i, level in enumerate(np.unique(table[name])):
            k = (table[name] != level).to_numpy()
            inverse = np.linalg.inv(v[np.ix_(k, k)])
            step = np.linalg.solve(x[k].T @ inverse @ x[k], x[k].T @ inverse @ r[k] - score)
            np.testing.assert_allclose(found.dfbeta.iloc[i], -step, rtol=1e-5, atol=1e-7)


def test_one_step_is_near_a_fit_to_fewer_rows() -> None:
    table = rows(1200, seed=3)
    formula = "count ~ x + (1 | g)"
    model = fit(formula, table, family="poisson")
    found = influence(model, "t")
    for i in range(5):
        fewer = fit(formula, table[table["t"] != i], family="poisson")
        moved = model.params["x"] - fewer.params["x"]
        assert found.dfbeta["x"].iloc[i] == pytest.approx(
            moved, rel=0.15, abs=0.05 * float(model.bse.to_numpy()[1])
        )


# -- what it cannot do, and how it looks ---------------------------------------------------------------------------


def test_groups_that_alone_determine_an_effect_have_no_numbers() -> None:
    table = rows()
    found = fit("y ~ x + f + (1 | g)", table).influence("f")
    assert np.isnan(column(found, "cooks_distance")).all()
    assert "do not determine the fixed effects" in str(found)
    again = fit("y ~ x + f + (1 | g)", table).influence("f", refit=True)
    assert np.isnan(column(again, "cooks_distance")).all()


def test_refusals(tmp_path: Path) -> None:
    table = rows()
    model = fit("y ~ x + (1 | g)", table)
    with pytest.raises(
        DataError, match=r"`nope` is neither a grouping factor of the model \(`g`\) nor a column"
    ):
        model.influence("nope")
    several = fit("y ~ x + (1 | mm(h, k))", table)
    with pytest.raises(DataError, match="rows belong to several levels"):
        several.influence(several.problem.terms[0].group)
    with pytest.raises(DataError, match="`z` is missing in 3 of the rows"):
        fit("y ~ x + (1 | g)", table.assign(z=[np.nan] * 3 + [1.0] * 237)).influence("z")
    with pytest.raises(PlanError, match="Leave refit out"):
        fit("count ~ x + (1 | g)", table, family="poisson").influence("g", refit=True)
    with pytest.raises(PlanError, match="engine='blocked'"):
        fit("y ~ x + (1 | g) + (1 | h)", table, method="krylov").influence("g")
    model.save(tmp_path / "model.lmm")
    kept = load(tmp_path / "model.lmm")
    np.testing.assert_allclose(kept.influence("g").frame, model.influence("g").frame, rtol=1e-10)
    with pytest.raises(DataError, match="does not carry its data"):
        kept.influence("h")
    with pytest.raises(DataError, match="use one of n, cooks_distance"):
        model.influence("g").values("cook")


def test_a_variance_at_zero_and_no_fixed_effects() -> None:
    with pytest.warns(match="singular"):
        singular = fit("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff2"))
    hold(singular, "Batch", np.repeat(np.arange(6), 5))
    table = rows()
    bare = fit("y ~ 0 + (1 | g)", table).influence("g")
    assert np.isnan(column(bare, "cooks_distance")).all()
    assert np.isfinite(column(bare, "sigma")).all()
    assert "Influence" in str(bare)


def test_how_it_looks() -> None:
    found = fit("y ~ x + f + (1 | g) + (1 | h)", rows()).influence()
    assert isinstance(found, InfluenceTable)
    text = str(found)
    assert text.splitlines()[0] == "Influence of the rows on y ~ x + f + (1 | g) + (1 | h)"
    worst = found.frame["cooks_distance"].to_numpy().argmax()
    assert text.splitlines()[4].startswith(str(worst))
    assert "|cooks_distance| > 0.0167: " in text
    assert "4 / 240 units (Bollen & Jackman 1990)" in text
    assert "<table" in found._repr_html_()
    flagged = found.flagged()
    assert column(flagged, "cooks_distance").sum() == (column(found, "cooks_distance") > 4 / 240).sum()
    assert column(flagged, "covratio").sum() == (np.abs(column(found, "covratio") - 1) > 12 / 240).sum()
    assert (
        column(flagged, "dfbetas").sum()
        == (np.abs(found.dfbetas.to_numpy()) > 2 / 240**0.5).any(axis=1).sum()
    )
    assert found.worst(3).index[0] == worst
    assert list(found.tidy().columns[-4:]) == [f"dfbetas_{name}" for name in ("(Intercept)", "x", "f1", "f2")]
    many = fit("y ~ x * f + o + (1 | g)", rows()).influence("g")
    assert "largest dfbetas" in str(many)


def test_what_is_drawn() -> None:
    model = fit("y ~ x + (1 | g) + (1 | h)", rows())
    ax = model.plot.influence("g", ax=Figure().subplots())
    np.testing.assert_allclose(
        ax.collections[-1].get_offsets()[:, 1], model.influence("g").frame["cooks_distance"]
    )
    assert ax.lines[0].get_ydata()[0] == pytest.approx(4 / 8)
    both = model.influence("h").plot("dfbetas", Figure().subplots())
    assert [t.get_text() for t in both.get_legend().get_texts()] == ["(Intercept)", "x"]
    ratio = model.influence("h").plot("covratio", Figure().subplots())
    assert [line.get_ydata()[0] for line in ratio.lines] == pytest.approx([1 - 6 / 7, 1 + 6 / 7, 1.0])
