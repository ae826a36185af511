"""The command line: ``lmmformula fit|plan|predict|datasets``.

Exit codes: 0 done, 1 the model or the data cannot serve (the reason goes to standard error), 2 wrong usage. Results go to
standard output, warnings to standard error, one line each. Heavy imports wait until a command needs them.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmmformula.errors import DataError, LmmformulaError, LmmformulaWarning

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.result import Fit

__all__ = ["main"]

_PROGRAM = "lmmformula"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process by default.

    Returns
    -------
    int
        Exit code.
    """
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], None] = arguments.run
    try:
        with _warnings_as_lines() as seen:
            arguments.seen = seen
            run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has left; what Python still has to flush at exit goes nowhere instead of raising again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (LmmformulaError, OSError) as error:
        print(f"{_PROGRAM}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{_PROGRAM}: interrupted", file=sys.stderr)
        return 130
    return 0


@contextmanager
def _warnings_as_lines() -> Iterator[list[str]]:
    """Warnings of this package to standard error, one line each, without source lines; the others are left out."""
    seen: list[str] = []

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        text = " ".join(str(message).split())
        seen.append(text)
        print(f"{_PROGRAM}: warning: {text}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", LmmformulaWarning)
        warnings.showwarning = show
        yield seen


# -- arguments -----------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        _PROGRAM, description="Mixed models from one formula, with lme4's digits."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    fit = commands.add_parser("fit", help="fit a model and print its summary")
    _add_model(fit)
    fit.add_argument("--save", metavar="FIT.lmm", help="write the fit for `predict`")
    fit.add_argument("--json", action="store_true", help="print one JSON object instead of the summary")
    fit.set_defaults(run=_fit)

    plan = commands.add_parser("plan", help="show sizes, memory and method; fit nothing")
    _add_model(plan)
    plan.set_defaults(run=_plan)

    _add_predict(commands.add_parser("predict", help="predict from a saved fit"))

    datasets = commands.add_parser(
        "datasets", help="list the data sets that come with the package, or describe one"
    )
    datasets.add_argument("name", nargs="?", metavar="NAME")
    datasets.set_defaults(run=_datasets)
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("formula", metavar="FORMULA", help='for example "y ~ x + (1 + x | subject)"')
    parser.add_argument(
        "--data", required=True, metavar="FILE|NAME", help="CSV or Parquet file, or a shipped data set"
    )
    parser.add_argument(
        "--family",
        default="gaussian",
        help="distribution of the response, for example binomial or \"gamma(link='inverse')\" (gaussian)",
    )
    parser.add_argument(
        "--method",
        default="auto",
        choices=("auto", "reml", "ml", "laplace", "pql"),
        help="auto is REML for a Gaussian response, else Laplace; pql is for crossed factors of any size",
    )
    parser.add_argument(
        "--traces",
        choices=("exact", "diagonal"),
        help="of pql: exact, or O(rows) (by default what the size allows)",
    )
    parser.add_argument(
        "--dispersion", choices=("free", "fixed"), help="of pql: estimated, or held at 1 (free)"
    )
    parser.add_argument("--max-outer", type=int, metavar="N", help="of pql: limit of outer iterations (100)")
    parser.add_argument(
        "--ziformula", metavar="FORMULA", help='zero inflation of a count family, such as "~ x"'
    )
    parser.add_argument(
        "--dispformula", metavar="FORMULA", help='predictors of the log dispersion, such as "~ x"'
    )
    parser.add_argument(
        "--nagq",
        type=int,
        metavar="N",
        help="nodes of adaptive quadrature; 1 is Laplace, 0 lme4's fast mode (1)",
    )
    parser.add_argument("--weights", metavar="COLUMN", help="prior weights: Var(e) = sigma^2 / weight")
    parser.add_argument("--offset", metavar="COLUMN", help="known part of the linear predictor")
    parser.add_argument(
        "--missing", default="drop", choices=("drop", "raise"), help="rows with missing values (drop)"
    )


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "fit", metavar="FIT.lmm", help="file of `fit --save`; it is a pickle: open only what you trust"
    )
    parser.add_argument("--data", required=True, metavar="FILE|NAME", help="rows to predict for")
    parser.add_argument("--output", metavar="OUT.csv", help="file to write; standard output by default")
    parser.add_argument(
        "--re-form",
        default="all",
        help='random effects to use: "all", "none", or terms such as "~ (1 | subject)"',
    )
    parser.add_argument(
        "--new-levels",
        default="error",
        choices=("error", "population", "sample", "na"),
        help="levels that the fit has not seen (error)",
    )
    parser.add_argument("--interval", choices=("confidence", "prediction"))
    parser.add_argument("--level", type=float, default=0.95, help="level of the interval (0.95)")
    parser.add_argument("--seed", type=int, help="for --new-levels sample")
    parser.set_defaults(run=_predict)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        from lmmformula import __version__

        print(f"{_PROGRAM} {__version__}")
        parser.exit()


# -- commands ------------------------------------------------------------------------------------------------------


def _source(name: str) -> Any:
    """A path that exists, or a shipped data set."""
    if Path(name).is_file():
        return name
    from lmmformula.datasets import dataset_names, load_dataset

    if name in dataset_names():
        return load_dataset(name)
    raise DataError(
        f"--data {name!r} is neither a file nor a data set of the package; `{_PROGRAM} datasets` lists those."
    )


