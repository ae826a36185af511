"""Commands that fit one model many times: bootstrap, power, permutations of a saved fit; many responses."""

from __future__ import annotations

import argparse
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from lmmformula.cli.commands import model_arguments, show
from lmmformula.cli.tables import check_page, check_table, open_source, write_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from lmmformula.typing import Argument, Data

__all__ = ["add_bootstrap", "add_many_options", "add_permute", "add_power", "many"]


# -- what they understand ------------------------------------------------------------------------------------------------


def _saved(command: argparse.ArgumentParser, draws: int, of_what: str) -> None:
    command.add_argument("fit", metavar="FIT.lmm", help="file of `fit --save`")
    command.add_argument("--draws", type=int, default=draws, metavar="N", help=f"{of_what} ({draws:,})")
    command.add_argument("--seed", type=int, help="for whatever is drawn")
    command.add_argument("--out", metavar="OUT", help="file to write the table to, as of `predict`")
    command.add_argument("--report", metavar="OUT.html", help="write a page with the table and its plot")


def add_bootstrap(command: argparse.ArgumentParser) -> None:
    """Flags of `bootstrap`."""
    _saved(command, 1_000, "replicates")
    command.add_argument(
        "--type",
        choices=("percentile", "basic", "normal", "bca"),
        help="print intervals of this type instead of estimates, bias and errors",
    )
    command.add_argument("--level", type=float, default=0.95, help="level of these intervals (0.95)")
    command.set_defaults(run=bootstrap)


def add_power(command: argparse.ArgumentParser) -> None:
    """Flags of `power`."""
    _saved(command, 1_000, "draws for each point")
    command.add_argument(
        "--effect",
        type=_number,
        action="append",
        required=True,
        metavar="NAME=VALUE",
        help="the coefficient that is tested and what it is in truth (again for others, tested together by lr)",
    )
    command.add_argument(
        "--vary",
        type=_numbers,
        metavar="NAME=A,B,...",
        help="numbers of levels of a grouping factor, of `rows` within each, or values of a coefficient",
    )
    command.add_argument(
        "--within", metavar="FACTOR,...", help="whose levels have the rows that --vary rows=... counts"
    )
    command.add_argument(
        "--design",
        action="append",
        default=[],
        metavar="FILE",
        help="rows of another design (again for several)",
    )
    command.add_argument("--alpha", type=float, default=0.05, help="level of the test (0.05)")
    command.add_argument(
        "--test", choices=("t", "z", "lr"), default="t", help="Satterthwaite, Wald, likelihood ratio (t)"
    )
    command.add_argument(
        "--level", type=float, default=0.95, help="level of the intervals of the simulation (0.95)"
    )
    command.set_defaults(run=power)


def add_permute(command: argparse.ArgumentParser) -> None:
    """Flags of `permute`."""
    _saved(command, 999, "permutations")
    command.add_argument("term", metavar="TERM", help="a term of the fixed part, or one coefficient")
    command.add_argument(
        "--how",
        choices=("auto", "within", "between", "rows"),
        default="auto",
        help="what is exchanged (auto)",
    )
    command.add_argument("--cluster", metavar="FACTOR", help="within or between whose levels")
    command.set_defaults(run=permute)


def add_many_options(command: argparse.ArgumentParser) -> None:
    """Flags of `many` besides those of the model."""
    command.add_argument(
        "--responses", required=True, metavar="A,B,gene*", help="columns of the data, by name or by pattern"
    )
    command.add_argument(
        "--moderated", action="store_true", help="moderate residual variances (limma's eBayes)"
    )
    command.add_argument(
        "--top", metavar="TERM", help="print the smallest p-values of this term instead of an overview"
    )
    command.add_argument(
        "--out", metavar="OUT", help="file to write a row for each effect of each response to"
    )
    command.add_argument("--report", metavar="OUT.html", help="write a page with the tables and a volcano")
    command.set_defaults(run=many)


def _number(text: str) -> tuple[str, float]:
    name, equals, value = text.rpartition("=")
    try:
        return _name(name, equals, text), float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=NUMBER") from None


