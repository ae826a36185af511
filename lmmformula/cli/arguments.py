"""What the command line understands."""

from __future__ import annotations

import argparse
import json
from functools import partial
from typing import TYPE_CHECKING

from lmmformula.arguments.kinds import Kind, UnsuitedError
from lmmformula.cli import commands
from lmmformula.cli.commands import PROGRAM
from lmmformula.cli.replicating import add_bootstrap, add_many_options, add_permute, add_power
from lmmformula.cli.selecting import add_select_options
from lmmformula.methods import METHODS, OPTIONS

if TYPE_CHECKING:
    from lmmformula.typing import Argument, Json


__all__ = ["PROGRAM", "parser"]

_EPILOG = """\
exit codes: 0 done; 1 the model or the data cannot serve, the reason is on standard error; 2 wrong usage;
3 done, but a fit has not converged; 130 interrupted.

examples:
  lmmformula fit "Reaction ~ Days + (Days | Subject)" --data sleepstudy
  lmmformula fit "y ~ x + (1 | g)" --data rows.parquet --family poisson --save y.lmm --report y.html
  lmmformula compare "r2 ~ Anger + (1 | id) + (1 | item)" --data VerbAgg --family binomial --methods laplace,pql
  lmmformula select ranova "Reaction ~ Days + (Days | Subject)" --data sleepstudy
  lmmformula check "Reaction ~ Days + (Days | Subject)" --data sleepstudy --time Days
  lmmformula predict y.lmm --data new.csv --new-levels population --out predicted.csv
  lmmformula influence y.lmm --group subject
  lmmformula means y.lmm "pairwise ~ a | b" --data rows.parquet --kind response
  lmmformula power y.lmm --effect x=0.5 --vary g=10,20,40
  lmmformula many "~ dose + (1 | donor)" --data genes.parquet --responses "gene*" --out effects.parquet
  lmmformula hypothesis y.lmm "x > 0" "exp(x) = 2" --vcov CR2
"""
_FLAGGED = (
    "family",
    "method",
    "weights",
    "offset",
    "missing",
    "ziformula",
    "dispformula",
    "nagq",
    "seed",
    "priors",
    "sample",
)
_OF_THE_CALL = {
    "formula": "the formula is the command's first argument",
    "data": "it has a flag of its own, --data",
    "progress": "a terminal shows it; --quiet shows none",
    "context": "functions of your own are for fit() in Python",
    "data2": "matrices of levels are for fit() in Python",
    "path": "files are named by --save and --report",
    "checkpoint": "it is a flag of `fit`, --checkpoint",
    "methods": "it is a flag of `compare`, --methods",
    "level": "it is a flag of `compare`, --level",
}
"""Arguments of the calls that are no options of a method, and where they are given instead."""


def parser() -> argparse.ArgumentParser:
    """The whole parser; each command's namespace has ``run``, a function of it."""
    out = argparse.ArgumentParser(
        PROGRAM,
        description="Mixed models from one formula, with lme4's digits.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    out.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    subparsers = out.add_subparsers(title="commands", required=True, metavar="COMMAND")

    fit = subparsers.add_parser("fit", help="fit a model and print its summary")
    _add_model(fit)
    fit.add_argument("--save", metavar="FIT.lmm", help="write the fit for `predict`")
    fit.add_argument("--report", metavar="OUT.html", help="write a report, one file that needs no network")
    fit.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="keep where a long search stands; the same command goes on from there",
    )
    fit.set_defaults(run=commands.fit)

    check = subparsers.add_parser("check", help="fit a model and say whether it is right")
    _add_model(check, needs_data=False)
    check.add_argument("--time", metavar="COLUMN", help="when rows were observed: residuals in that order")
    check.add_argument("--coords", metavar="X,Y", help="where rows were observed: columns of coordinates")
    check.set_defaults(run=commands.check)

    plan = subparsers.add_parser("plan", help="show sizes, memory and method; fit nothing")
    _add_model(plan)
    plan.set_defaults(run=commands.plan)

    compare = subparsers.add_parser("compare", help="fit a model by several methods, side by side")
    _add_model(compare, one_method=False)
    compare.add_argument(
        "--methods",
        type=_methods,
        default=("laplace", "pql"),
        metavar="A,B,...",
        help=f"methods, separated by commas, of {', '.join(METHODS)} (laplace,pql)",
    )
    compare.add_argument("--level", type=float, default=0.95, help="level of the intervals (0.95)")
    compare.add_argument(
        "--report", metavar="OUT.html", help="write a report, one file that needs no network"
    )
    compare.set_defaults(run=commands.compare)

    select = subparsers.add_parser("select", help="ask which parts of a model are needed")
    add_select_options(select)
    _add_model(select)

    _add_predict(subparsers.add_parser("predict", help="predict from a saved fit"))
    _add_influence(subparsers.add_parser("influence", help="what rows or groups do to a saved fit"))

    _add_means(subparsers.add_parser("means", help="marginal means of a saved fit, and their contrasts"))
    _add_hypothesis(
        subparsers.add_parser("hypothesis", help="test hypotheses about parameters of a saved fit")
    )

    add_bootstrap(boot := subparsers.add_parser("bootstrap", help="how estimates of a saved fit vary"))
    add_power(power := subparsers.add_parser("power", help="how often a test would find an effect"))
    add_permute(permute := subparsers.add_parser("permute", help="permutation test of a term of a saved fit"))
    many = subparsers.add_parser("many", help="fit one formula to many columns")
    _add_model(many)
    add_many_options(many)

    datasets = subparsers.add_parser(
        "datasets", help="list the data sets that come with the package, or describe one"
    )
    datasets.add_argument("name", nargs="?", metavar="NAME")
    datasets.add_argument("--csv", action="store_true", help="print the rows of NAME instead")
    datasets.set_defaults(run=commands.datasets)
    guided = subparsers.add_parser("tour", help="show what the package does by doing it, in half a minute")
    guided.set_defaults(run=commands.tour)
    for command in (fit, check, plan, compare, select, boot, power, permute, many, datasets, guided):
        _add_output(command)
    return out