def _model_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("family", "method", "weights", "offset", "missing", "ziformula", "dispformula")
    given = {name: getattr(arguments, name) for name in names}
    options = {name: getattr(arguments, name) for name in ("nagq", "traces", "dispersion", "max_outer")}
    return given | {name: value for name, value in options.items() if value is not None}


def _fit(arguments: argparse.Namespace) -> None:
    from lmmformula.api import fit

    result = fit(arguments.formula, _source(arguments.data), **_model_arguments(arguments))
    if arguments.save:
        result.save(arguments.save)
    if arguments.json:
        import json

        print(json.dumps(_plain(_record(result, arguments.seen)), indent=2, allow_nan=False))
    else:
        print(result.summary())


def _plan(arguments: argparse.Namespace) -> None:
    from lmmformula.api import plan

    print(plan(arguments.formula, _source(arguments.data), **_model_arguments(arguments)))


def _predict(arguments: argparse.Namespace) -> None:
    import pandas as pd

    from lmmformula.result import load

    fit, source = load(arguments.fit), _source(arguments.data)
    predicted = fit.predict(
        source,
        re_form=None if arguments.re_form.lower() == "none" else arguments.re_form,
        new_levels=arguments.new_levels,
        interval=arguments.interval,
        level=arguments.level,
        seed=arguments.seed,
    )
    frame = predicted.to_frame() if isinstance(predicted, pd.Series) else predicted
    data = source if isinstance(source, pd.DataFrame) else _read(Path(source))
    out = data.reset_index(drop=True).join(frame.reset_index(drop=True).add_prefix("."))
    if arguments.output:
        out.to_csv(arguments.output, index=False)
    else:
        out.to_csv(sys.stdout, index=False)


def _read(path: Path) -> Any:
    """The columns of a file as text, to be written back as they were."""
    import pandas as pd

    if path.suffix in (".parquet", ".pq"):
        return pd.read_parquet(path)
    separator = "\t" if ".tsv" in path.suffixes else ","
    return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)


def _datasets(arguments: argparse.Namespace) -> None:
    from lmmformula.datasets import dataset_info, dataset_names

    if arguments.name is None:
        infos = [dataset_info(name) for name in dataset_names()]
        width = max(len(info.name) for info in infos)
        for info in infos:
            print(f"{info.name:<{width}}  {info.rows:>7,} rows  {info.description}")
        return
    info = dataset_info(arguments.name)
    origin = "simulated" if info.source is None else f"{info.source} {info.version or ''}".strip()
    print(f"{info.name}: {info.rows:,} rows, {origin}\n{info.description}\n{info.citation}\n")
    width = max(len(column.name) for column in info.columns)
    for column in info.columns:
        levels = list(column.levels or ())
        shown = (
            f": {', '.join(levels[:8])}{', ...' if len(levels) > 8 else ''} ({len(levels)})" if levels else ""
        )
        missing = f", {column.missing:,} missing" if column.missing else ""
        print(f"  {column.name:<{width}}  {column.type}{shown}{missing}")


# -- JSON ----------------------------------------------------------------------------------------------------------


def _record(fit: Fit, seen: list[str]) -> dict[str, Any]:
    """Everything that a script asks of a fit; what does not exist for its family is null."""
    from lmmformula.reporting.coefficients import auxiliary_tables, fixed_effects, scale
    from lmmformula.reporting.summary import random_effects

    (table, no_errors), auxiliary = fixed_effects(fit), auxiliary_tables(fit)
    statistic = table.columns[-2]
    return {
        "formula": fit.formula,
        "family": fit.family,
        "link": fit.problem.family.link,
        "method": fit.method,
        "nobs": fit.nobs,
        "rows_in_data": fit.problem.n_rows_data,
        "ngroups": fit.ngroups,
        "params": fit.params.to_dict(),
        "se": table["Std. Error"].to_dict(),
        "df": table["df"].to_dict() if "df" in table else None,
        "t": table[statistic].to_dict() if statistic == "t value" else None,
        "z": table[statistic].to_dict() if statistic == "z value" else None,
        "p": table.iloc[:, -1].to_dict(),
        "theta": fit.theta.to_dict(),
        "sigma": scale(fit),
        "dispersion": _auxiliary(auxiliary.get("disp")),
        "zi": _auxiliary(auxiliary.get("zi")),
        "varcorr": random_effects(fit).to_dict("records"),
        "llf": fit.llf,
        "deviance": fit.deviance,
        "aic": fit.aic,
        "bic": fit.bic,
        "df_model": fit.df_model,
        "df_resid": fit.df_resid,
        "diagnostics": fit.diagnostics,
        "warnings": [*seen, no_errors] if no_errors else seen,
    }


def _auxiliary(table: pd.DataFrame | None) -> dict[str, Any] | None:
    """Coefficients of an auxiliary predictor, on its scale (log of a dispersion, logit of a probability)."""
    if table is None:
        return None
    return {"params": table["Estimate"].to_dict(), "se": table["Std. Error"].to_dict()}


def _plain(value: Any) -> Any:
    """`value` in JSON's types; what is not a finite number becomes null."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, str | bool) or value is None:
        return value
    if hasattr(value, "item"):  # a NumPy scalar
        return _plain(value.item())
    if isinstance(value, float):
        return value if value - value == 0 else None
    return value if isinstance(value, int) else str(value)


if __name__ == "__main__":
    sys.exit(main())
