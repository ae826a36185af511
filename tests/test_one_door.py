"""A structure across levels and a function that makes a term, defined here and nowhere else, work in all that a fit can do.

Families, covariance kinds, engines and methods have their own such tests beside their rooms.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array

from lmmformula import Fit, fit, load, plan
from lmmformula.errors import PlanError
from lmmformula.extensions import EXTENSIONS, enter, key_of
from lmmformula.formula.bars import TERM_FUNCTIONS
from lmmformula.frame.signature import FUNCTIONS, column, needed, register_term, whole
from lmmformula.frame.values import Basis
from lmmformula.ir.across import ACROSS, Precision, register_across
from lmmformula.ir.covariance_roles import Role
from lmmformula.typing import Array


@dataclass(frozen=True)
class Ring:
    """Levels on a circle, each drawn to its two neighbours: ``Q = (1 + 2 a) I - a (shift + shift')``, a = exp(phi) > 0."""

    m: int
    name: str = "ring"

    @property
    def roles(self) -> tuple[Role, ...]:
        return (Role.CORRELATION,)

    @property
    def names(self) -> tuple[str, ...]:
        return ("pull",)

    def start(self) -> Array:
        return np.zeros(1)

    def natural(self, phi: Array) -> Array:
        return np.exp(phi)

    def _matrix(self, own: float, beside: float) -> csr_array:
        step = np.roll(np.eye(self.m), 1, axis=0)
        return csr_array(own * np.eye(self.m) + beside * (step + step.T))

    def _roots(self) -> Array:
        return 2.0 - 2.0 * np.cos(2.0 * np.pi * np.arange(self.m) / self.m)

    def precision(self, phi: Array) -> Precision:
        a = float(np.exp(phi[0]))
        return Precision(self._matrix(1.0 + 2.0 * a, -a), float(np.log1p(a * self._roots()).sum()))

    def derivatives(self, phi: Array) -> tuple[tuple[csr_array, float], ...]:
        a, roots = float(np.exp(phi[0])), self._roots()
        return ((self._matrix(2.0 * a, -a), float((a * roots / (1.0 + a * roots)).sum())),)


@dataclass(frozen=True)
class Hats:
    """Piecewise linear functions between knots that the rows of the fit gave."""

    knots: tuple[float, ...]

    def apply(self, x: Array) -> Basis:
        knots = np.array(self.knots)
        matrix = np.stack([np.interp(x, knots, row) for row in np.eye(len(knots))], axis=1)
        return Basis(matrix, tuple(str(j + 1) for j in range(len(knots))))


def ring(levels: Sequence[object]) -> Ring:
    return Ring(len(levels))


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    register_across("ring", ring)
    enter(Ring)
    enter(Hats)

    @register_term("hats", needed("x", column), needed("k", whole(2, 50)), learns=True)
    def hats(x: Array, k: int) -> Hats:
        return Hats(tuple(np.linspace(x.min(), x.max(), k).tolist()))

    yield
    del ACROSS["ring"], FUNCTIONS["hats"]
    TERM_FUNCTIONS.discard("hats")
    for cls in (Ring, Hats):
        del EXTENSIONS[key_of(cls)]


def table(n: int = 400, m: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    g, x, z = np.arange(n) % m, rng.normal(size=n), rng.uniform(size=n)
    around = Ring(m).precision(np.log([3.0])).drawn(2.0 * rng.normal(size=(m, 1)))[g, 0]
    eta = 0.5 + 0.3 * x + around + np.sin(5.0 * z)
    return pd.DataFrame(
        {"y": eta + 0.5 * rng.normal(size=n), "count": rng.poisson(np.exp(0.4 * eta)), "x": x, "z": z, "g": g}
    )


FORMULAS = {"across": 'x + (1 | gr(g, cov = "ring"))', "term": "x + hats(z, 6) + (1 | g)"}


def check_everything(model: Fit, data: pd.DataFrame, folder: Path) -> None:
    """What a user does with a fit."""
    assert model.converged
    assert "Random effects" in str(model.summary())
    assert len(model.varcorr())
    new = data.head(5).assign(x=0.5)
    predicted = model.predict(new, se=True)
    assert np.isfinite(predicted).all(axis=None)
    assert (model.r2() < 1.0).all()
    assert len(model.augment()) == len(data)
    np.testing.assert_allclose(model.predict(data.head(7)), model.fittedvalues.head(7), rtol=1e-9)
    assert model.simulate(2, seed=1).shape == (len(data), 2)
    again = model.update(data=data.iloc[:200])
    assert again.converged
    model.save(folder / "fit.lmm")
    kept = load(folder / "fit.lmm")
    assert kept.llf == pytest.approx(model.llf, rel=1e-12)
    np.testing.assert_array_equal(kept.predict(new), model.predict(new))


@pytest.mark.parametrize("door", list(FORMULAS))
def test_by_restricted_likelihood(door: str, tmp_path: Path) -> None:
    data = table()
    model = fit(f"y ~ {FORMULAS[door]}", data)
    check_everything(model, data, tmp_path)
    assert model.method == "REML"
    assert plan(f"y ~ {FORMULAS[door]}", data).engine == model.plan.engine
    half_width = np.diff(model.conf_int(parameters=["x"], method="profile"))[0, 0] / 2.0
    assert half_width == pytest.approx(1.97 * model.bse["x"], rel=0.1)


@pytest.mark.parametrize("door", list(FORMULAS))
def test_by_laplace(door: str, tmp_path: Path) -> None:
    data = table()
    model = fit(f"count ~ {FORMULAS[door]}", data, family="poisson")
    check_everything(model, data, tmp_path)


def test_quasi_likelihood_and_posteriors_of_a_made_term() -> None:
    data = table(160)
    quasi = fit(f"count ~ {FORMULAS['term']}", data, family="poisson", method="pql")
    assert quasi.converged
    drawn = fit(
        f"y ~ {FORMULAS['term']}", data, method="hmc", sampler="importance", draws=400, chains=2, seed=1
    )
    exact = fit(f"y ~ {FORMULAS['term']}", data)
    assert (np.abs(drawn.params - exact.params) < exact.bse).all()


@pytest.mark.filterwarnings("ignore::lmmformula.errors.ConvergenceWarning")  # so few draws
def test_a_structure_without_natural_values_has_a_posterior_of_its_free_number() -> None:
    drawn = fit(
        f"y ~ {FORMULAS['across']}",
        table(60),
        method="hmc",
        sampler="importance",
        draws=200,
        chains=2,
        seed=1,
    )
    assert drawn.posterior is not None
    assert drawn.priors is not None
    (name,) = [n for n in drawn.posterior.names if not n.startswith(("sd:", "sigma"))]
    row = next(r for r in drawn.priors.table() if r[0] == name)
    assert row[1].startswith("normal(")
    assert row[2] == "default"
    assert drawn.posterior[name].std() > 0.1


@pytest.mark.parametrize("method", ["pql", "krylov"])
def test_methods_that_take_no_dependent_levels_say_so(method: str) -> None:
    with pytest.raises(PlanError, match="dependent levels"):
        fit(f"y ~ {FORMULAS['across']}", table(60), method=method)


def test_the_structure_is_found_in_the_data() -> None:
    """Neighbours on the ring are alike, so the likelihood gains by it, and the summary tells how much they are."""
    data = table()
    model, independent = fit(f"y ~ {FORMULAS['across']}", data), fit("y ~ x + (1 | g)", data)
    assert model.llf > independent.llf + 2.0
    assert "Levels of g are dependent: ring, pull = " in str(model.summary())


def test_a_made_term_is_smoother_than_its_columns() -> None:
    data = table()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = fit(f"y ~ {FORMULAS['term']}", data)
    grid = pd.DataFrame({"z": np.linspace(0.05, 0.95, 9), "x": 0.0, "g": 0})
    shape = model.predict(grid, re_form="all")
    truth = np.sin(5.0 * grid["z"])
    assert np.corrcoef(shape, truth)[0, 1] > 0.97
