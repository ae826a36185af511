"""Whether posteriors come out right whatever the seed: ``python -m benchmarks.posterior_seeds --help``.

Each model is fitted with default settings (four chains or samples of 1,000 draws) under many seeds, one after another in one
process. Counted are divergences, the largest R-hat, and the smallest bulk and tail effective sample sizes over coefficients
and variances; a fit stands if it has no divergence, R-hat below 1.01 and more than 400 effective draws everywhere. Seconds are
of the processor, the first fit of a model apart: it compiles, the others should not.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bayes_data import DISTRIBUTIONAL, MODELS
from benchmarks.pages import add_common, redraw
from benchmarks.pql_records import machine, read_record, write_record

__all__ = ["main", "run", "tables"]

_PAGE = Path(__file__).resolve().parent.parent / "docs" / "bayes_measured.md"
_RECORD = "posterior_seeds.json"
_RHAT, _ESS = 1.01, 400.0


@dataclass(frozen=True, slots=True)
class SeedModel:
    """A model with its data and family.

    Attributes
    ----------
    formula : str
    data : callable
        The frame.
    more : dict
        Further arguments of ``fit``.
    """

    formula: str
    data: Any
    more: dict[str, Any] = field(default_factory=dict)


def _shipped(name: str) -> Any:
    from lmmformula import load_dataset

    return load_dataset(name)


def _models() -> dict[str, SeedModel]:
    gaussian = {n: SeedModel(m.formula, m.make) for n, m in MODELS.items()}
    further = {
        "stroop": SeedModel(DISTRIBUTIONAL["stroop"].formula, DISTRIBUTIONAL["stroop"].make),
        "cbpp": SeedModel(
            "incidence / size ~ period + (1 | herd)",
            lambda: _shipped("cbpp"),
            {"family": "binomial", "weights": "size"},
        ),
        "epil": SeedModel(
            "y ~ trt + lbase + (1 | subject)",
            lambda: (frame := _shipped("epil")).assign(lbase=np.log(frame["base"] / 4.0)),
            {"family": "poisson"},
        ),
        "ticks": SeedModel(
            "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)",
            lambda: _shipped("grouseticks"),
            {"family": "nbinom2"},
        ),
    }
    return gaussian | further


SMALL = tuple(n for n in _models() if n not in ("eeg", "insteval"))


def run(names: Sequence[str], seeds: int, first: int, record: Path, more: dict[str, Any]) -> None:
    """Fit each model under each seed and replace its rows in the file `record`."""
    from lmmformula import fit

    for name in names:
        model, fits = _models()[name], []
        data = model.data()
        for seed in range(first, first + seeds):
            begun = time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                m = fit(model.formula, data, method="hmc", seed=seed, **(model.more | more))
            fits.append({"seed": seed, "cpu": time.process_time() - begun} | _quality(m.posterior))
            print(name, json.dumps(fits[-1]), flush=True)
        rows = read_record(record).get("rows", [])
        sampler = more.get("sampler", "auto")
        kept = [r for r in rows if (r["model"], r["sampler"]) != (name, sampler)]
        write_record(
            record, {"machine": machine(), "rows": [*kept, {"model": name, "sampler": sampler, "fits": fits}]}
        )


def _quality(posterior: Any) -> dict[str, Any]:
    own = posterior.diagnostics
    return {
        "by": posterior.sampler,
        "d": posterior.x.shape[-1],
        "divergences": own.divergences,
        "rhat": float(np.nanmax(own.rhat)),
        "ess": float(min(np.nanmin(own.ess_bulk), np.nanmin(own.ess_tail))),
        "k": _finite(posterior.pareto_k),
        "efficiency": _finite(posterior.efficiency),
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _stands(one: dict[str, Any]) -> bool:
    return one["divergences"] == 0 and one["rhat"] < _RHAT and one["ess"] > _ESS


def tables(results: Path) -> dict[str, str]:
    """The table of the page."""
    head = [
        "model",
        "sampler",
        "coordinates",
        "seeds",
        "stand",
        "divergences",
        "largest R-hat",
        "smallest ESS",
    ]
    head += ["largest k", "CPU seconds, median", "first"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in read_record(results / _RECORD)["rows"]:
        fits = row["fits"]
        by = "/".join(dict.fromkeys("NUTS" if f["by"] == "nuts" else str(f["by"]) for f in fits))
        k = [f["k"] for f in fits if f["k"] is not None]
        cells = [
            row["model"],
            by if row["sampler"] == "auto" else f"{by}, as asked",
            f"{fits[0]['d']:,}",
            str(len(fits)),
            str(sum(map(_stands, fits))),
            str(sum(f["divergences"] for f in fits)),
            f"{max(f['rhat'] for f in fits):.4f}",
            f"{min(f['ess'] for f in fits):,.0f}",
            f"{max(k):.2f}" if k else "",
            f"{np.median([f['cpu'] for f in fits[1:] or fits]):.2f}",
            f"{fits[0]['cpu']:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return {"posterior_seeds": "\n".join(lines)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, or write the table into the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    own = commands.add_parser("run", help="fit and record")
    own.add_argument("--models", nargs="+", default=list(SMALL), choices=list(_models()))
    own.add_argument("--seeds", type=int, default=20)
    own.add_argument("--first", type=int, default=1)
    own.add_argument("--sampler", default=None, choices=("auto", "nuts", "importance"))
    own.set_defaults(run=_run)
    add_common(commands, _PAGE, _tables)
    options = parser.parse_args(arguments)
    options.run(options)
    return 0


def _run(options: argparse.Namespace) -> None:
    more = {} if options.sampler is None else {"sampler": options.sampler}
    run(options.models, options.seeds, options.first, options.results / _RECORD, more)


def _tables(options: argparse.Namespace) -> None:
    redraw(options, lambda *_: (), tables)


if __name__ == "__main__":
    sys.exit(main())
