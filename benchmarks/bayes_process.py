"""One Bayesian fit in a process of its own: ``python -m benchmarks.bayes_process REQUEST``, REQUEST being JSON.

It prints one line of JSON, and leaves the draws of every parameter beside the data. A short fit comes first, so that imports
are not timed. Compilation is reported apart: what JAX says it spent on tracing and compiling, or, for bambi, the time of a
fit with ten iterations. bambi needs no lmmformula where it runs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exchange import read_frame

__all__ = ["DRAWS", "MARK", "main"]

DRAWS = "draws.npz"
MARK = "measurement: "
_LARGE = 20_000
"""Rows from which imports are nothing beside a fit, and no short one comes first."""


class _Compilation:
    """Seconds in which JAX traced, lowered and compiled; what happened within something else counts once."""

    _EVENTS = ("backend_compile_duration", "jaxpr_to_mlir_module_duration", "jaxpr_trace_duration")

    def __init__(self) -> None:
        import jax.monitoring

        self.spans: list[tuple[float, float]] = []
        jax.monitoring.register_event_duration_secs_listener(self._add)

    def _add(self, event: str, duration_secs: float, **_: Any) -> None:
        if event.endswith(self._EVENTS):
            now = time.perf_counter()
            self.spans.append((now - duration_secs, now))

    @property
    def seconds(self) -> float:
        """Length of the union of all spans."""
        total, reached = 0.0, -np.inf
        for start, end in sorted(self.spans):
            total += max(0.0, end - max(start, reached))
            reached = max(reached, end)
        return total


class _Clock:
    """Seconds by the clock and of the processor since it was made."""

    def __init__(self) -> None:
        self._begun = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Both."""
        seconds, cpu = time.perf_counter() - self._begun[0], time.process_time() - self._begun[1]
        return {"seconds": seconds, "cpu": cpu}


def _ours(request: Mapping[str, Any], frame: Any, formula: str) -> dict[str, Any]:
    """Everything integrated out, one class, or nothing, by lmmformula."""
    from lmmformula import build
    from lmmformula.backends.posterior.hmc import HMC

    problem = build(formula, frame)
    exact = request["marginalize"] == "all"
    backend = HMC(
        sampler=request["sampler"],
        chains=request["chains"],
        draws=request["draws"],
        warmup=None if exact else request["warmup"],
        seed=request["seed"],
        marginalize=request["marginalize"],
    )
    if problem.n < _LARGE:
        replace(backend, draws=10, warmup=10).fit(problem)
    compilation, clock = _Compilation(), _Clock()
    posterior = backend.fit(problem).posterior
    taken = clock.read()
    draws = {"beta": posterior.beta, "variances": posterior.variances}
    named = enumerate(zip(problem.terms, posterior.effects or (), strict=False))
    draws |= {f"effects of {t.group}, {i}": e for i, (t, e) in named}
    _leave(request, draws)
    out = taken | {
        "compilation": compilation.seconds,
        "warmup": posterior.warmup,
        "all_kept": posterior.effects is not None,
    }
    if posterior.sampler == "importance":
        _, ties = np.unique(posterior.x.reshape(-1, posterior.x.shape[-1]), axis=0, return_counts=True)
        out |= {"different": float(ties.sum() ** 2 / (ties**2).sum()), "pareto_k": posterior.pareto_k}
    else:
        out |= {
            "divergences": int(posterior.statistics["diverging"].sum()),
            "steps": float(posterior.statistics["n_steps"].mean()),
        }
    return out | {"sampler": posterior.sampler}


def _plain(request: Mapping[str, Any], frame: Any, formula: str) -> dict[str, Any]:
    """A plain NumPyro model, with nothing or one class integrated out."""
    from benchmarks.bayes_plain import Plain, sample
    from lmmformula import build
    from lmmformula.numerics.x64 import x64

    plain = Plain.of(build(formula, frame), request["without"])
    with x64():
        sample(plain, 10, 10, request["seed"])
        compilation, clock = _Compilation(), _Clock()
        draws, divergences = sample(plain, request["warmup"], request["draws"], request["seed"])
        taken = clock.read()
    _leave(request, draws)
    out = taken | {"compilation": compilation.seconds, "warmup": request["warmup"]}
    return out | {"divergences": divergences, "sampler": "nuts", "all_kept": True}


def _bambi(request: Mapping[str, Any], frame: Any, formula: str) -> dict[str, Any]:
    """bambi with nutpie; its intercepts and slopes are uncorrelated, and priors are its own."""
    import bambi

    model = bambi.Model(formula, frame)
    settings = {"inference_method": "nutpie", "chains": request["chains"], "random_seed": request["seed"]}

    def fitted(warmup: int, draws: int) -> tuple[float, Any]:
        start = time.perf_counter()
        data = model.fit(tune=warmup, draws=draws, progress_bar=False, **settings)
        return time.perf_counter() - start, data

    fitted(10, 10)
    compilation, _ = fitted(10, 10)
    seconds, data = fitted(request["warmup"], request["draws"])
    names = [n for n in data.posterior.data_vars if not str(n).endswith("_log__")]
    _leave(request, {str(n): np.asarray(data.posterior[n]) for n in names})
    out = {"seconds": seconds, "compilation": compilation, "warmup": request["warmup"]}
    diverging = int(np.asarray(data.sample_stats["diverging"]).sum())
    return out | {"divergences": diverging, "sampler": "nuts", "all_kept": True}


def _leave(request: Mapping[str, Any], draws: Mapping[str, Any]) -> None:
    """The draws (chain, draw, ...) for the caller to judge."""
    np.savez(Path(request["folder"]) / DRAWS, **draws)


def _first(request: Mapping[str, Any], frame: Any, formula: str) -> dict[str, Any]:
    """A whole fit with everything as it comes: the caller times the process."""
    from lmmformula import build
    from lmmformula.backends.posterior.hmc import HMC

    posterior = HMC(seed=request["seed"], sampler=request["sampler"]).fit(build(formula, frame)).posterior
    return {"sampler": posterior.sampler, "draws": posterior.chains * posterior.draws}


_WAYS: dict[str, Callable[[Mapping[str, Any], Any, str], dict[str, Any]]] = {
    "ours": _ours,
    "plain": _plain,
    "bambi": _bambi,
    "first": _first,
}


def main(arguments: list[str]) -> None:
    """Do one request and print what it took."""
    request = json.loads(arguments[0])
    frame = read_frame(Path(request["folder"]))
    found = _WAYS[request["way"]](request, frame, request["formula"])
    print(MARK + json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