def _add_output(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print one JSON object, with all digits")
    command.add_argument(
        "-q", "--quiet", action="store_true", help="no warnings and no progress on standard error"
    )


def _add_model(command: argparse.ArgumentParser, *, one_method: bool = True, needs_data: bool = True) -> None:
    saved = "" if needs_data else ", or FIT.lmm, a saved fit"
    command.add_argument("formula", metavar="FORMULA", help=f'for example "y ~ x + (1 + x | subject)"{saved}')
    command.add_argument(
        "--data",
        required=needs_data,
        metavar="FILE|NAME|-",
        help="CSV (also .gz) or Parquet file, a folder or 'glob' of Parquet files, a shipped data set, or - for CSV on "
        "standard input",
    )
    command.add_argument(
        "--family",
        default="gaussian",
        help="distribution of the response, for example binomial or \"gamma(link='inverse')\" (gaussian)",
    )
    if one_method:
        command.add_argument(
            "--method",
            default="auto",
            choices=tuple(METHODS),
            help="by default REML for a Gaussian response, else what the size allows",
        )
    command.add_argument("--weights", metavar="COLUMN", help="prior weights: Var(e) = sigma^2 / weight")
    command.add_argument("--offset", metavar="COLUMN", help="known part of the linear predictor")
    command.add_argument(
        "--missing", default="drop", choices=("drop", "raise"), help="rows with missing values (drop)"
    )
    command.add_argument(
        "--ziformula", metavar="FORMULA", help='zero inflation of a count family, such as "~ x"'
    )
    command.add_argument(
        "--dispformula", metavar="FORMULA", help='predictors of the log dispersion, such as "~ x"'
    )
    command.add_argument("--seed", type=int, metavar="N", help="for methods that draw random numbers")
    if one_method:
        command.add_argument(
            "--sample", type=float, metavar="N", help="rows, or below 1 their share, drawn for a first look"
        )
    _add_options(command)


def _add_options(command: argparse.ArgumentParser) -> None:
    """Arguments that belong to some methods only."""
    command.add_argument(
        "--prior",
        type=_pair,
        action="append",
        default=[],
        metavar="NAME=TEXT",
        help='of hmc, such as "sd:Subject=half_normal(10)"; repeatable',
    )
    command.add_argument(
        "--option",
        type=_option,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other argument of fit(), such as engine=dense; repeatable",
    )
    for name, kind in OPTIONS.items():
        having = ", ".join(method.name for method in METHODS.values() if name in method.options.kinds())
        command.add_argument(
            f"--{name.replace('_', '-')}",
            type=partial(_read, kind),
            metavar="VALUE",
            help=f"{kind.accepted}; of {having}".replace("%", "%%"),
        )


def _add_influence(command: argparse.ArgumentParser) -> None:
    command.add_argument("fit", metavar="FIT.lmm", help="file of `fit --save`")
    command.add_argument(
        "--group",
        metavar="FACTOR",
        help="leave out all rows of each level of this grouping factor of the model (single rows)",
    )
    command.add_argument("--refit", action="store_true", help="estimate the variances again without each")
    command.add_argument("--out", metavar="OUT", help="file to write all of them to, as of `predict`")
    command.set_defaults(run=commands.influence)
    _add_output(command)


def _add_means(command: argparse.ArgumentParser) -> None:
    command.add_argument("fit", metavar="FIT.lmm", help="file of `fit --save`")
    command.add_argument(
        "specs", metavar="MEANS", help='such as "a", "a * b", "a | b" (within each b) or "pairwise ~ a"'
    )
    command.add_argument(
        "--data", required=True, metavar="FILE|NAME|-", help="rows that means and frequencies are taken of"
    )
    command.add_argument(
        "--at",
        type=_held,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="where a variable is held: a value, or a list such as [1,2] (again for others)",
    )
    command.add_argument("--trend", metavar="NAME", help="slopes in this number instead of means")
    command.add_argument("--kind", choices=("link", "response"), help="scale that is shown (link)")
    command.add_argument(
        "--average", default="typical", choices=("typical", "population"), help="integrate random effects out"
    )
    command.add_argument(
        "--weights", default="equal", help="of averages: equal, proportional, cells, ... (equal)"
    )
    command.add_argument("--adjust", help="of contrasts: tukey, holm, dunnett, none, ...")
    command.add_argument("--ddf", default="satterthwaite", help="or kenward-roger, normal (satterthwaite)")
    command.add_argument("--level", type=float, default=0.95, help="level of the intervals (0.95)")
    command.add_argument("--out", metavar="OUT", help="file to write the table to, as of `predict`")
    command.set_defaults(run=commands.means)
    _add_output(command)


def _add_hypothesis(command: argparse.ArgumentParser) -> None:
    command.add_argument("fit", metavar="FIT.lmm", help="file of `fit --save`")
    command.add_argument(
        "hypotheses", metavar="HYPOTHESIS", nargs="+", help="such as 'x > 0' or 'a = b, exp(x) = 2'"
    )
    command.add_argument("--level", type=float, default=0.95, help="of the intervals (.95)")
    command.add_argument("--ddf", default="satterthwaite", help="satterthwaite, kenward-roger or normal")
    command.add_argument(
        "--vcov", metavar="KIND", help="errors by clusters: CR0, CR1, CR1p, CR1S, CR2 or CR3"
    )
    command.add_argument("--cluster", metavar="FACTOR", help="the clusters: a grouping factor of the model")
    command.add_argument("--out", metavar="OUT", help="file to write the table to, as of `predict`")
    command.set_defaults(run=commands.hypothesis)
    _add_output(command)


def _add_predict(command: argparse.ArgumentParser) -> None:
    command.add_argument("fit", metavar="FIT.lmm", help="file of `fit --save`")
    command.add_argument(
        "--data",
        required=True,
        metavar="FILE|NAME|-",
        help="rows to predict for; those of a folder or 'glob' of Parquet files are written to --out a batch at a time",
    )
    command.add_argument(
        "--out",
        "--output",
        dest="out",
        metavar="OUT",
        help="file to write: .csv, .tsv (also .gz), .parquet, .json (records) or .jsonl; CSV on standard output by default",
    )
    command.add_argument(
        "--re-form",
        default="all",
        help='random effects to use: "all", "none", or terms such as "~ (1 | subject)"',
    )
    command.add_argument(
        "--kind",
        default="response",
        help='"response", "link", or a parameter of the family such as "zi" (response)',
    )
    command.add_argument(
        "--new-levels",
        default="error",
        choices=("error", "population", "sample", "na"),
        help="levels that the fit has not seen (error)",
    )
    command.add_argument("--interval", choices=("confidence", "prediction"))
    command.add_argument("--level", type=float, default=0.95, help="level of the interval (0.95)")
    command.add_argument("--se", action="store_true", help="add the standard error")
    command.add_argument(
        "--uncertainty",
        choices=("full",),
        help="hold the uncertainty of the variances in --se and --interval too",
    )
    command.add_argument(
        "--weights", metavar="COLUMN", help="weights or trials of the rows, for --interval prediction"
    )
    command.add_argument("--seed", type=int, help="for whatever is drawn")
    command.set_defaults(run=commands.predict)
    _add_output(command)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name.strip(), value.strip()


def _option(text: str) -> tuple[str, Json]:
    """A name and a value."""
    name, value = _pair(text)
    if name in _FLAGGED:
        flag = "prior" if name == "priors" else name
        raise argparse.ArgumentTypeError(f"{name!r} has a flag of its own: --{flag}")
    if name in _OF_THE_CALL:
        raise argparse.ArgumentTypeError(f"{name!r} cannot be given so: {_OF_THE_CALL[name]}")
    return name, _value(value)


def _held(text: str) -> tuple[str, Json]:
    """A variable and where it is held."""
    name, value = _pair(text)
    return name, _value(value)


def _value(text: str) -> Json:
    """A number, true, false, null, a list, or else text."""
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except RecursionError:
        raise argparse.ArgumentTypeError("the value is nested too deeply") from None
    except ValueError:
        return None if text == "None" else text


def _read(kind: Kind, text: str) -> Argument:
    try:
        return kind.read(_value(text))
    except UnsuitedError:
        raise argparse.ArgumentTypeError(f"{text!r} must be {kind.accepted}") from None


def _methods(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names or any(name not in METHODS for name in names):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a list of methods such as laplace,pql; known: {', '.join(METHODS)}"
        )
    return names


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from lmmformula.version import __version__

        print(f"{PROGRAM} {__version__}")
        parser.exit()
