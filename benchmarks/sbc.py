r"""Simulation-based calibration of posteriors: ``python -m benchmarks.sbc --help``.

Parameters are drawn from the priors and a response from them; where posteriors are right, the rank of each true value among
draws of its posterior is uniform (Talts, Betancourt, Simpson, Vehtari & Gelman 2018, theorem 1). All priors are stated, since
defaults look at the response. Draws are thinned to `KEPT`, so ranks are 0 to `KEPT`. Responses that the data alone disqualify
(a category that did not come up) are drawn again, which leaves the posterior of those that are kept as it was (Modrak et al.
2023, section 2).

Replicate r of a model has the seed (model, r), so that a record can go on. A figure shows the empirical distribution of the
ranks less the uniform one, with the band in which a whole curve of uniform ranks stays with probability 0.95 (Saeilynoja,
Buerkner & Vehtari 2022): pointwise binomial quantiles at the level at which that holds in simulations.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import add_common, redraw
from benchmarks.pql_records import machine, read_record, write_record

__all__ = ["MODELS", "band", "main", "ranks_of", "run", "tables"]

_PAGE = Path(__file__).resolve().parent.parent / "docs" / "bayes_measured.md"
_RECORD = "sbc.json"
KEPT = 99
_LEVEL = 0.95
_SIMULATED = 4_000
_MOST_DRAWN = 100


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A model whose calibration is looked at.

    Attributes
    ----------
    formula, family : str
    priors : dict
        Of every parameter.
    options : dict
        Further arguments of ``fit``.
    more : dict
        Further arguments of ``fit`` and ``prior_predictive``.
    suits : callable
        Whether a response can be analysed.
    """

    formula: str
    family: str
    priors: dict[str, str]
    options: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    suits: Callable[[Any], bool] = lambda y: bool(np.isfinite(y).all() and np.ptp(y) > 0)


_COMMON = {"Intercept": "normal(0, 1)", "b": "normal(0, 0.5)", "sd": "half_normal(0.7)"}
_CHAINS = {"chains": 2, "draws": 500, "warmup": 400}
_CATEGORIES = 4
MODELS = {
    "gaussian": Calibrated(
        "y ~ x + (1 + x | g)",
        "gaussian",
        _COMMON | {"cor": "lkj(2)", "sigma": "half_normal(1)"},
    ),
    "lognormal": Calibrated(
        "y ~ x + (1 | g) + (1 | h)", "lognormal", _COMMON | {"sigma": "half_normal(0.5)"}
    ),
    "binomial": Calibrated("y ~ x + (1 | g)", "binomial", _COMMON, _CHAINS, {"weights": "trials"}),
    "poisson": Calibrated("y ~ x + (1 | g)", "poisson", _COMMON, _CHAINS),
    "ordinal": Calibrated(
        "y ~ x + (1 | g)",
        "cumulative",
        {"b": "normal(0, 0.5)", "sd": "half_normal(0.7)"}
        | {f"{k}|{k + 1}": "normal(0, 1.5)" for k in range(1, _CATEGORIES)},
        _CHAINS,
        suits=lambda y: len(np.unique(y)) == _CATEGORIES,
    ),
}


def frame() -> Any:
    """The design of all models: 12 levels of g, 8 of h, 96 rows; x is centred."""
    import pandas as pd

    g, h = np.repeat(np.arange(12), 8), np.tile(np.arange(8), 12)
    x = np.random.default_rng(1).normal(size=96)
    y = np.resize(np.arange(1, _CATEGORIES + 1), 96)
    return pd.DataFrame(
        {"y": y, "x": x - x.mean(), "g": g.astype(str), "h": h.astype(str), "trials": np.full(96, 5)}
    )


def ranks_of(truth: dict[str, float], draws: dict[str, Any]) -> dict[str, int]:
    """How many of `KEPT` evenly spaced draws of each parameter lie below its true value."""
    out = {}
    for name, value in truth.items():
        own = np.asarray(draws[name]).ravel()
        places = ((np.arange(KEPT) + 0.5) * len(own) / KEPT).astype(int)
        out[name] = int((own[places] < value).sum())
    return out