def _numbers(text: str) -> tuple[str, list[float]]:
    name, equals, values = text.rpartition("=")
    try:
        return _name(name, equals, text), [float(part) for part in values.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=NUMBER,NUMBER,...") from None


def _name(name: str, equals: str, text: str) -> str:
    if not equals or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name.strip()


# -- what they do --------------------------------------------------------------------------------------------------------


def bootstrap(arguments: argparse.Namespace) -> int:
    """Estimates, bias, errors and limits of the parameters of a saved fit; a file has the replicates."""
    found = _loaded(arguments).bootstrap(
        arguments.draws, arguments.seed, type=arguments.type, level=arguments.level
    )
    shown = found if arguments.type else found.overview  # type: ignore[attr-defined]
    _give(arguments, found, shown, found if arguments.type is None else _named(found))
    return 0


def power(arguments: argparse.Namespace) -> int:
    """A power curve of a saved fit."""
    tables = {name: open_source(name).data for name in arguments.design}
    more: dict[str, Argument] = {"within": arguments.within.split(",")} if arguments.within else {}
    if tables:
        more["design"] = tables if len(tables) > 1 else next(iter(tables.values()))
    found = _loaded(arguments).power(
        dict(arguments.effect),
        None if arguments.vary is None else dict([arguments.vary]),
        arguments.draws,
        alpha=arguments.alpha,
        test=arguments.test,
        seed=arguments.seed,
        level=arguments.level,
        **more,
    )
    _give(arguments, found, found.frame, found.frame)
    return 0


def permute(arguments: argparse.Namespace) -> int:
    """A permutation test of a term of a saved fit."""
    found = _loaded(arguments).permutation_test(
        arguments.term, arguments.draws, how=arguments.how, cluster=arguments.cluster, seed=arguments.seed
    )
    _give(arguments, found, found.frame, found.frame)
    return 0


def many(arguments: argparse.Namespace) -> int:
    """One formula, many responses that are columns of the data."""
    import lmmformula
    from lmmformula.frame import table_columns

    check_table("--out", arguments.out)
    check_page("--report", arguments.report)
    data = open_source(arguments.data).data
    model = model_arguments(arguments)
    names = chosen(arguments.responses, table_columns(data))
    found = lmmformula.fit_many(arguments.formula, data, names, moderated=arguments.moderated, **model)
    text = found if arguments.top is None else found.top(arguments.top)
    _give(arguments, found, found.frame, found.frame, text)
    return 0


def chosen(wanted: str, columns: Iterable[str]) -> list[str]:
    """The columns that names and patterns, separated by commas, mean; in the order of the data."""
    from lmmformula.errors import DataError

    columns, found = list(columns), set()
    for pattern in (part.strip() for part in wanted.split(",")):
        own = [pattern] if pattern in columns else [c for c in columns if fnmatchcase(c, pattern)]
        if not own:
            listed = ", ".join(columns[:20]) + (", ..." if len(columns) > 20 else "")
            raise DataError(
                f"responses={pattern!r} is no column of the data and matches none; columns: {listed}"
            )
        found.update(own)
    return [column for column in columns if column in found]


def _loaded(arguments: argparse.Namespace) -> Data:
    from lmmformula.keeping.loading import load

    check_table("--out", arguments.out)
    check_page("--report", arguments.report)
    return load(arguments.fit)


def _give(
    arguments: argparse.Namespace, found: Data, record: pd.DataFrame, table: pd.DataFrame, text: object = None
) -> None:
    """The table into a file, a page, and what was found, or a record of it, to standard output."""
    import lmmformula

    if arguments.out:
        write_table(table, arguments.out)
    if arguments.report:
        lmmformula.report(found, arguments.report)
    if arguments.json or not (arguments.out or arguments.report):
        named = _named(record)
        show(arguments.json, lambda: named.to_dict("list"), lambda: found if text is None else text)


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """The names of rows as a column."""
    import pandas as pd

    counted = isinstance(frame.index, pd.RangeIndex) or frame.index.dtype.kind in "iu"
    return pd.DataFrame(frame if counted else frame.rename_axis("name").reset_index())
