"""Repeated measures against published results of the R package mmrm: estimates, errors, degrees of freedom.

The numbers are those of mmrm 0.3.17 (and of an earlier version, Orthodont whole) in the validation of BESH Stat NG (P. Slezak,
github.com/PeterSlezak/BESHstatNG, MixedModelKRValidationTests), at mmrm's default optimum. mmrm's Kenward & Roger takes the
observed information and second derivatives of V in its own parameters, the paper (and ours) the expected one of a V that is
linear in its parameters: the last test has both.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmmformula import Fit, fit, load_dataset
from lmmformula.typing import Array, Index

KNOWN: dict[str, Any] = json.loads(Path(__file__).with_name("mmrm.json").read_text(encoding="utf-8"))
TERMS = {
    "cs": "cosy(gr = subject)",
    "ar1": "ar(time, gr = subject)",
    "us": "unstr(visit, gr = subject)",
}


@lru_cache
def fitted(name: str) -> Fit:
    if name == "orthodont":
        return fit("distance ~ age * Sex + unstr(age, gr = Subject)", load_dataset("Orthodont"))
    table = pd.DataFrame(KNOWN["data"])
    table = table.assign(
        arm=pd.Categorical(table["arm"], ["Control", "Active"]),
        site=pd.Categorical(table["site"], ["North", "Central", "South"]),
        time=table["visit"].str[1:].astype(int),
    )
    return fit(f"y ~ sex + arm + site + age + arm:age + {TERMS[name]}", table)


def known(name: str) -> tuple[list[str], dict[str, Array]]:
    """Names of the coefficients and what is published of each."""
    own = KNOWN["orthodont"] if name == "orthodont" else KNOWN
    found = own["fit"] if name == "orthodont" else own["fits"][name]
    return own["coefficients"], {k: np.array(v) for k, v in found.items()}


@pytest.mark.parametrize("name", [*TERMS, "orthodont"])
def test_estimates_errors_and_degrees_of_freedom(name: str) -> None:
    """For one coefficient Kenward & Roger's degrees of freedom, by observed information, are Satterthwaite's."""
    m, (names, numbers) = fitted(name), known(name)
    at = [list(m.params.index).index(c) for c in names]
    assert (np.abs(m.params.to_numpy()[at] - numbers["estimate"]) / numbers["se"]).max() < 2e-4
    np.testing.assert_allclose(m.bse.to_numpy()[at], numbers["se"], rtol=1e-4)
    np.testing.assert_allclose(m.df.to_numpy()[at], numbers["df_kr"], rtol=2e-4)


def _covariance(theta: Array, positions: Index, subjects: Array) -> Array:
    """V in mmrm's parameters: logarithms of m standard deviations, and the triangle of L, unit diagonal: Sigma = D L L' D."""
    m = 4
    lower = np.eye(m)
    lower[np.tril_indices(m, -1)] = theta[m:]
    half = np.exp(theta[:m])[:, None] * lower
    return (half @ half.T)[np.ix_(positions, positions)] * subjects


def _second(f: Callable[[Array], Any], x: Array, h: float) -> dict[tuple[int, int], Any]:
    """Second derivatives by central differences."""
    eye, out = h * np.eye(len(x)), {}
    for i in range(len(x)):
        for j in range(i, len(x)):
            corners = [(a, b, f(x + a * eye[i] + b * eye[j])) for a in (1, -1) for b in (1, -1)]
            out[i, j] = out[j, i] = sum(a * b * v for a, b, v in corners) / (4.0 * h * h)
    return out


def test_what_mmrm_adds_to_kenward_and_roger() -> None:
    """Phi + 2 Phi sum W_ij (Q_ij - P_i Phi P_j - R_ij / 4) Phi in mmrm's parameters, W the inverse observed information."""
    m, (names, numbers) = fitted("us"), known("us")
    residual, x, y = m.problem.residual, m.problem.X.matrix, m.problem.y
    assert residual is not None
    at: Index = residual.positions[:, 0].astype(np.int64)
    same = (residual.codes[:, None] == residual.codes).astype(float)
    own = m.varcorr().iloc[1:]
    cov = np.zeros((4, 4))
    places = {f"v{j + 1}": j for j in range(4)}
    for row in own.to_dict("records"):
        a = places[row["var1"]]
        b = places.get(row["var2"], a)
        cov[a, b] = cov[b, a] = row["vcov"]
    half = np.linalg.cholesky(cov)
    sds = np.diagonal(half)
    theta = np.concatenate([np.log(sds), (half / sds[:, None])[np.tril_indices(4, -1)]])

    def v(t: Array) -> Array:
        return _covariance(t, at, same)

    def deviance(t: Array) -> float:
        inverse = np.linalg.inv(v(t))
        xvx = x.T @ inverse @ x
        e = y - x @ np.linalg.solve(xvx, x.T @ inverse @ y)
        return float(np.linalg.slogdet(v(t))[1] + np.linalg.slogdet(xvx)[1] + e @ inverse @ e)

    constant = (len(y) - x.shape[1]) * np.log(2.0 * np.pi)
    assert deviance(theta) + constant == pytest.approx(-2.0 * m.llf, abs=1e-6)
    inverse, h = np.linalg.inv(v(theta)), 1e-4
    phi, left, k = np.linalg.inv(x.T @ inverse @ x), inverse @ x, len(theta)
    first = [(v(theta + h * e) - v(theta - h * e)) / (2.0 * h) for e in np.eye(k)]
    hessian, bend = _second(deviance, theta, 1e-3), _second(v, theta, 1e-3)
    w = 2.0 * np.linalg.inv([[hessian[i, j] for j in range(k)] for i in range(k)])
    p = [-left.T @ d @ left for d in first]
    total = np.zeros_like(phi)
    for i in range(k):
        for j in range(k):
            q, r = left.T @ first[i] @ inverse @ first[j] @ left, left.T @ bend[i, j] @ left
            total += w[i, j] * (q - p[i] @ phi @ p[j] - 0.25 * r)
    errors = np.sqrt(np.diagonal(phi + 2.0 * phi @ total @ phi))
    order = [list(m.params.index).index(c) for c in names]
    np.testing.assert_allclose(errors[order], numbers["se_kr"], rtol=2e-4)
