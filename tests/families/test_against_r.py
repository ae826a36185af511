"""Log-likelihoods of glmmTMB and lme4 at their own estimates, from these rows and a Laplace approximation.

The approximation for one grouping factor is written out here: the mode of each group by Newton's method, then
``sum l - b'Sigma^-1 b / 2 - log|I + Sigma Z'WZ| / 2``. With a log-likelihood that agrees to 1e-6, density, scale
and constants are R's; with the observed and the expected weight both covered, so are both informations.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest

from lmmformula import build
from lmmformula.datasets import load_dataset
from lmmformula.families import Family, resolve, zero_inflated

REFERENCES = Path(__file__).parents[1] / "reference"

CASES: dict[str, tuple[str, Literal["observed", "expected"]]] = {
    "tmb_sleep_gaussian_ml": ("gaussian", "observed"),
    "tmb_sleep_gamma": ("gamma", "observed"),
    "tmb_petrol_beta": ("beta", "observed"),
    "tmb_bacteria_probit": ("binomial(link='probit')", "observed"),
    "bacteria_probit_laplace": ("binomial(link='probit')", "expected"),
    "bacteria_laplace": ("binomial", "observed"),
    "cbpp_laplace": ("binomial", "observed"),
    "salamanders_pois_laplace": ("poisson", "expected"),
    "tmb_salamanders_nb1": ("nbinom1", "observed"),
    "tmb_salamanders_nb2": ("nbinom2", "observed"),
    "tmb_salamanders_zip": ("poisson", "observed"),
    "tmb_owls_nb2_offset": ("nbinom2", "observed"),
    "tmb_owls_zinb1": ("nbinom1", "observed"),
}


def laplace(
    family: Family,
    y: np.ndarray,
    fixed: np.ndarray,
    aux: tuple[Any, ...],
    w: np.ndarray | None,
    Z: np.ndarray,
    codes: np.ndarray,
    sigma: np.ndarray,
    information: Literal["observed", "expected"],
) -> float:
    b = np.zeros((int(codes.max()) + 1, Z.shape[1]))
    precision = np.linalg.inv(sigma)
    for _ in range(100):
        rows = family.rows(
            y, fixed + (Z * b[codes]).sum(1), aux, w, information=information, derivatives=False
        )
        hessian = np.tile(precision, (len(b), 1, 1))
        gradient = -b @ precision
        np.add.at(hessian, codes, rows.weight[:, None, None] * Z[:, :, None] * Z[:, None, :])
        np.add.at(gradient, codes, rows.score[:, None] * Z)
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        b += step
        if np.abs(step).max() < 1e-12:
            break
    else:
        raise AssertionError("the modes have not converged")
    penalty = 0.5 * np.einsum("ij,jk,ik->", b, precision, b)
    return float(rows.loglik.sum() - penalty - 0.5 * np.linalg.slogdet(sigma @ hessian)[1].sum())


def response(
    reference: dict[str, Any], family: Family, data: pd.DataFrame
) -> tuple[np.ndarray, np.ndarray | None]:
    """The left-hand side, read as its family reads it."""
    left = reference["formula"].partition("~")[0].strip()
    if left.startswith("cbind"):
        return family.read([data["incidence"].to_numpy(), (data["size"] - data["incidence"]).to_numpy()])
    if left == "I(Y/100)":
        return family.read([data["Y"].to_numpy() / 100])
    column = data[left]
    if column.dtype.kind in "if":
        return family.read([column.to_numpy()])
    levels = ["n", "y"]
    return family.read([(np.array([levels.index(v) for v in column.astype(str)]), levels)])


@pytest.mark.parametrize("name", CASES)
def test_log_likelihood(name: str) -> None:
    reference = json.loads((REFERENCES / f"{name}.json").read_text())
    text, information = CASES[name]
    family = resolve(text)
    assert family.link == reference["link"]
    data = load_dataset(reference["dataset"])
    y, w = response(reference, family, data)
    family.check(y, w, name)
    problem = build(
        "row_number ~" + reference["formula"].partition("~")[2],
        data.assign(row_number=np.arange(len(data)) + 0.5),
    )
    beta = reference["fixef"]
    assert list(problem.X.names) == beta["names"]
    eta = problem.X.matrix @ np.array(beta["estimate"])
    if problem.offset is not None:
        eta = eta + problem.offset
    aux: tuple[Any, ...] = tuple(a.predictor(np.array(reference["sigma"])) for a in family.auxiliaries)
    if reference.get("fixef_zi"):
        family = zero_inflated(family)
        estimate = reference["fixef_zi"]["estimate"]
        inside = (data["mined"] == "no").to_numpy() if len(estimate) == 2 else 0.0
        aux = (*aux, estimate[0] + estimate[-1] * inside)
    (term,) = problem.terms
    basis = np.ones((len(y), 1)) if term.basis is None else term.basis
    (random,) = reference["varcorr"]
    value = laplace(family, y, eta, aux, w, basis, term.codes, np.array(random["cov"]), information)
    assert value == pytest.approx(reference["logLik"], abs=2e-6)
