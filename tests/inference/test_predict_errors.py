"""Standard errors of predictions of generalised models: the covariance of all parameters, as glmmTMB has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, fit, load_dataset
from lmmformula.criteria.sensitivity import mode_sensitivity

ROWS = [0, 49, 199, 299]


@pytest.fixture(scope="module")
def salamanders():
    return load_dataset("Salamanders")


@pytest.fixture(scope="module")
def inflated(salamanders):
    return fit("count ~ spp * mined + (1 | site)", salamanders, family="poisson", ziformula="~ spp + mined")


@pytest.fixture(scope="module")
def dispersed(salamanders):
    return fit("count ~ mined + (1 | site)", salamanders, family="nbinom2", dispformula="~ mined")


# glmmTMB 1.1.5: predict(m, type = ..., se.fit = TRUE), rows 1, 50, 200, 300 of Salamanders
INFLATED = {
    "link": [0.838277233, 0.150746830, 0.537479469, 0.690802115],
    "conditional": [0.0697369311, 0.3879538901, 0.5206384236, 0.3489729672],
    "zi": [0.1505040675, 0.0692137579, 0.0895738601, 0.0527807964],
    "response": [0.0309196625, 0.3430415339, 0.1615257271, 0.0436937067],
}
DISPERSED = {
    "link": [0.354139444, 0.218084028, 0.447102922, 0.354139444],
    "response": [0.0876435153, 0.5424322628, 0.0810137298, 0.0876435153],
    "phi": [0.0829128861, 0.0879579839, 0.0829128861, 0.0829128861],
}


@pytest.mark.parametrize("kind", list(INFLATED))
def test_zero_inflated_counts_against_glmmtmb(inflated, salamanders, kind) -> None:
    for rows in (inflated.predict(kind=kind, se=True), inflated.predict(salamanders, kind=kind, se=True)):
        np.testing.assert_allclose(rows["se"].to_numpy()[ROWS], INFLATED[kind], rtol=2e-4)


@pytest.mark.parametrize("kind", list(DISPERSED))
def test_dispersion_with_a_formula_against_glmmtmb(dispersed, kind) -> None:
    np.testing.assert_allclose(
        dispersed.predict(kind=kind, se=True)["se"].to_numpy()[ROWS], DISPERSED[kind], rtol=2e-4
    )


def test_population_and_new_levels_against_glmmtmb(inflated, dispersed, salamanders) -> None:
    got = inflated.predict(re_form=None, kind="link", se=True)["se"].to_numpy()[ROWS]
    np.testing.assert_allclose(got, [0.810571590, 0.143384660, 0.382883280, 0.673132848], rtol=2e-4)
    new = salamanders.iloc[ROWS[:2]].assign(site="new")
    got = dispersed.predict(new, kind="link", se=True, new_levels="population")["se"]
    np.testing.assert_allclose(got, [0.468904088, 0.436180568], rtol=2e-4)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(24), 12)
    x = rng.normal(size=len(g))
    eta = 0.3 + 0.4 * x + 0.5 * rng.normal(size=24)[g] + 0.3 * rng.normal(size=24)[g] * x
    mu = np.exp(eta)
    p = 1 / (1 + np.exp(-eta))
    return pd.DataFrame(
        {
            "g": g,
            "x": x,
            "count": rng.poisson(rng.gamma(3.0, mu / 3.0)) * (rng.uniform(size=len(g)) > 0.2),
            "hit": (rng.uniform(size=len(g)) < p).astype(float),
            "time": rng.gamma(4.0, mu / 4.0),
            "share": rng.beta(5 * p, 5 * (1 - p)),
        }
    )


CASES = {
    "binomial": ("hit ~ x + (1 | g)", {"family": "binomial"}),
    "probit": ("hit ~ x + (1 | g)", {"family": "binomial(link='probit')", "nagq": 9}),
    "slopes": ("count ~ x + (x | g)", {"family": "poisson"}),
    "inflated": ("count ~ x + (1 | g)", {"family": "nbinom2", "ziformula": "~ 1"}),
    "gamma": ("time ~ x + (1 | g)", {"family": "gamma(link='log')", "dispformula": "~ x"}),
    "beta": ("share ~ x + (1 | g)", {"family": "beta"}),
    "sigma": ("time ~ x + (x | g)", {"dispformula": "~ x"}),
}


@pytest.mark.parametrize("case", list(CASES))
def test_modes_move_with_the_parameters_as_their_sensitivity_says(data, case) -> None:
    """Effects b = Lambda u at psi + h and psi - h, found anew."""
    formula, arguments = CASES[case]
    point = fit(formula, data, **arguments).optimum
    model, psi = point.model, point.psi
    smooth = model(psi, u=point.u, beta=point.beta)
    sensitivity = mode_sensitivity(smooth)
    for j in range(len(psi)):
        step = np.zeros(len(psi))
        step[j] = 1e-5
        high, low = (model(psi + s, u=point.u, tolerance=1e-13) for s in (step, -step))
        for a, own in enumerate(sensitivity):
            effects = [p.u[a] @ p.factors[a].T for p in (high, low)]
            expected = (effects[0] - effects[1]) / 2e-5
            got = own[..., j] @ smooth.factors[a].T
            np.testing.assert_allclose(got, expected, atol=2e-5 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("case", list(CASES))
def test_population_errors_are_those_of_the_coefficients(data, case) -> None:
    formula, arguments = CASES[case]
    m: Any = fit(formula, data, **arguments)
    got = m.predict({"x": [0.0, 1.0]}, re_form=None, kind="link", se=True)["se"]
    x = np.array([[1.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(got, np.sqrt(np.einsum("ni,ij,nj->n", x, m.vcov, x)), rtol=1e-9)
    assert got[0] == pytest.approx(m.bse.iloc[0], rel=1e-9)


@pytest.mark.parametrize("arguments", [{"method": "pql"}, {"nagq": 0}])
def test_fits_without_a_joint_covariance_take_the_variances_as_known(data, arguments) -> None:
    m: Any = fit("hit ~ x + (1 | g)", data, family="binomial", **arguments)
    got = m.predict({"x": [0.0]}, re_form=None, kind="link", se=True)["se"]
    assert got[0] == pytest.approx(m.bse.iloc[0], rel=1e-6)
    assert np.isfinite(m.predict(se=True, interval="confidence")).all(axis=None)


def test_undetermined_coefficients_are_in_the_rows_that_have_them(data) -> None:
    arm = np.tile([0, 1], 144)
    with pytest.warns(UserWarning, match="separat"):
        m = fit(
            "ok ~ arm + x + (1 | g)",
            data.assign(arm=arm, ok=np.where(arm == 1, 1.0, data["hit"])),
            family="binomial",
        )
    got: Any = m.predict(
        {"arm": [0, 1, np.nan], "x": [0.5] * 3}, re_form=None, kind="link", se=True, interval="confidence"
    )
    assert np.isfinite(got.loc[0]).all()
    assert got["se"][1] == np.inf
    assert got.loc[2].isna().all()


def test_parameters_have_standard_errors_and_limits_in_their_range(inflated, dispersed) -> None:
    zi = inflated.predict(kind="zi", se=True, interval="confidence")
    assert (
        (zi["lower"] > 0) & (zi["lower"] < zi["fit"]) & (zi["fit"] < zi["upper"]) & (zi["upper"] < 1)
    ).all()
    phi = dispersed.predict(kind="phi", se=True, interval="confidence")
    np.testing.assert_allclose(phi["lower"] * phi["upper"], phi["fit"] ** 2)
    sleep = fit("Reaction ~ Days + (1 | Subject)", load_dataset("sleepstudy"))
    with pytest.raises(DataError, match=r"kind='sigma' is profiled out .* conf_int\(method='profile'\)"):
        sleep.predict(kind="sigma", se=True)


def test_limits_of_a_zero_inflated_mean_are_those_of_its_logarithm(inflated) -> None:
    got = inflated.predict(se=True, interval="confidence")
    reach = 1.959963984540054 * got["se"] / got["fit"]
    np.testing.assert_allclose(got["upper"], got["fit"] * np.exp(reach), rtol=1e-6)
    np.testing.assert_allclose(got["lower"], got["fit"] * np.exp(-reach), rtol=1e-6)


UNITS = {
    "normal": ("time ~ z + (z | g)", {}),
    "poisson": ("count ~ z + (z | g)", {"family": "poisson"}),
    "pql": ("count ~ z + (z | g)", {"family": "poisson", "method": "pql"}),
    "sigma": ("time ~ z + (1 | g)", {"dispformula": "~ z"}),
}


@pytest.mark.parametrize("case", list(UNITS))
@pytest.mark.parametrize(("factor", "origin"), [(1e6, 0.0), (1e-3, 40.0)])
def test_errors_do_not_depend_on_units_and_origin_of_a_column(data, case, factor, origin) -> None:
    formula, arguments = UNITS[case]
    tables = []
    for z in (data["x"], factor * (data["x"] + origin)):
        rows = data.assign(z=z)
        m = fit(formula, rows, **arguments)
        new = pd.concat([rows.iloc[:5], rows.iloc[:5].assign(g=-1)])
        table = m.predict(new, new_levels="population", se=True, interval="confidence")
        tables.append(np.column_stack([table, m.predict(new, re_form=None, se=True, kind="link")]))
    np.testing.assert_allclose(tables[1], tables[0], rtol=2e-4)
