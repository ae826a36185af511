"""Whether it matters to the posterior what is integrated out: ``python -m benchmarks.bayes_agreement --help``.

Each model of Lai, Domke & Sheldon (2024, arXiv 2410.24079) in form, at full size, on simulated responses: everything integrated
out, each class of random effects alone, and nothing. Two samples of one posterior differ in a mean by

    z = (m_1 - m_2) / sqrt(s_1^2 / ESS_1 + s_2^2 / ESS_2),

about standard normal over the parameters; a standard deviation s has the Monte Carlo variance var((x - m)^2) / (4 s^2 ESS),
with the effective sample size of (x - m)^2. So the root mean square of z should be about one, and the largest of k about
sqrt(2 log k). The first way of a model is the one that the others are held against.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bayes_data import DISTRIBUTIONAL, MODELS, BayesModel
from benchmarks.pages import add_common, redraw
from benchmarks.pql_records import machine, read_record, write_record

__all__ = ["AgreementStudy", "compare", "main", "tables"]

_PAGE = Path(__file__).resolve().parent.parent / "docs" / "bayes_agreement.md"
_RECORD = "bayes_agreement.json"
_ALL = {n: m for n, m in (MODELS | DISTRIBUTIONAL).items() if n != "insteval"}


@dataclass(frozen=True, slots=True)
class AgreementStudy:
    """What is fitted, and how.

    Attributes
    ----------
    models : sequence of str
    chains, draws, warmup : int
        Of every fit; `warmup` where random effects are sampled.
    seed : int
        Of the first way; the others take the next ones.
    """

    models: Sequence[str]
    chains: int = 2
    draws: int = 1_000
    warmup: int = 500
    seed: int = 1

    def run(self, record: Path) -> None:
        """Fit every way of every model and replace the model's rows in the file `record`."""
        for name in self.models:
            rows = []
            first: dict[str, np.ndarray] | None = None
            for i, way in enumerate(_ways(_ALL[name])):
                found, draws = self._fitted(_ALL[name], way, self.seed + i)
                if first is None:
                    first = draws
                else:
                    found |= compare(first, draws)
                print(json.dumps(found), file=sys.stderr, flush=True)
                rows.append(found)
                known = [f for f in read_record(record).get("fits", []) if f["model"] != name]
                write_record(record, {"machine": machine(), "fits": known + rows}, 5)

    def _fitted(self, model: BayesModel, way: Any, seed: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """A record of one fit, and the draws of every number by name."""
        from lmmformula import build
        from lmmformula.backends.posterior.hmc import HMC
        from lmmformula.numerics.mcmc import rhat

        frame, family = model.make(), "gaussian"
        if model.times:
            frame, family = frame.assign(y=np.exp(frame["y"])), "lognormal"
        problem = build(model.formula, frame, family=family)
        exact = way == "all" and model.name not in DISTRIBUTIONAL
        start = time.process_time()
        posterior = (
            HMC(
                marginalize=way,
                chains=self.chains,
                draws=self.draws,
                warmup=None if exact else self.warmup,
                seed=seed,
            )
            .fit(problem)
            .posterior
        )
        seconds = time.process_time() - start
        draws = {n: posterior[n] for n in (*posterior.beta_names, *posterior.names)}
        effects = [(posterior.effects, problem.terms, "")]
        effects += [
            (e.draws, t, "sigma ") for e, t in zip(posterior.aux_effects, problem.aux_terms, strict=False)
        ]
        for own, terms, prefix in effects:
            for j, (term, b) in enumerate(zip(terms, own or (), strict=True)):
                draws[f"{prefix}effects of {term.group}, {j}"] = b
        worst = max(float(np.nanmax(rhat(v.reshape(*v.shape[:2], -1)))) for v in draws.values())
        found = {
            "model": model.name,
            "family": family,
            "rows": problem.n,
            "way": way if isinstance(way, str) else ", ".join(way),
            "cpu": seconds,
            "parameters": sum(int(np.prod(v.shape[2:])) for v in draws.values()),
            "divergences": posterior.diagnostics.divergences,
            "rhat": worst,
        }
        return found, draws


def _ways(model: BayesModel) -> list[Any]:
    """All, each class alone where there are several, nothing."""
    alone = [[g] for g in model.groups] if len(model.groups) > 1 else []
    return ["all", *alone, "none"]


def compare(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> dict[str, Any]:
    """Means and standard deviations of two samples (chain, draw, ...) by name, in units of their Monte Carlo errors."""
    means, sds, gaps, names = [], [], [], []
    for name, x in first.items():
        both = [v.reshape(*v.shape[:2], -1) for v in (x, second[name])]
        (m1, s1, em1, es1), (m2, s2, em2, es2) = (_moments(v) for v in both)
        means.append((m1 - m2) / np.hypot(em1, em2))
        sds.append((s1 - s2) / np.hypot(es1, es2))
        gaps.append(np.abs(m1 - m2) / s1)
        names += [name] * len(m1)
    z, spread, gap = (np.concatenate(v) for v in (means, sds, gaps))
    return {
        "mean_rms": float(np.sqrt((z**2).mean())),
        "mean_max": float(np.abs(z).max()),
        "mean_worst": names[int(np.abs(z).argmax())],
        "sd_rms": float(np.sqrt((spread**2).mean())),
        "sd_max": float(np.abs(spread).max()),
        "gap": float(gap.max()),
    }


def _moments(x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Mean, standard deviation and their Monte Carlo errors of (chain, draw, k)."""
    from lmmformula.numerics.mcmc import ess

    mean, sd = x.mean(axis=(0, 1)), x.std(axis=(0, 1))
    square = (x - mean) ** 2
    return mean, sd, sd / np.sqrt(ess(x)), square.std(axis=(0, 1)) / (2.0 * sd * np.sqrt(ess(square)))


def tables(results: Path) -> dict[str, str]:
    """The table of the page."""
    fits = read_record(results / _RECORD).get("fits", [])
    head = ["model", "family", "rows", "parameters", "integrated out", "CPU seconds", "divergences", "R-hat"]
    head += ["means: rms z", "largest", "expected", "sds: rms z", "largest", "largest shift of a mean, sds"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    order = list(_ALL)
    for f in sorted(fits, key=lambda f: order.index(f["model"])):
        cells = [
            f["model"],
            f["family"],
            f"{f['rows']:,}",
            str(f["parameters"]),
            f["way"],
            _spent(f),
        ]
        cells += [str(f["divergences"]), f"{f['rhat']:.3f}"]
        if "mean_rms" in f:
            expected = _largest(f["parameters"])
            cells += [f"{f['mean_rms']:.2f}", f"{f['mean_max']:.1f}", f"{expected:.1f}"]
            cells += [f"{f['sd_rms']:.2f}", f"{f['sd_max']:.1f}", f"{f['gap']:.2f}"]
        else:
            cells += [""] * 6
        lines.append("| " + " | ".join(cells) + " |")
    return {"bayes_agreement": "\n".join(lines)}


def _largest(k: int) -> float:
    """Median of the largest of k absolute standard normal numbers."""
    from scipy.special import ndtri

    return float(ndtri(0.5 + 0.5 * 0.5 ** (1.0 / k)))


def _run(options: argparse.Namespace) -> None:
    study = AgreementStudy(options.models, options.chains, options.draws, options.warmup, options.seed)
    study.run(options.results / _RECORD)


def _tables(options: argparse.Namespace) -> None:
    redraw(options, lambda *_: (), tables)


def _spent(fit: dict[str, Any]) -> str:
    """Processor seconds of a fit; of an older one seconds by the clock, where they are known."""
    if "cpu" in fit:
        return f"{fit['cpu']:.1f}"
    return f"{fit['seconds']:.1f} by the clock" if "seconds" in fit else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bayes_agreement", description=__doc__)
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="fit every way of every model")
    run.add_argument("--models", nargs="+", choices=_ALL, default=list(_ALL))
    run.add_argument("--chains", type=int, default=2)
    run.add_argument("--draws", type=int, default=1_000, help="of each chain")
    run.add_argument("--warmup", type=int, default=500, help="where random effects are sampled")
    run.add_argument("--seed", type=int, default=1)
    run.set_defaults(run=_run)
    add_common(commands, _PAGE, _tables)
    options = parser.parse_args(arguments)
    options.run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
