"""Random effects given the data, against the n x n definition."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import Oracle, z_matrix

from lmmformula import fit, load_dataset
from lmmformula.inference.conditional import conditional_covariances

FORMULAS = {
    "sleepstudy": "Reaction ~ Days + (Days | Subject)",
    "Pastes": "strength ~ 1 + (1 | batch/cask)",
    "Penicillin": "diameter ~ 1 + (1 | plate) + (1 | sample)",
    "Machines": "score ~ Machine + (1 | Worker) + (0 + Machine || Worker)",
}


@pytest.mark.parametrize("name", ["sleepstudy", "Pastes", "Penicillin"])
def test_conditional_covariances(name: str) -> None:
    """Var(b | y) = sigma^2 (Sigma - Sigma Z'V^-1 Z Sigma)."""
    m = fit(FORMULAS[name], load_dataset(name))
    oracle = Oracle(m.problem, m.estimate.theta, reml=True)
    inverse = np.linalg.inv(oracle.v)
    for term, sigma, ours in zip(
        m.problem.terms, oracle.sigma_blocks(), conditional_covariances(m), strict=True
    ):
        z = z_matrix(term)
        full = m.sigma**2 * (sigma - sigma @ z.T @ inverse @ z @ sigma)
        blocks = full.reshape(term.m, term.k, term.m, term.k)
        for level in range(term.m):
            np.testing.assert_allclose(
                ours[level], blocks[level, :, level], rtol=1e-6, atol=1e-6 * m.sigma**2
            )


def test_ranef_is_long_and_complete() -> None:
    m = fit(FORMULAS["Pastes"], load_dataset("Pastes"))
    frame = m.ranef(condsd=True)
    assert list(frame.columns) == ["grpvar", "term", "grp", "condval", "condsd"]
    assert len(frame) == m.problem.q
    assert frame["condsd"].to_numpy().min() > 0
    assert set(frame["grpvar"]) == {"cask:batch", "batch"}


def test_varcorr_ends_with_the_residual_and_diag_has_no_correlations() -> None:
    frame = fit("Reaction ~ Days + (Days || Subject)", load_dataset("sleepstudy")).varcorr()
    assert frame["grp"].tolist() == ["Subject", "Subject", "Residual"]
    assert all(v is None or v != v for v in frame["var2"])
    np.testing.assert_allclose(frame["sdcor"] ** 2, frame["vcov"])


def test_coef_adds_fixed_and_random() -> None:
    m = fit(FORMULAS["sleepstudy"], load_dataset("sleepstudy"))
    frame = m.coef()["Subject"]
    np.testing.assert_allclose(frame.to_numpy(), m.params.to_numpy() + m.estimate.modes[0])
    assert list(frame.index[:2]) == ["308", "309"]
