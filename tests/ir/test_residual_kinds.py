"""Structures of residuals: each a correlation at every phi, with derivatives that differences confirm."""

from __future__ import annotations

import numpy as np
import pytest

from lmmformula.errors import PlanError
from lmmformula.ir.design import FixedBlock
from lmmformula.ir.residual import RESIDUAL_KINDS, ResidualKind, residual_kind, variance_columns

CODES = np.repeat(np.arange(3, dtype=np.int32), 4)
TIMES = np.array([0.0, 1.0, 2.0, 5.0])


def _kind(name: str, nugget: bool = False) -> tuple[ResidualKind, np.ndarray]:
    times = np.array([0.0, 1.0, 2.0, 3.0]) if name in ("unstr", "responses", "rescor") else TIMES
    positions = np.tile(times, 3)[:, None]
    if name == "sp_exp":
        positions = np.column_stack([positions[:, 0], positions[:, 0] ** 1.5])
    if name == "fcor":
        positions = np.arange(12.0)[:, None]
    matrix = 0.5 ** np.abs(np.arange(12.0)[:, None] - np.arange(12.0))
    kind = residual_kind(name, CODES, positions, ("a", "b", "c", "d"), nugget, matrix)
    return kind, positions[:4][None]


@pytest.mark.parametrize("name", [*RESIDUAL_KINDS, "fcor", "sp_exp with a nugget"])
def test_positive_definite_with_the_derivatives_it_says(name: str) -> None:
    kind, positions = _kind(name.split()[0], "nugget" in name)
    rng = np.random.default_rng(3)
    for phi in (kind.start(), rng.normal(size=kind.n_phi), rng.normal(size=kind.n_phi)):
        c, slope = kind.relative(positions, phi)
        assert np.linalg.eigvalsh(c[0])[0] > 0.0
        assert c[0, 0, 0] == pytest.approx(1.0, abs=1e-14)
        if kind.homogeneous:
            np.testing.assert_allclose(np.diagonal(c[0]), 1.0)
        assert slope.shape == (kind.n_phi, *c.shape)
        for j in range(kind.n_phi):
            step = 1e-6 * np.eye(kind.n_phi)[j]
            moved = (kind.relative(positions, phi + step)[0] - kind.relative(positions, phi - step)[0]) / 2e-6
            np.testing.assert_allclose(slope[j], moved, atol=1e-8 * np.abs(c).max())
        assert len(kind.natural(phi)) == len(kind.names)


def test_an_arma_process_has_the_correlations_of_its_definition() -> None:
    """Against the infinite moving average 1, a + m, a (a + m), a^2 (a + m), ..."""
    kind, positions = _kind("arma")
    a, m = 0.6, -0.3
    c, _ = kind.relative(positions, np.arctanh([a, m]))
    weights = np.concatenate([[1.0], (a + m) * a ** np.arange(400)])
    covariance = [float(weights[: len(weights) - k] @ weights[k:]) for k in range(6)]
    lag = np.abs(TIMES[:, None] - TIMES).astype(int)
    np.testing.assert_allclose(c[0], np.array(covariance)[lag] / covariance[0], atol=1e-12)


def test_a_variance_function_does_not_depend_on_units_and_needs_a_constant() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=20)
    names, assign = ("(Intercept)", "x"), (0, 1)
    one = variance_columns(FixedBlock(np.column_stack([np.ones(20), x]), names, assign, ("x",)))
    other = variance_columns(FixedBlock(np.column_stack([np.ones(20), 1e6 + 1e3 * x]), names, assign, ("x",)))
    np.testing.assert_allclose(np.abs(one.directions), np.abs(other.directions), atol=1e-6)
    a = one.coefficients(np.array([0.4]), -1.0)
    s = np.exp(-1.0) * one.spread(one.block.matrix, np.array([0.4]))
    np.testing.assert_allclose(one.block.matrix @ a, np.log(s))
    with pytest.raises(PlanError, match="no constant in their span"):
        variance_columns(FixedBlock(x[:, None], ("x",), (1,), ("x",)))
