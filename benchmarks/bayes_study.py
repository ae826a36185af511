"""How much posterior a second buys, by what is integrated out: ``python -m benchmarks.bayes_study --help``.

The comparison has the form of figure 4 of Lai, Domke & Sheldon (2024, arXiv 2410.24079).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bayes_data import MODELS
from benchmarks.bayes_runs import WAYS, BayesStudy, FirstStudy
from benchmarks.pages import add_common, redraw

__all__ = ["main"]

_PAGE = Path(__file__).resolve().parent.parent / "docs" / "bayes_measured.md"


def main(arguments: Sequence[str] | None = None) -> int:
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    options = _parser().parse_args(arguments)
    options.run(options)
    return 0


def _ess(options: argparse.Namespace) -> None:
    study = BayesStudy(
        options.models,
        options.ways,
        options.chains,
        options.draws,
        options.warmup,
        options.timeout,
        options.seed,
        options.bambi,
    )
    study.run(options.results / "bayes_ess.json")


def _first(options: argparse.Namespace) -> None:
    study = FirstStudy(options.models, repeats=options.repeats, timeout=options.timeout)
    study.run(options.results / "bayes_first.json")


def _figures(options: argparse.Namespace) -> None:
    from benchmarks.bayes_figures import draw, tables

    redraw(options, draw, tables)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bayes_study", description=__doc__)
    commands = parser.add_subparsers(required=True)
    ess = commands.add_parser("ess", help="smallest effective sample size per second, by model and way")
    ess.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    ess.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS[:-1]))
    ess.add_argument("--chains", type=int, default=1)
    ess.add_argument("--draws", type=int, default=1_000, help="of each chain")
    ess.add_argument("--warmup", type=int, default=500, help="where random effects are sampled")
    ess.add_argument("--seed", type=int, default=1)
    ess.add_argument("--bambi", default=sys.executable, help="a Python that has bambi and nutpie")
    ess.set_defaults(run=_ess)
    first = commands.add_parser("first", help="seconds from the start of a process to a posterior")
    first.add_argument("--models", nargs="+", choices=MODELS, default=["pupil", "english", "electric"])
    first.add_argument("--repeats", type=int, default=3)
    first.set_defaults(run=_first)
    for command in (ess, first):
        command.add_argument("--timeout", type=float, default=300.0, help="seconds that a process may take")
    add_common(commands, _PAGE, _figures)
    return parser


if __name__ == "__main__":
    sys.exit(main())
