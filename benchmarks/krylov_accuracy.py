"""Estimates of models of the shipped data by ``method="krylov"`` against the exact engine, in units of standard errors."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import lmmformula
from benchmarks.pql_records import machine, read_record, write_record

__all__ = ["MODELS", "AccuracyStudy"]


@dataclass(frozen=True, slots=True)
class Model:
    """One model of a data set that the package ships."""

    data: str
    formula: str
    family: str = "gaussian"


MODELS: dict[str, Model] = {
    "insteval": Model("InstEval", "y ~ service + (1 | s) + (1 | d) + (1 | dept)"),
    "insteval, slopes": Model("InstEval", "y ~ service + (1 | s) + (1 + service | d) + (1 | dept)"),
    "penicillin": Model("Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)"),
    "sleepstudy": Model("sleepstudy", "Reaction ~ Days + (Days | Subject)"),
    "verbagg": Model("VerbAgg", "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)", "binomial"),
    "cbpp": Model("cbpp", "cbind(incidence, size - incidence) ~ period + (1 | herd)", "binomial"),
    "grouseticks": Model(
        "grouseticks", "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)", "poisson"
    ),
    "salamanders": Model("Salamanders", "count ~ spp + mined + (1 | site)", "poisson"),
    "bacteria": Model("bacteria", "y ~ trt + I(week > 2) + (1 | ID)", "binomial"),
    "epil": Model("epil", "y ~ lbase * trt + lage + V4 + (1 | subject)", "poisson"),
}


@dataclass(frozen=True, slots=True)
class AccuracyStudy:
    """Which models, and how many seeds of each.

    Attributes
    ----------
    models : sequence of str
        Of `MODELS`.
    seeds : int
    probes : int
        Of the search; the log-likelihood takes as many as its accuracy needs.
    """

    models: Sequence[str]
    seeds: int = 3
    probes: int = 8

    def run(self, record: Path) -> None:
        """Compute what the file does not hold."""
        known = read_record(record).get("models", [])
        for name in self.models:
            if any((f["model"], f["probes"]) == (name, self.probes) for f in known):
                continue
            found = {"model": name, "probes": self.probes} | self._compared(MODELS[name])
            print(found, file=sys.stderr)
            known.append(found)
            write_record(record, {"machine": machine(), "models": known})

    def _compared(self, model: Model) -> dict[str, Any]:
        from lmmformula.datasets import load_dataset

        table = load_dataset(model.data)
        arguments: dict[str, Any] = {"family": model.family}
        method = "ml" if model.family == "gaussian" else "laplace"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = time.perf_counter()
            exact = lmmformula.fit(model.formula, table, method=method, engine="blocked", **arguments)
            seconds = time.perf_counter() - start
            errors = standard_errors(exact)
            fits = []
            for seed in range(self.seeds):
                start = time.perf_counter()
                fit = lmmformula.fit(
                    model.formula, table, method="krylov", probes=self.probes, seed=seed, **arguments
                )
                fits.append((time.perf_counter() - start, fit))
        truth = parameters(exact)
        off = np.array([np.abs(parameters(f) - truth) / errors for _, f in fits])
        p = exact.problem.p
        return {
            "rows": exact.problem.n,
            "effects": exact.problem.q,
            "beta": float(off[:, :p].max()),
            "theta": float(off[:, p:].max()),
            "loglik": float(max(abs(f.llf - exact.llf) for _, f in fits)),
            "stderr": float(np.mean([0.5 * f.estimate.deviance_stderr for _, f in fits])),
            "seconds": float(np.median([s for s, _ in fits])),
            "exact_seconds": seconds,
        }


def parameters(fit: Any) -> np.ndarray:
    """beta, theta and the coefficients of auxiliary predictors."""
    return np.concatenate([fit.estimate.beta, fit.estimate.theta, *fit.estimate.aux])


def standard_errors(fit: Any) -> np.ndarray:
    """Of `parameters`; theta's of a Gaussian model from the curvature of the deviance. Infinite for what lies on a boundary."""
    if fit.joint_vcov is not None:
        variances = np.diagonal(fit.joint_vcov).copy()
    else:
        theta = 2.0 * np.linalg.inv(fit.backend.evaluate(fit.problem, fit.estimate).hessian)
        variances = np.concatenate([np.diagonal(fit.vcov), np.diagonal(theta)])
    return np.where(variances > 0.0, np.sqrt(np.maximum(variances, 0.0)), np.inf)
