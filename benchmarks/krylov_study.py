"""How fast, how noisy and how accurate ``method="krylov"`` is: ``python -m benchmarks.krylov_study --help``.

The designs are of the kind of Kuendig & Sigrist (2025), Scalable Krylov subspace methods for generalized mixed-effects models
with crossed random effects: two crossed factors of equal size, five predictors.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.pages import add_common, redraw

if TYPE_CHECKING:
    from benchmarks.krylov_data import Setting

__all__ = ["main"]

_PAGE = Path(__file__).resolve().parent.parent / "docs" / "krylov.md"
_SECONDS = {"lmmformula": (2e-6, 8e-6), "lmmformula, problem": (2e-6, 8e-6), "gpboost": (2e-5, 8e-5)}
"""Rough seconds a row of one fit, Gaussian and binary, on two cores; peers that factorise run into the timeout."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    options.run(options)
    return 0


# -- commands ------------------------------------------------------------------------------------------------------------


def _fits(options: argparse.Namespace) -> None:
    from benchmarks.krylov_runs import FitStudy

    settings = list(_settings(options, options.sizes))
    _estimate(options, settings)
    if not options.estimate:
        study = FitStudy(settings, options.programs, _processes(options), options.repeats, options.budget)
        study.run(options.results / "krylov_fits.json")


def _scaling(options: argparse.Namespace) -> None:
    from benchmarks.krylov_runs import FitStudy

    settings = list(_settings(options, [f"{int(n)}:{int(n) // 20}" for n in options.rows]))
    _estimate(options, settings)
    if not options.estimate:
        study = FitStudy(
            settings, options.programs, _processes(options), options.repeats, options.budget, evaluate=False
        )
        study.run(options.results / "krylov_scaling.json")


def _noise(options: argparse.Namespace) -> None:
    from benchmarks.krylov_runs import NoiseStudy

    settings = list(_settings(options, options.sizes))
    study = NoiseStudy(settings, options.programs, _processes(options), options.seeds)
    study.run(options.results / "krylov_noise.json")


def _spectra(options: argparse.Namespace) -> None:
    from benchmarks.krylov_spectra import SpectraStudy

    study = SpectraStudy(options.rows, (options.levels, options.levels), options.designs, most=options.most)
    study.run(options.results / "krylov_spectra.json")


def _accuracy(options: argparse.Namespace) -> None:
    from benchmarks.krylov_accuracy import AccuracyStudy

    for probes in options.probes:
        AccuracyStudy(options.models, options.seeds, probes).run(options.results / "krylov_accuracy.json")


def _devices(options: argparse.Namespace) -> None:
    from benchmarks.krylov_device import DeviceStudy

    settings = list(_settings(options, options.sizes))
    DeviceStudy(settings, options.device, options.repeats).run(options.results / "krylov_devices.json")


def _figures(options: argparse.Namespace) -> None:
    from benchmarks.krylov_figures import draw, tables

    redraw(options, draw, tables)


# -- what they share -----------------------------------------------------------------------------------------------------


def _settings(options: argparse.Namespace, sizes: Iterable[str]) -> Iterable[Setting]:
    """A setting for each ROWS:LEVELS and family."""
    from benchmarks.krylov_data import Setting

    for size in sizes:
        rows, levels = (int(float(v)) for v in size.split(":"))
        for family in options.families:
            yield Setting(family, rows, (levels, levels), seed=options.seed)


def _processes(options: argparse.Namespace):
    from benchmarks.krylov_runs import Processes

    return Processes(options.peers, options.timeout, options.threads)


