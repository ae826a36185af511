"""Posteriors whose densities are dear, interpolated between few places: ``python -m benchmarks.posterior_dear --help``.

Each model is fitted a few times with further seeds in one process. Seconds are of the processor, the first fit apart.
`check` compares a fit, and one with ``correct=True``, with ``marginalize="none"`` by NUTS: differences of means over their
Monte Carlo errors, and ratios of standard deviations.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.pages import add_common, redraw
from benchmarks.pql_records import machine, read_record, write_record

__all__ = ["main", "run", "tables"]

_PAGE = Path(__file__).resolve().parent.parent / "docs" / "bayes_measured.md"
_RECORD = "posterior_dear.json"


@dataclass(frozen=True, slots=True)
class DearModel:
    """A model with its data, draws of each of four samples, and further arguments of ``fit``."""

    formula: str
    data: Callable[[], pd.DataFrame]
    draws: int = 1_000
    more: dict[str, Any] = field(default_factory=dict)


def _shipped(name: str) -> Callable[[], pd.DataFrame]:
    def load() -> pd.DataFrame:
        from lmmformula import load_dataset

        return load_dataset(name)

    return load


def _counts() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"g": rng.integers(0, 1_000, 10_000), "x": rng.standard_normal(10_000)})
    effects = 0.5 * rng.standard_normal(1_000)
    return table.assign(y=rng.poisson(np.exp(0.5 + 0.3 * table["x"] + effects[table["g"]])))


def _crossed() -> pd.DataFrame:
    rng, n = np.random.default_rng(1), 100_000
    codes = {"g": rng.integers(0, 1_000, n), "h": rng.integers(0, 1_000, n)}
    table = pd.DataFrame({**codes, "x": rng.standard_normal(n)})
    b, c = 0.7 * rng.standard_normal(1_000), 0.5 * rng.standard_normal(1_000)
    eta = -0.5 + 0.4 * table["x"] + b[table["g"]] + c[table["h"]]
    return table.assign(y=(rng.uniform(size=n) < 1.0 / (1.0 + np.exp(-eta))).astype(int))


_LAPLACE = {"marginalize": "laplace"}
MODELS = {
    "cbpp": DearModel(
        "incidence / size ~ period + (1 | herd)",
        _shipped("cbpp"),
        more={"family": "binomial", "weights": "size"} | _LAPLACE,
    ),
    "VerbAgg": DearModel(
        "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)",
        _shipped("VerbAgg"),
        more={"family": "binomial"} | _LAPLACE,
    ),
    "counts": DearModel("y ~ x + (1 | g)", _counts, more={"family": "poisson"} | _LAPLACE),
    "InstEval": DearModel("y ~ service + (1 | s) + (1 | d)", _shipped("InstEval"), draws=250),
    "crossed": DearModel("y ~ x + (1 | g) + (1 | h)", _crossed, more={"family": "binomial"} | _LAPLACE),
}


def _fitted(model: DearModel, data: pd.DataFrame, seed: int, draws: int, more: dict[str, Any]) -> Any:
    from lmmformula import fit

    return fit(model.formula, data, method="hmc", seed=seed, draws=draws, **{**model.more, **more})


def run(names: Sequence[str], seeds: int, record: Path) -> None:
    """Fit each model under each seed and replace its row in the file `record`."""
    for name in names:
        model, fits = MODELS[name], []
        data = model.data()
        for seed in range(1, seeds + 1):
            begun, wall = time.process_time(), time.monotonic()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                m = _fitted(model, data, seed, model.draws, {})
            spent = {"cpu": time.process_time() - begun, "wall": time.monotonic() - wall}
            own, told = m.posterior, m.posterior.diagnostics
            fits.append(
                {
                    "seed": seed,
                    "by": own.sampler,
                    "d": own.x.shape[-1],
                    "k": own.pareto_k,
                    "error": own.interpolation_error,
                }
                | {
                    "rhat": float(np.nanmax(told.rhat)),
                    "ess": float(min(np.nanmin(told.ess_bulk), np.nanmin(told.ess_tail))),
                }
                | spent
            )
            fits[-1] = {
                k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in fits[-1].items()
            }
            print(name, json.dumps(fits[-1]), flush=True)
        size = {"rows": len(data), "draws": 4 * model.draws}
        _replace(record, {"model": name, **size, "fits": fits})


def check(names: Sequence[str], record: Path) -> None:
    """Hold each model, plain and corrected, against chains over all effects, and add what came out to its row."""
    for name in names:
        model = MODELS[name]
        data = model.data()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            chains = _fitted(model, data, 1, 2_000, {"marginalize": "none"})
            plain, corrected = (_fitted(model, data, 1, 2_000, {"correct": own}) for own in (False, True))
        rows = [r for r in read_record(record)["rows"] if r["model"] == name]
        known = {"check": _beside(plain, chains), "corrected": _beside(corrected, chains)}
        known["corrected"]["k"] = corrected.posterior.correction_k
        print(name, json.dumps(known), flush=True)
        _replace(record, rows[0] | known)


def _beside(one: Any, other: Any) -> dict[str, Any]:
    """Differences of means of parameters over their errors and over sds, ratios of sds; of random effects the extremes."""
    a, b = (np.concatenate([m.posterior.beta, m.posterior.variances], axis=-1) for m in (one, other))
    flat = [v.reshape(-1, v.shape[-1]) for v in (a, b)]
    ess = [m.posterior.diagnostics.ess_bulk for m in (one, other)]
    error = np.sqrt(sum(v.var(axis=0) / e for v, e in zip(flat, ess, strict=True)))
    gap = flat[0].mean(axis=0) - flat[1].mean(axis=0)
    ratio = flat[0].std(axis=0) / flat[1].std(axis=0)
    means, sds = (
        [np.concatenate([v.ravel() for v in getattr(m.posterior, of)]) for m in (one, other)]
        for of in ("effect_means", "effect_sds")
    )
    return {
        "z": (gap / error).tolist(),
        "shift": (gap / flat[1].std(axis=0)).tolist(),
        "ratio": ratio.tolist(),
        "effects": [float(np.abs((means[0] - means[1]) / sds[1]).max()), *_range(sds[0] / sds[1])],
    }


def _range(values: np.ndarray) -> list[float]:
    return [float(values.min()), float(values.max())]


def _replace(record: Path, row: dict[str, Any]) -> None:
    rows = {r["model"]: r for r in read_record(record).get("rows", [])}
    rows[row["model"]] = rows.get(row["model"], {}) | row
    write_record(record, {"machine": machine(), "rows": [rows[m] for m in MODELS if m in rows]})


def tables(results: Path) -> dict[str, str]:
    """The table of the page."""
    head = [
        "model",
        "rows",
        "coordinates",
        "draws",
        "smallest ESS",
        "largest R-hat",
        "largest k",
        "error of log densities",
    ]
    head += ["CPU seconds, later fits", "first", "beside chains", "corrected, beside chains"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in read_record(results / _RECORD)["rows"]:
        fits = row["fits"]
        errors = [f["error"] for f in fits if f["error"] is not None]
        cells = [row["model"], f"{row['rows']:,}", str(fits[0]["d"]), f"{row['draws']:,}"]
        cells += [f"{min(f['ess'] for f in fits):,.0f}", f"{max(f['rhat'] for f in fits):.4f}"]
        cells += [f"{max(f['k'] for f in fits):.2f}", f"{max(errors):.3f}" if errors else "computed"]
        cells += [f"{np.median([f['cpu'] for f in fits[1:] or fits]):.2f}", f"{fits[0]['cpu']:.1f}"]
        cells += [_words(row.get(own)) for own in ("check", "corrected")]
        lines.append("| " + " | ".join(cells) + " |")
    return {"posterior_dear": "\n".join(lines)}


def _words(known: dict[str, Any] | None) -> str:
    """What a comparison with chains came to."""
    if not known:
        return ""
    z, shift = (max(map(abs, known[of])) for of in ("z", "shift"))
    return f"{shift:.3f} sd (z {z:.1f}), sds {min(known['ratio']):.2f} to {max(known['ratio']):.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, compare, or write the table into the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    own = commands.add_parser("run", help="fit and record")
    own.add_argument("--seeds", type=int, default=3)
    own.set_defaults(run=lambda o: run(o.models, o.seeds, o.results / _RECORD))
    beside = commands.add_parser("check", help="compare with chains over all effects")
    beside.set_defaults(run=lambda o: check(o.models, o.results / _RECORD))
    for command in (own, beside):
        command.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    add_common(commands, _PAGE, lambda options: redraw(options, lambda *_: (), tables))
    options = parser.parse_args(arguments)
    options.run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
