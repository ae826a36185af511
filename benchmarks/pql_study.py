"""How ``method="pql"`` scales, and how accurate it is: ``python -m benchmarks.pql_study --help``.

The designs are those of Ghosh, Hastie & Owen (2022), Scalable logistic regression with crossed random effects.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.pages import add_common, redraw

__all__ = ["main"]

_PAGE = Path(__file__).resolve().parent.parent / "docs" / "pql.md"


def main(arguments: Sequence[str] | None = None) -> int:
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    options = _parser().parse_args(arguments)
    options.run(options)
    return 0


def _time(options: argparse.Namespace) -> None:
    from benchmarks.pql_timing import TimeStudy

    study = TimeStudy(
        _grid(options),
        options.programs,
        options.design,
        options.timeout,
        options.repeats,
        options.budget,
        options.paper_code,
        options.seed,
    )
    study.run(options.results / "pql_time.json")


def _mse(options: argparse.Namespace) -> None:
    from benchmarks.pql_accuracy import ErrorStudy

    study = ErrorStudy(_grid(options), options.settings, options.replicates, options.seed, options.jobs)
    study.run(options.results / "pql_mse.json")


def _coverage(options: argparse.Namespace) -> None:
    from benchmarks.pql_accuracy import CoverageStudy

    study = CoverageStudy(options.rows, options.replicates, options.method, options.seed, options.jobs)
    study.run(options.results / "pql_coverage.json")


def _figures(options: argparse.Namespace) -> None:
    from benchmarks.pql_figures import draw, tables

    redraw(options, draw, tables)


def _grid(options: argparse.Namespace) -> list[int]:
    """Sizes from the smallest to the largest, equally spaced in their logarithms."""
    import numpy as np

    low, high = np.log10(options.smallest), np.log10(options.largest)
    count = max(round((high - low) * options.per_decade), 1) + 1
    return [int(s) for s in np.floor(np.logspace(low, high, count) + 1e-6)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pql_study", description=__doc__)
    commands = parser.add_subparsers(required=True)
    _time_options(commands.add_parser("time", help="seconds and memory against the number of rows"))
    _mse_options(commands.add_parser("mse", help="mean squared errors against the number of rows"))
    _coverage_options(commands.add_parser("coverage", help="coverage of 95%% Wald intervals"))
    add_common(commands, _PAGE, _figures)
    return parser


def _time_options(parser: argparse.ArgumentParser) -> None:
    programs = ("lmmformula", "glmer0", "glmer1", "paper")
    _grid_options(parser)
    parser.add_argument("--design", choices=("sparse", "retail"), default="sparse")
    parser.add_argument("--programs", nargs="+", choices=programs, default=list(programs[:3]))
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds that a process may take")
    parser.add_argument("--repeats", type=int, default=3, help="timed fits, after one that warms up")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds after which no fit starts")
    parser.add_argument("--paper-code", default="", help="the file of functions published with the paper")
    parser.set_defaults(run=_time)


def _mse_options(parser: argparse.ArgumentParser) -> None:
    _grid_options(parser)
    parser.add_argument(
        "--settings", nargs="+", choices=("flat", "sloped"), default=["flat", "sloped"], help="coefficients"
    )
    _replicate_options(parser)
    parser.set_defaults(run=_mse)


def _coverage_options(parser: argparse.ArgumentParser) -> None:
    methods = ("pql", "pql-fixed", "pql-exact", "pql-corrected", "laplace")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--method", choices=methods, default="pql")
    parser.add_argument("--seed", type=int, default=1)
    _replicate_options(parser)
    parser.set_defaults(run=_coverage)


def _grid_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--smallest", type=float, default=1e3, help="S, about rows / 1.136")
    parser.add_argument("--largest", type=float, default=1e5)
    parser.add_argument("--per-decade", type=float, default=4.0, help="sizes in a factor of ten")
    parser.add_argument("--seed", type=int, default=1)


def _replicate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--replicates", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the replicates")


if __name__ == "__main__":
    sys.exit(main())
