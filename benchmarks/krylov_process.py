"""One measurement in a fresh process: ``python -m benchmarks.krylov_process TASK PROGRAM FOLDER OPTIONS``.

Tasks are ``fit`` (time, memory, estimates), ``noise`` (the log-likelihood over seeds at fixed parameters) and ``evaluate`` (the
log-likelihood at given estimates, by lmmformula). The last line of the output is the record as JSON.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.krylov_data import FORMULA, Data, design, frame, read_arrays
from benchmarks.measure import peak_memory_mb

__all__ = ["MARK", "main"]

MARK = "measurement: "
Fit = Callable[[], dict[str, Any]]


def main(arguments: list[str]) -> None:
    task, program, folder, text = arguments
    setting, data = read_arrays(Path(folder))
    options = json.loads(text)
    warnings.simplefilter("ignore")
    if task == "fit":
        record = measured(FITS[program](setting.family, data), options["repeats"], options["budget"])
    elif task == "noise":
        record = NOISE[program](setting.family, data, options)
    else:
        from benchmarks.krylov_ours import log_likelihood

        record = log_likelihood(setting.family, data, options)
    print(MARK + json.dumps(record), flush=True)


def measured(fit: Fit, repeats: int, budget: float) -> dict[str, Any]:
    """Seconds of `fit` after a first one that warms up, unless that takes longer than the budget, and peak memory."""
    before = peak_memory_mb()
    times: list[float] = []
    found: dict[str, Any] = {}
    while len(times) <= repeats and (not times or sum(times) < budget):
        gc.collect()
        start = time.perf_counter()
        found = fit()
        times.append(time.perf_counter() - start)
    seconds = statistics.median(times[1:] or times)
    sizes = {"before": before, "memory": peak_memory_mb()}
    return {"seconds": seconds, "first": times[0], "fits": len(times)} | sizes | found


# -- fits: each makes a call without arguments that returns the log-likelihood and, where it can, the estimates ---------


def of_frame(family: str, data: Data) -> Fit:
    from benchmarks.krylov_ours import fit_frame

    return fit_frame(family, frame(data))


def of_problem(family: str, data: Data) -> Fit:
    from benchmarks.krylov_ours import fit_problem

    return fit_problem(family, frame(data))


LIKELIHOODS = {"gaussian": "gaussian", "binomial": "bernoulli_logit"}


def of_gpboost(family: str, data: Data) -> Fit:
    import gpboost  # pyright: ignore[reportMissingImports]

    groups, x = np.column_stack([data["g"], data["h"]]), design(data)

    def fit() -> dict[str, Any]:
        model = gpboost.GPModel(group_data=groups, likelihood=LIKELIHOODS[family])
        model.fit(y=data["y"], X=x)
        variances = np.ravel(model.get_cov_pars(format_pandas=False)).tolist()
        beta = np.ravel(model.get_coef(format_pandas=False)).tolist()
        value = -model.get_current_neg_log_likelihood()
        return {"loglik": float(value), "beta": beta} | _split(family, variances)

    return fit


def _split(family: str, variances: list[float]) -> dict[str, Any]:
    """Variances of the factors, and sigma^2 before them for a Gaussian response."""
    if family == "gaussian":
        return {"sigma2": variances[0], "variances": variances[1:]}
    return {"sigma2": 1.0, "variances": variances}


def of_glmm(family: str, data: Data) -> Fit:
    import glmm  # pyright: ignore[reportMissingImports]

    table = frame(data)
    table[["g", "h"]] = table[["g", "h"]].astype(str).astype("category")
    options = {"reml": False, "satterthwaite": False, "anova_test": "Wald"}
    return lambda: {"loglik": float(glmm.fit(table, FORMULA, family, **options).loglik)}


FITS: dict[str, Callable[[str, Data], Fit]] = {
    "lmmformula": of_frame,
    "lmmformula, problem": of_problem,
    "gpboost": of_gpboost,
    "glmm": of_glmm,
}


# -- noise ---------------------------------------------------------------------------------------------------------------


def our_noise(family: str, data: Data, options: dict[str, Any]) -> dict[str, Any]:
    from benchmarks.krylov_ours import noise

    return noise(family, frame(data), options)


def gpboost_noise(family: str, data: Data, options: dict[str, Any]) -> dict[str, Any]:
    """Log-likelihoods at fixed parameters with its default number of probes, a new model for each seed."""
    import gpboost  # pyright: ignore[reportMissingImports]

    groups, fixed = np.column_stack([data["g"], data["h"]]), design(data) @ np.array(options["beta"])
    error = [options["sigma2"]] if family == "gaussian" else []
    variances = np.array(error + options["variances"])
    values, seconds = [], []
    for seed in range(1, options["seeds"] + 1):
        model = gpboost.GPModel(group_data=groups, likelihood=LIKELIHOODS[family])
        model.set_optim_params({"seed_rand_vec_trace": seed})
        start = time.perf_counter()
        values.append(-float(model.neg_log_likelihood(variances, data["y"], fixed_effects=fixed)))
        seconds.append(time.perf_counter() - start)
    return {"values": values, "seconds": statistics.median(seconds)}


NOISE = {"lmmformula": our_noise, "gpboost": gpboost_noise}


if __name__ == "__main__":
    main(sys.argv[1:])
