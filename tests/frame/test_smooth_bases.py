"""Every basis of smooths keeps one contract, whether it is the package's or a user's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from lmmformula import build, fit
from lmmformula.errors import DataError, ExtrapolationWarning, LmmformulaError, PlanError
from lmmformula.frame.smooths.base import BASES, BasisRecord, register_basis
from lmmformula.frame.smooths.mixed import mixed_form
from lmmformula.frame.smooths.thin_plate import MOST_KNOTS, radial, thin_plate
from lmmformula.typing import Array


@dataclass(frozen=True)
class Tents:
    """Piecewise linear functions penalised by their differences: what a user may register."""

    knots: Array
    null_dim: int = 1

    @property
    def penalty(self) -> Array:
        d = np.diff(np.eye(len(self.knots)), axis=0)
        return d.T @ d

    def design(self, x: Array) -> Array:
        return np.stack([np.interp(x[:, 0], self.knots, row) for row in np.eye(len(self.knots))], axis=1)


def tents(x: Array, k: int | None = None, m: tuple[int, ...] = ()) -> Tents:
    return Tents(np.linspace(x.min(), x.max(), 8 if k is None else k))


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    register_basis(BasisRecord("tents", "piecewise linear functions", tents))
    yield
    del BASES["tents"]


NAMES = [*BASES, "tents"]


def points(n: int = 150) -> Array:
    return np.random.default_rng(3).uniform(2.0, 5.0, (n, 1))


def table(n: int = 150) -> pd.DataFrame:
    rng, x = np.random.default_rng(4), points(n)[:, 0]
    g = np.arange(n) % 10
    y = np.sin(2.0 * x) + 0.3 * rng.normal(size=10)[g] + 0.4 * rng.normal(size=n)
    return pd.DataFrame(
        {"y": y, "x": x, "z": rng.normal(size=n), "g": g.astype(str), "f": np.where(g > 4, "b", "a")}
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_penalty_is_blind_to_its_null_space_and_to_nothing_else(name: str) -> None:
    basis = BASES[name].learn(points(), 8, ())
    values = np.linalg.eigvalsh(basis.penalty)
    assert int((values < 1e-9 * values[-1]).sum()) == basis.null_dim
    assert values.min() > -1e-9 * values[-1]
    assert basis.design(points()).shape == (150, len(values))


@pytest.mark.parametrize("name", NAMES)
def test_the_mixed_form_is_the_penalised_least_squares(name: str) -> None:
    """Dense oracle: the same curve for the same smoothing parameter, centred over the rows."""
    x, y = points(), table()["y"].to_numpy()
    basis = BASES[name].learn(x, 8, ())
    raw = basis.design(x)
    form = mixed_form(raw, basis.penalty, basis.null_dim, centre=True)
    columns, fixed = raw @ form.maps, form.fixed.shape[1]
    assert np.abs(columns.sum(axis=0)).max() < 1e-9 * np.abs(columns).max() * len(x)
    scale = np.abs(raw).sum(axis=1).max() ** 2 / np.abs(basis.penalty).sum(axis=0).max()
    ones = np.ones((len(x), 1))
    both = np.hstack([ones, columns])
    ridge = np.diag(np.append(np.zeros(1 + fixed), np.ones(columns.shape[1] - fixed)))
    mixed = both @ np.linalg.solve(both.T @ both + 0.7 * ridge, both.T @ y)
    direct = raw @ np.linalg.lstsq(raw.T @ raw + 0.7 * scale * basis.penalty, raw.T @ y, rcond=None)[0]
    np.testing.assert_allclose(mixed, direct, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_fits_do_not_depend_on_units(name: str) -> None:
    data = table()
    formula = f'y ~ s(x, bs = "{name}", k = 8) + (1 | g)'
    here, there = fit(formula, data), fit(formula, data.assign(x=1e6 * data["x"] + 3e6))
    np.testing.assert_allclose(there.fittedvalues, here.fittedvalues, atol=1e-6)
    assert there.llf - here.llf == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    "term",
    [
        *(f's(x, bs = "{n}", k = 8)' for n in NAMES),
        "s(x, z, k = 12)",
        "t2(x, z, k = 4)",
        "s(x, by = f, k = 6)",
        "s(x, by = z, k = 6)",
        's(x, g, bs = "fs", k = 4)',
        's(g, bs = "re")',
        's(x, g, bs = "re")',
        "s(x, fx = TRUE, k = 6)",
        "s(log(x), k = 6)",
    ],
)
@pytest.mark.filterwarnings("ignore::lmmformula.errors.SingularFitWarning")
def test_predictions_replay_the_columns(term: str) -> None:
    data = table()
    model = fit(f"y ~ {term}", data)
    np.testing.assert_allclose(model.predict(data.iloc[20:60]), model.fittedvalues.iloc[20:60], atol=1e-9)


def test_knots_are_the_distinct_values_up_to_a_number() -> None:
    x = np.repeat(points(40), 5, axis=0)
    assert len(thin_plate(x).knots) == 40
    many = np.random.default_rng(0).normal(size=(3_000, 1))
    basis = thin_plate(many)
    assert len(basis.knots) == MOST_KNOTS
    direct = radial((many - basis.center) / basis.unit, basis.knots, 2) @ basis.weights
    np.testing.assert_allclose(basis.design(many)[:, : direct.shape[1]], direct, atol=1e-6)


def test_beyond_the_range_it_warns_and_goes_on_straight() -> None:
    data = table()
    model = fit("y ~ s(x)", data)
    with pytest.warns(ExtrapolationWarning, match="3 of 3 rows lie beyond"):
        beyond = model.predict(pd.DataFrame({"x": [6.0, 7.0, 8.0]}))
    assert np.diff(beyond, 2) == pytest.approx(0.0, abs=1e-8)


def test_a_smooth_belongs_to_the_mean_of_a_population() -> None:
    data = table()
    model = fit("y ~ s(x) + (1 | g)", data)
    effects = model.ranef().query("grpvar == 'g'").set_index("grp")["condval"]
    own = model.predict(data) - model.predict(data, re_form=None)
    np.testing.assert_allclose(own, effects.loc[data["g"]].to_numpy(), atol=1e-9)
    assert model.ngroups == {"g": 10}


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ('y ~ s(x, bs = "nosuch")', "known: "),
        ('y ~ s(x, z, bs = "cr")', "takes 1 variable"),
        ("y ~ s(f)", "this is a factor"),
        ("y ~ t2(x)", "two variables or more"),
        ('y ~ s(x, bs = "fs")', "takes one factor"),
        ("y ~ s(x, k = 400)", "at least 400 distinct values"),
        ("y ~ s(x, sp = 1)", "estimated from the data"),
        ("y ~ te(x, z)", "t2(x, z) is the tensor product"),
    ],
)
def test_what_cannot_be_is_refused_by_name(formula: str, said: str) -> None:
    with pytest.raises(LmmformulaError) as caught:
        build(formula, table())
    assert said in str(caught.value)


def test_names_of_smooths() -> None:
    model = fit("y ~ s(x)", table())
    with pytest.raises(DataError, match=r"there are s\(x\)"):
        model.smooth("s(z)")
    with pytest.raises(PlanError, match="has no smooth"):
        fit("y ~ x", table()).smooth("s(x)")