def _estimate(options: argparse.Namespace, settings: Sequence[Setting]) -> None:
    """Print about how long the study takes at most."""
    total = 0.0
    for s in settings:
        for program in options.programs:
            rate = _SECONDS.get(program)
            one = options.timeout if rate is None else 3.0 + s.rows * rate[s.family == "binomial"]
            total += (
                options.timeout if rate is None else min(one * (2 + options.repeats), one + options.budget)
            )
    print(f"about {total / 60:.0f} minutes at most, besides making the data", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.krylov_study", description=__doc__)
    commands = parser.add_subparsers(required=True)
    fits = commands.add_parser("fits", help="whole fits of several programs")
    _sizes_option(fits)
    _run_options(fits, ("lmmformula", "lmmformula, problem", "gpboost"))
    fits.set_defaults(run=_fits)
    noise = commands.add_parser("noise", help="spread of the log-likelihood over seeds")
    _sizes_option(noise)
    _run_options(noise, ("lmmformula", "gpboost"))
    noise.add_argument("--seeds", type=int, default=10)
    noise.set_defaults(run=_noise)
    scaling = commands.add_parser("scaling", help="seconds against the number of rows, levels rows / 20 each")
    scaling.add_argument("--rows", type=float, nargs="+", default=[1e5, 2e5, 5e5, 1e6, 2e6, 5e6])
    _run_options(scaling, ("lmmformula",))
    scaling.set_defaults(run=_scaling)
    _looking_options(
        commands.add_parser("spectra", help="spectra, steps and errors over the outer steps of a fit")
    )
    _accuracy_options(
        commands.add_parser("accuracy", help="estimates of shipped data against the exact engine")
    )
    _devices_options(commands.add_parser("devices", help="a GPU against the processor, kernels and fits"))
    add_common(commands, _PAGE, _figures)
    return parser


def _sizes_option(parser: argparse.ArgumentParser) -> None:
    sizes = ["1e5:5000", "1e5:10000", "1e6:50000", "1e6:100000"]
    parser.add_argument(
        "--sizes", nargs="+", default=sizes, metavar="ROWS:LEVELS", help="levels of each factor"
    )


def _run_options(parser: argparse.ArgumentParser, programs: Sequence[str]) -> None:
    parser.add_argument("--programs", nargs="+", default=list(programs))
    parser.add_argument(
        "--families", nargs="+", default=["gaussian", "binomial"], choices=["gaussian", "binomial"]
    )
    parser.add_argument("--peers", default=sys.executable, help="interpreter that has the Python peers")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds that a process may take")
    parser.add_argument("--threads", type=int, help="threads of all numerical libraries")
    parser.add_argument("--repeats", type=int, default=3, help="timed fits, after one that warms up")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds after which no fit starts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--estimate", action="store_true", help="print how long it would take, and stop")


def _looking_options(parser: argparse.ArgumentParser) -> None:
    designs = (
        "balanced",
        "rare events",
        "heavy tails",
        "rare events, heavy tails",
        "large variances",
        "slopes",
    )
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--levels", type=int, default=2_500)
    parser.add_argument("--designs", nargs="+", default=list(designs), choices=designs)
    parser.add_argument("--most", type=int, default=12, help="systems of a fit that are looked at")
    parser.set_defaults(run=_spectra)


def _accuracy_options(parser: argparse.ArgumentParser) -> None:
    models = (
        "insteval",
        "verbagg",
        "cbpp",
        "grouseticks",
        "salamanders",
        "bacteria",
        "epil",
        "penicillin",
        "sleepstudy",
    )
    parser.add_argument("--models", nargs="+", default=list(models))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--probes", type=int, nargs="+", default=[8, 4])
    parser.set_defaults(run=_accuracy)


def _devices_options(parser: argparse.ArgumentParser) -> None:
    _sizes_option(parser)
    parser.add_argument(
        "--families", nargs="+", default=["gaussian", "binomial"], choices=["gaussian", "binomial"]
    )
    parser.add_argument("--device", default="gpu", choices=["gpu", "cpu-jax"])
    parser.add_argument("--repeats", type=int, default=3, help="timed fits on each, after one that compiles")
    parser.add_argument("--seed", type=int, default=1)
    parser.set_defaults(run=_devices)


if __name__ == "__main__":
    sys.exit(main())
