"""Terms of time and space against glmmTMB and against dense definitions, and all that is done with their fits."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import Fit, build, fit, load, load_dataset, plan
from lmmformula.criteria.profiled import Profiled
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.errors import DataError, LmmformulaError, PlanError

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "time_space.json").read_text(encoding="utf-8")
)
FIELD, SERIES = "exp(0 + pos(cx, cy) | one)", "ar1(0 + time | id)"


def data(name: str) -> pd.DataFrame:
    if name in REFERENCE["data"]:
        table = pd.DataFrame(REFERENCE["data"][name])
        if name == "long":
            table = table.assign(ftime=table["ftime"].astype(str), high=(table["y"] > 2.5).astype(int))
        return table
    return made() if name == "made" else load_dataset(name)


def made(ids: int = 40, times: int = 15, rho: float = 0.6) -> pd.DataFrame:
    """Series of unit variance beside intercepts of variance 4, with noise of variance 0.25."""
    rng = np.random.default_rng(6)
    series = rng.normal(size=(ids, times))
    for t in range(1, times):
        series[:, t] = rho * series[:, t - 1] + np.sqrt(1.0 - rho**2) * series[:, t]
    x = rng.normal(size=(ids, times))
    y = 1.0 + 0.5 * x + 2.0 * rng.normal(size=(ids, 1)) + series + 0.5 * rng.normal(size=(ids, times))
    names = np.repeat([f"i{j:02d}" for j in range(ids)], times)
    return pd.DataFrame({"y": y.ravel(), "x": x.ravel(), "id": names, "time": np.tile(np.arange(times), ids)})


@lru_cache
def fitted(formula: str, name: str, family: str = "gaussian", method: str = "ml") -> Fit:
    return fit(formula, data(name), family=family, method=method)


def natural(model: Fit) -> dict[str, float]:
    """Standard deviations and parameters of structures, as tidy() has them."""
    rows = model.tidy(effects="ran_pars")
    return dict(zip(map(str, rows["term"]), map(float, rows["estimate"]), strict=True))


def first_sd(model: Fit) -> float:
    return float(model.varcorr()["sdcor"].to_numpy()[0])


GAUSSIAN = {
    "ar1_gauss": ("y ~ x + arm + ar1(0 + ftime | id)", "long"),
    "ou_gauss": ("y_ou ~ x + ou(0 + tcont | id)", "long"),
    "exp_gauss": (f"y ~ x + {FIELD}", "space"),
    "gls_exp_nugget_ml": (f"y ~ x + {FIELD}", "space"),
    "mat_gauss": ("y ~ x + mat(0 + numFactor(cx, cy) | one)", "matern"),
    "cs_gauss": ("score ~ Machine + cs(0 + Machine | Worker)", "Machines"),
    "diag_gauss": ("score ~ Machine + diag(0 + Machine | Worker)", "Machines"),
    "rr2_gauss": ("distance ~ Sex + age + rr(0 + factor(age) | Subject, d = 2)", "Orthodont"),
}


@pytest.mark.parametrize("name", list(GAUSSIAN))
def test_gaussian_fits_against_r(name: str) -> None:
    known = REFERENCE["fits"][name]
    model = fitted(*GAUSSIAN[name], "gaussian", known["method"].lower())
    assert model.llf == pytest.approx(known["logLik"], abs=1e-6)
    beta = pd.Series(known["fixef"], index=known["fixef_names"])
    assert (np.abs(model.params[beta.index] - beta) / known["se"]).max() < 1e-4
    if "sigma" in known:
        assert model.sigma == pytest.approx(known["sigma"], rel=1e-3)


@pytest.mark.parametrize("name", ["ou_gauss", "exp_gauss", "mat_gauss"])
def test_natural_parameters_against_r(name: str) -> None:
    known, model = REFERENCE["fits"][name]["natural"], fitted(*GAUSSIAN[name])
    found = natural(model)
    assert first_sd(model) == pytest.approx(known["sd"][0], rel=1e-3)
    far = known["range"][0] if "range" in known else 1.0 / known["rate"][0]
    assert found["range"] == pytest.approx(far, rel=1e-3)
    if name == "mat_gauss":
        assert found["nu"] == pytest.approx(known["smoothness"][0], rel=1e-3)


def test_a_covariance_of_rank_two_is_that_of_r() -> None:
    found = fitted(*GAUSSIAN["rr2_gauss"])
    assert not found.is_singular
    (cov, _, _) = found.inference.spread(0)
    np.testing.assert_allclose(cov, REFERENCE["fits"]["rr2_gauss"]["cov"], rtol=1e-4)
    assert found.conf_int(method="wald", parameters="all").notna().to_numpy().all()


def test_toeplitz_residuals_are_the_limit_of_toeplitz_effects() -> None:
    """The reference holds sigma at 1.2e-4, for a row of each column in each level: there ours has the same likelihood."""
    known = REFERENCE["fits"]["toep_gauss"]
    from lmmformula.formula import model_spec
    from lmmformula.frame import build as build_frame

    spec = model_spec("y_het ~ x + arm + toep(0 + ftime | id)")
    problem = build_frame(spec, data("long"), levels_below_rows=False)
    sigma = np.finfo(float).eps ** 0.25
    theta = problem.terms[0].covariance.from_covariance(np.array(known["cov"]) / sigma**2)
    point = Profiled.of(problem, BlockedEngine(), reml=False)(theta)
    assert point.deviance_at(sigma**2) == pytest.approx(-2.0 * known["logLik"], abs=1e-4)
    with pytest.raises(DataError, match="cannot be told from the residual variance"):
        fit("y_het ~ x + arm + toep(0 + ftime | id)", data("long"))


OTHER = {
    "exp_pois": (f"cnt ~ x + {FIELD}", "space", "poisson", "laplace"),
    "gau_gauss": ("y ~ x + gau(0 + cx + cy | one)", "space", "gaussian", "ml"),
    "ar1_pois": (f"cnt ~ x + {SERIES}", "long", "poisson", "laplace"),
    "ou_pois": ("cnt ~ x + ou(0 + tcont | id)", "long", "poisson", "laplace"),
    "ar1_binom": ("high ~ x + ar1(0 + ftime | id)", "long", "binomial", "laplace"),
    "ar1_reml": (f"y ~ x + arm + {SERIES}", "long", "gaussian", "reml"),
}


@pytest.mark.parametrize("name", list(OTHER))
def test_other_families_and_methods_against_glmmtmb(name: str) -> None:
    known, model = REFERENCE["more"][name], fitted(*OTHER[name])
    assert model.llf == pytest.approx(known["logLik"], abs=1e-4)
    assert (np.abs(model.params.to_numpy() - known["fixef"]) / known["se"]).max() < 1e-3


@pytest.mark.parametrize(
    ("formula", "family", "method"),
    [("y ~ x + {}", "gaussian", "reml"), ("cnt ~ x + {}", "poisson", "laplace")],
)
def test_columns_and_positions_are_two_forms_of_one_model(formula: str, family: str, method: str) -> None:
    columns = fitted(formula.format("ar1(0 + ftime | id)"), "long", family, method)
    places = fitted(formula.format(SERIES), "long", family, method)
    assert (columns.problem.terms[0].k, places.problem.terms[0].k) == (8, 1)
    assert places.llf == pytest.approx(columns.llf, abs=1e-8)
    np.testing.assert_allclose(places.params, columns.params, rtol=1e-5)
    np.testing.assert_allclose(places.fittedvalues, columns.fittedvalues, rtol=1e-4)
    rho = natural(places)["rho"]
    assert columns.varcorr().query("var1 == 'ftime1' and var2 == 'ftime2'")["sdcor"].item() == pytest.approx(
        rho, rel=1e-4
    )


def test_results_do_not_depend_on_the_units_of_positions() -> None:
    model, table = fitted(f"y ~ x + {FIELD}", "space"), data("space")
    other = fit(
        f"y ~ x + {FIELD}", table.assign(cx=1e6 * table["cx"] - 7.0, cy=1e6 * table["cy"] + 9.0), method="ml"
    )
    assert other.llf == pytest.approx(model.llf, abs=1e-7)
    ranges = [natural(m)["range"] for m in (model, other)]
    assert ranges[1] == pytest.approx(1e6 * ranges[0], rel=1e-5)


# -- new positions -----------------------------------------------------------------------------------------------------


def kriged(model: Fit, table: pd.DataFrame, new: pd.DataFrame) -> tuple[Any, Any]:
    """Mean and standard error at new points from the dense matrices of all rows."""
    known = natural(model)
    s2, far = known["sd__exp(cx, cy)"] ** 2, known["range"]

    def cov(a: pd.DataFrame, b: pd.DataFrame) -> Any:
        d = np.hypot(*(a[c].to_numpy()[:, None] - b[c].to_numpy() for c in ("cx", "cy")))
        return s2 * np.exp(-d / far)

    v = np.linalg.inv(cov(table, table) + model.sigma**2 * np.eye(len(table)))
    x, xn = (np.column_stack([np.ones(len(t)), t["x"]]) for t in (table, new))
    c, inverse = cov(new, table), np.linalg.inv(x.T @ v @ x)
    beta = inverse @ x.T @ v @ table["y"]
    left = xn - c @ v @ x
    variance = s2 - np.einsum("ij,jk,ik->i", c, v, c) + np.einsum("ij,jk,ik->i", left, inverse, left)
    return xn @ beta + c @ v @ (table["y"] - x @ beta), np.sqrt(variance)


def test_predictions_at_new_points_are_those_of_kriging(tmp_path: Path) -> None:
    table = data("space")
    model = fit(f"y ~ x + {FIELD}", table)
    new = pd.DataFrame(
        {"x": [0.0, 1.0, -1.0, 0.3], "cx": [5.0, 7.0, 60.0, 5.0], "cy": [5.0, 7.5, 50.0, 5.0], "one": "a"}
    )
    wanted, errors = kriged(model, table, new)
    found = model.predict(new, se=True)
    np.testing.assert_allclose(found["fit"], wanted, rtol=1e-6)
    np.testing.assert_allclose(found["se"], errors, rtol=1e-6)
    np.testing.assert_allclose(model.predict(new), wanted, rtol=1e-6)
    np.testing.assert_allclose(model.predict(table.head(3)), model.fittedvalues.head(3))
    mixed = model.predict(pd.concat([table.head(3), new]), se=True)
    np.testing.assert_allclose(mixed["fit"], [*model.fittedvalues.head(3), *wanted], rtol=1e-6)
    whole = model.predict(new, interval="prediction")
    np.testing.assert_allclose(
        whole["upper"] - whole["fit"], 1.959964 * np.hypot(errors, model.sigma), rtol=1e-5
    )
    model.predict(new, se=True, out=tmp_path / "new.parquet")
    np.testing.assert_allclose(pd.read_parquet(tmp_path / "new.parquet")[".se"], errors, rtol=1e-6)
    model.save(tmp_path / "fit.lmm")
    np.testing.assert_allclose(load(tmp_path / "fit.lmm").predict(new, se=True), found, rtol=1e-9)


def test_levels_that_a_fit_has_not_seen_are_no_new_points() -> None:
    model = fitted(f"y ~ x + {FIELD}", "space")
    new = pd.DataFrame({"x": [0.0, 1.0], "cx": [5.0, 2.0], "cy": [5.0, 2.0], "one": ["a", "b"]})
    with pytest.raises(
        DataError, match=r"1 of 2 rows have levels of one that the fit has not seen: 'b:\(2,2\)'|'b:2:2'"
    ):
        model.predict(new)
    found = model.predict(new, new_levels="population", se=True)
    assert float(np.asarray(found["fit"])[1]) == pytest.approx(model.params.sum())
    assert float(np.asarray(found["se"])[1]) > first_sd(model)
    missing = model.predict(new.assign(cx=[5.0, np.nan], one="a"), new_levels="population")
    assert float(np.asarray(missing)[1]) == pytest.approx(model.params.sum())


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_a_series_is_continued(family: str) -> None:
    """Beyond its end a process falls to the population mean, by rho at each step."""
    y, method = ("y", "ml") if family == "gaussian" else ("cnt", "laplace")
    model, table = fitted(f"{y} ~ x + {SERIES}", "long", family, method), data("long")
    last = table.loc[table["id"] == "n01", "time"].max()
    new = pd.DataFrame({"id": "n01", "x": 0.0, "time": last + np.arange(4)})
    found = model.predict(new, kind="link", se=True)
    effect = found["fit"] - model.params["(Intercept)"]
    rho = natural(model)["rho"]
    np.testing.assert_allclose(effect[1:] / effect[0], rho ** np.arange(1, 4), rtol=1e-5)
    assert (np.diff(found["se"]) > 0.0).all()


# -- what is done with a fit ----------------------------------------------------------------------------------------------

KINDS = {
    "series": (f"y ~ x + {SERIES}", "long", {}),
    "field": (f"cnt ~ x + {FIELD}", "space", {"family": "poisson"}),
    "matern": ("y ~ x + mat(0 + pos(cx, cy) | one, nu = 1.5)", "space", {}),
    "two": (f"y ~ x + (1 | id) + {SERIES}", "made", {}),
    "rank": ("distance ~ age + rr(0 + factor(age) | Subject)", "Orthodont", {}),
    "hetar1": ("distance ~ age + hetar1(0 + factor(age) | Subject)", "Orthodont", {}),
}


@pytest.mark.parametrize("name", list(KINDS))
def test_what_a_user_does(name: str, tmp_path: Path) -> None:
    formula, source, options = KINDS[name]
    table = data(source)
    model = fit(formula, table, **options)
    assert model.converged
    assert plan(formula, table, **options).engine == model.plan.engine
    text = str(model.summary())
    assert ("positions" in text) == (name not in ("rank", "hetar1"))
    assert np.isfinite(model.conf_int(method="wald", parameters="all")).all(axis=None)
    assert len(model.ranef(condsd=True)) == sum(t.q for t in model.problem.terms)
    assert model.simulate(2, seed=1).shape == (len(table), 2)
    assert model.bootstrap(2, seed=1).shape[0] == 2
    assert np.isfinite(np.asarray(model.predict(table.head(4), se=True))).all()
    assert len(model.augment()) == len(table)
    again = model.refit(model.simulate(1, seed=3).iloc[:, 0].to_numpy())
    assert np.isfinite(again.llf)
    assert model.update(data=table.iloc[:-6]).nobs == len(table) - 6
    model.save(tmp_path / "fit.lmm")
    kept = load(tmp_path / "fit.lmm")
    assert kept.llf == model.llf
    np.testing.assert_allclose(
        kept.predict(table.head(4), se=True), model.predict(table.head(4), se=True), rtol=1e-8
    )
    assert str(kept.summary()) == text
    rows = model.tidy(conf_int=True).query("effect == 'ran_pars'")
    assert rows[["estimate", "std_error", "conf_low", "conf_high"]].notna().to_numpy().all()


@pytest.mark.parametrize(("name", "parameter"), [("series", "rho|id"), ("field", "range|one")])
def test_profiles_of_structures(name: str, parameter: str) -> None:
    formula, source, options = KINDS[name]
    model = fitted(formula, source, options.get("family", "gaussian"), "laplace" if options else "ml")
    low, high = model.conf_int(method="profile", parameters=[parameter]).to_numpy()[0]
    traced = model.profile(parameters=[parameter], points=3)
    best = traced.loc[traced["zeta"] == 0.0, "value"].item()
    assert low < best < high
    assert best == pytest.approx(natural(model)[parameter.split("|")[0]])
    wald = model.conf_int(method="wald", parameters=[parameter]).to_numpy()[0]
    assert low < wald.mean()
    assert wald[0] < best < wald[1]


def test_a_profile_holds_what_it_says() -> None:
    """zeta^2 at an end of an interval is the rise of the deviance with rho held there, found by fits of a known Q."""
    model, table = fitted(f"y ~ x + {SERIES}", "long"), data("long")
    rho = model.conf_int(method="profile", parameters=["rho|id"]).iloc[0, 0]
    lags = np.abs(np.subtract.outer(np.arange(1, 9), np.arange(1, 9)))
    held = fit("y ~ x + propto(0 + ftime | id, R)", table, method="ml", data2={"R": rho**lags})
    assert 2.0 * (model.llf - held.llf) == pytest.approx(3.841459, abs=1e-3)


@pytest.mark.parametrize("method", ["pql", "krylov"])
@pytest.mark.parametrize("term", [FIELD, "mat(0 + pos(cx, cy) | one)"])
def test_methods_that_do_not_take_them_say_so(method: str, term: str) -> None:
    with pytest.raises(PlanError, match="dependent levels"):
        fit(f"cnt ~ x + {term}", data("space"), family="poisson", method=method)


def test_quadrature_and_reduced_rank_are_refused_by_name() -> None:
    with pytest.raises(PlanError, match="adaptive quadrature"):
        fit(f"cnt ~ x + {FIELD}", data("space"), family="poisson", nagq=5)
    table = data("Orthodont").assign(tall=lambda t: (t["distance"] > 24.0).astype(int))
    with pytest.raises(PlanError, match=r"no coordinates .* method='hmc' needs"):
        fit("distance ~ age + rr(0 + factor(age) | Subject)", table, method="hmc")
    with pytest.raises(PlanError, match="penalised quasi-likelihood needs"):
        fit("tall ~ age + rr(0 + factor(age) | Subject)", table, family="binomial", method="pql")
    with pytest.raises(PlanError, match="a profile needs"):
        fitted(*GAUSSIAN["rr2_gauss"]).conf_int(method="profile")


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("y ~ x + ou(0 + arm | id)", "`arm` is a factor whose labels are no numbers, such as 'A'"),
        ("y ~ x + ar1(0 + sqrt(tcont) | id)", r"Write ou\(\) for uneven gaps"),
        ("y ~ x + exp(0 + time | row)", "one position in each of its 149 groups"),
        ("y ~ x + propto(0 + ftime | id, A)", r"`A` is not given in data2="),
        (
            "y ~ x + exp(0 + pos(poly(time, 2)) | id)",
            "has several columns; coordinates are written one by one",
        ),
    ],
)
def test_positions_that_are_none(formula: str, said: str) -> None:
    with pytest.raises(LmmformulaError, match=said):
        build(formula, data("long").assign(row=np.arange(149).astype(str)))


def test_a_known_matrix_within_groups() -> None:
    """One group is gr(cov = A); labels may come in any order, with others among them."""
    rng = np.random.default_rng(4)
    species = [f"s{j}" for j in range(8)]
    half = rng.normal(size=(9, 12))
    a = pd.DataFrame(half @ half.T / 12.0, index=[*species[::-1], "s9"], columns=[*species[::-1], "s9"])
    table = pd.DataFrame(
        {"sp": np.repeat(species, 6), "x": rng.normal(size=48), "one": "a", "y": rng.normal(size=48)}
    )
    table["y"] += np.linalg.cholesky(a)[: len(species)][::-1][table["sp"].str[1:].astype(int)] @ rng.normal(
        size=9
    )
    ours = fit("y ~ x + propto(0 + sp | one, A)", table, data2={"A": a})
    theirs = fit("y ~ x + (1 | gr(sp, cov = A))", table, data2={"A": a})
    assert ours.llf == pytest.approx(theirs.llf, abs=1e-8)
    assert first_sd(ours) == pytest.approx(first_sd(theirs), rel=1e-6)


def test_a_factor_of_points_holds_their_coordinates() -> None:
    table = data("space")
    labelled = table.assign(pos=[f"({a},{b})" for a, b in zip(table["cx"], table["cy"], strict=True)])
    model = fit("y ~ x + exp(0 + pos | one)", labelled, method="ml")
    assert model.llf == pytest.approx(REFERENCE["fits"]["exp_gauss"]["logLik"], abs=1e-6)
    new = pd.DataFrame({"x": [0.0], "pos": ["(5,5)"], "one": ["a"]})
    other = fitted(f"y ~ x + {FIELD}", "space").predict(
        pd.DataFrame({"x": [0.0], "cx": [5.0], "cy": [5.0], "one": ["a"]})
    )
    assert float(np.asarray(model.predict(new))[0]) == pytest.approx(float(np.asarray(other)[0]), rel=1e-6)


def test_series_beside_intercepts_of_the_same_group() -> None:
    table = data("made")
    model = fit("y ~ x + (1 | id) + ar1(0 + time | id)", table)
    assert model.ngroups == {"id": 40}
    assert {name: frame.shape for name, frame in model.coef().items()} == {"id": (40, 2), "id.1": (600, 3)}
    parts = [model.predict(table, re_form=form) for form in ("~ (1 | id)", "~ ar1(0 + time | id)", None)]
    np.testing.assert_allclose(parts[0] + parts[1] - parts[2], model.fittedvalues)
    names = list(model.conf_int(method="wald", parameters="all").index)
    assert names[:3] == ["sd_(Intercept)|id", "sd_ar1(time)|id", "rho|id"]
    assert model.update("~ . - ar1(0 + time | id)").llf < model.llf - 10.0
    tested = model.hypothesis("rho|id = 0.6")
    assert abs(tested["statistic"].to_numpy()[0]) < 3.0


def test_rows_read_in_batches_have_columns_but_no_positions(tmp_path: Path) -> None:
    table = data("made").assign(ft=lambda t: t["time"].astype(str).str.zfill(2))
    table.to_parquet(tmp_path / "rows.parquet")
    for term in ("ar1(0 + ft | id)", "rr(0 + ft | id, d = 1)"):
        assert fit(f"y ~ x + {term}", tmp_path).llf == pytest.approx(
            fit(f"y ~ x + {term}", table).llf, abs=1e-6
        )
    with pytest.raises(PlanError, match="the rows of these data are read in batches"):
        fit("y ~ x + exp(0 + time | id)", tmp_path)