def replicate(name: str, number: int) -> dict[str, Any]:
    """One draw from the priors, its posterior, and the ranks."""
    from lmmformula import fit, prior_predictive

    model, data = MODELS[name], frame()
    seeds = np.random.SeedSequence([zlib.crc32(name.encode()), number]).generate_state(_MOST_DRAWN + 1)
    if name == "binomial":
        data["y"] = data["y"] / data["trials"]
    begun = time.process_time()
    for seed in map(int, seeds[1:]):
        drawn = prior_predictive(
            model.formula, data, model.priors, draws=1, seed=seed, family=model.family, **model.more
        )
        if model.suits(drawn.y[0]):
            break
    else:
        raise ValueError(f"{name}: none of {_MOST_DRAWN} responses drawn from the priors can be analysed")
    if left := [row for row in drawn.priors.table() if row[2] != "user"]:
        raise ValueError(f"{name}: priors that depend on the response: {left}")
    truth = dict(zip(drawn.names, drawn.variances[0], strict=True))
    truth |= dict(zip(drawn.beta_names, drawn.beta[0], strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        m: Any = fit(
            model.formula,
            data.assign(y=drawn.y[0].astype(data["y"].dtype) if name == "ordinal" else drawn.y[0]),
            family=model.family,
            method="hmc",
            priors=model.priors,
            seed=int(seeds[0]),
            **model.more,
            **model.options,
        )
    return {
        "model": name,
        "number": number,
        "ranks": ranks_of(truth, {one: m.posterior[one] for one in truth}),
        "by": m.posterior.sampler,
        "converged": bool(m.converged),
        "cpu": time.process_time() - begun,
    }


def run(names: Sequence[str], replicates: int, record: Path) -> None:
    """Add replicates up to a number to the file `record`, all models by turns."""
    kept = read_record(record).get("replicates", [])
    done = {(one["model"], one["number"]) for one in kept}
    for number in range(replicates):
        for name in names:
            if (name, number) in done:
                continue
            kept.append(replicate(name, number))
            print(kept[-1], flush=True)
        if number % 5 == 4 or number == replicates - 1:
            write_record(record, {"machine": machine(), "replicates": kept})


def band(n: int, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the empirical distribution of n uniform ranks at 1/points, .., 1, held all along with probability `_LEVEL`.

    The pointwise level is the quantile of the smallest two-sided p-value along simulated curves.
    """
    from scipy.stats import binom

    p = np.arange(1, points + 1) / points
    ranks = np.random.default_rng(0).integers(0, points, (_SIMULATED, n))
    counts = np.stack([np.bincount(own, minlength=points).cumsum() for own in ranks])
    tail = 2.0 * np.minimum(binom.cdf(counts, n, p), binom.sf(counts - 1, n, p))
    level = np.quantile(tail[:, :-1].min(axis=1), 1.0 - _LEVEL)
    return binom.ppf(level / 2.0, n, p) / n, binom.isf(level / 2.0, n, p) / n


def _by_model(results: Path) -> dict[str, dict[str, np.ndarray]]:
    """Ranks by model and parameter."""
    rows = read_record(results / _RECORD).get("replicates", [])
    out = {}
    for name in MODELS:
        own = [row["ranks"] for row in rows if row["model"] == name]
        if own:
            out[name] = {key: np.array([one[key] for one in own]) for key in own[0]}
    return out


def _excess(ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The empirical distribution less the uniform one, and its band, at 1 / (KEPT + 1), .., 1."""
    points = KEPT + 1
    low, high = band(len(ranks), points)
    at = np.arange(1, points + 1) / points
    return np.bincount(ranks, minlength=points).cumsum() / len(ranks) - at, low - at, high - at


def tables(results: Path) -> dict[str, str]:
    """The table of the page."""
    from scipy.stats import chisquare

    rows = read_record(results / _RECORD)["replicates"]
    head = ["model", "formula", "replicates", "by", "converged", "parameters", "outside of the band"]
    head += ["smallest p of chi-square", "expected", "CPU seconds, median"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, ranks in _by_model(results).items():
        own = [row for row in rows if row["model"] == name]
        outside, p = [], []
        for key, values in ranks.items():
            curve, low, high = _excess(values)
            if ((curve < low - 1e-12) | (curve > high + 1e-12)).any():
                outside.append(key.replace("|", "\\|"))
            p.append(float(chisquare(np.bincount(values * 10 // (KEPT + 1), minlength=10)).pvalue))
        by = "/".join(dict.fromkeys("NUTS" if row["by"] == "nuts" else str(row["by"]) for row in own))
        cells = [
            name,
            f"`{MODELS[name].formula}`".replace("|", "\\|"),
            str(len(own)),
            by,
            str(sum(row["converged"] for row in own)),
            str(len(ranks)),
            ", ".join(outside) or "none",
            f"{min(p):.3f}",
            f"{1.0 - 0.5 ** (1.0 / len(p)):.3f}",
            f"{np.median([row['cpu'] for row in own]):.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return {"sbc": "\n".join(lines)}


def draw(results: Path, folder: Path) -> list[Path]:
    """The figure of the page: a panel for each model, a curve for each parameter."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    from benchmarks.pql_figures import STYLE

    found = _by_model(results)
    if not found:
        return []
    mpl.use("Agg")
    path = folder / "bayes_sbc.svg"
    at = np.arange(1, KEPT + 2) / (KEPT + 1)
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(
            1, len(found), figsize=(2.4 * len(found), 2.9), sharey=True, squeeze=False
        )
        for ax, (name, ranks) in zip(axes[0], found.items(), strict=True):
            low, high, values = np.zeros(KEPT + 1), np.zeros(KEPT + 1), np.zeros(0)
            for key, values in ranks.items():
                curve, low, high = _excess(values)
                ax.plot(at, curve, lw=1.0, label=key)
            ax.fill_between(at, low, high, color="#8a8a8a", alpha=0.25, lw=0)
            ax.set(title=f"{name}, {len(values)}", xlabel="rank of the truth")
            ax.legend(fontsize=5, loc="lower center", ncols=2)
        axes[0, 0].set_ylabel("distribution less uniform")
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    return [path]


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, or write figure and table into the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    own = commands.add_parser("run", help="add replicates up to a number to the record")
    own.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    own.add_argument("--replicates", type=int, default=200)
    own.set_defaults(run=lambda o: run(o.models, o.replicates, o.results / _RECORD))
    add_common(commands, _PAGE, lambda o: redraw(o, draw, tables))
    options = parser.parse_args(arguments)
    options.run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
