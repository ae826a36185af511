"""The commands: each reads its arguments, makes one call of the package and prints what came out."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from lmmformula.cli.tables import (
    check_folder,
    check_page,
    check_table,
    has_types,
    open_source,
    write_table,
)
from lmmformula.methods import OPTIONS

if TYPE_CHECKING:
    from lmmformula.datasets import DatasetInfo
    from lmmformula.typing import Argument

__all__ = [
    "NOT_CONVERGED",
    "PROGRAM",
    "check",
    "compare",
    "datasets",
    "fit",
    "hypothesis",
    "influence",
    "means",
    "model_arguments",
    "plan",
    "predict",
    "show",
    "tour",
]

PROGRAM = "lmmformula"
NOT_CONVERGED = 3
"""Exit code of a fit that stopped before its tolerance was met; what it found is printed and saved all the same."""
_WANTED = ("kind", "new_levels", "interval", "level", "se", "uncertainty", "weights", "seed")
_MODEL = ("family", "method", "weights", "offset", "missing", "ziformula", "dispformula")


def model_arguments(arguments: argparse.Namespace) -> dict[str, Argument]:
    """Arguments of :func:`lmmformula.fit`."""
    out = {name: getattr(arguments, name) for name in _MODEL if hasattr(arguments, name)}
    out |= {
        name: value
        for name in ("seed", "sample", *OPTIONS)
        if (value := getattr(arguments, name, None)) is not None
    }
    if arguments.prior:
        out["priors"] = dict(arguments.prior)
    return out | dict(arguments.option)


def show(json_wanted: bool, record: Callable[[], object], text: Callable[[], object]) -> None:
    """Print one of two: a record as JSON, or text; both are functions, as the other is not computed."""
    from lmmformula.cli.records import plain

    print(json.dumps(plain(record()), indent=2, allow_nan=False) if json_wanted else text())


def fit(arguments: argparse.Namespace) -> int:
    """Fit, save, report, print."""
    import lmmformula
    from lmmformula.cli.records import fit_record
    from lmmformula.reporting.brief import brief, brief_record

    check_folder("--save", arguments.save)
    check_page("--report", arguments.report)
    check_folder("--checkpoint", arguments.checkpoint)
    source, progress = open_source(arguments.data), False if arguments.quiet else None
    model = {"checkpoint": arguments.checkpoint, **model_arguments(arguments)}
    result = lmmformula.fit(arguments.formula, source.data, progress=progress, **model)
    try:
        if arguments.save:
            result.save(arguments.save)
        if arguments.report:
            lmmformula.report(result, arguments.report)
    finally:
        try:
            show(arguments.json, lambda: fit_record(result, arguments.seen), result.summary)
        except KeyboardInterrupt:  # the search may have taken hours, standard errors are all that is lost
            show(arguments.json, lambda: brief_record(result), lambda: brief(result))
            raise
    return 0 if result.converged else NOT_CONVERGED


def check(arguments: argparse.Namespace) -> int:
    """Fit a model, or load a fit, and say what its checks find."""
    import lmmformula
    from lmmformula.keeping.loading import load

    if arguments.formula.endswith(".lmm"):
        result = load(arguments.formula)
    else:
        if arguments.data is None:
            raise lmmformula.ArgumentError("--data is missing: the model is fitted before it is checked.")
        source, progress = open_source(arguments.data), False if arguments.quiet else None
        result = lmmformula.fit(
            arguments.formula, source.data, progress=progress, **model_arguments(arguments)
        )
    coords = None if arguments.coords is None else tuple(arguments.coords.split(","))
    seed = 0 if arguments.seed is None else arguments.seed
    found = result.check(seed, time=arguments.time, coords=coords)
    show(arguments.json, lambda: found.frame.to_dict("records"), lambda: found)
    return 0 if result.converged else NOT_CONVERGED


def plan(arguments: argparse.Namespace) -> int:
    """What `fit` would do."""
    import lmmformula
    from lmmformula.cli.records import plan_record

    model = model_arguments(arguments)
    if "sample" not in model:
        model.pop("seed", None)
    chosen = lmmformula.plan(arguments.formula, open_source(arguments.data).data, **model)
    show(arguments.json, lambda: plan_record(chosen), lambda: chosen)
    return 0


def compare(arguments: argparse.Namespace) -> int:
    """Several methods side by side."""
    import lmmformula
    from lmmformula.cli.records import comparison_record

    check_page("--report", arguments.report)
    comparison = lmmformula.compare_methods(
        arguments.formula,
        open_source(arguments.data).data,
        arguments.methods,
        level=arguments.level,
        progress=False if arguments.quiet else None,
        **model_arguments(arguments),
    )
    try:
        if arguments.report:
            lmmformula.report(comparison, arguments.report)
    finally:
        show(arguments.json, lambda: comparison_record(comparison), lambda: comparison)
    return 0 if all(one.converged for one in comparison.fits.values()) else NOT_CONVERGED


def tour(arguments: argparse.Namespace) -> int:
    """What the package does, shown by doing it."""
    from lmmformula.cli.tour import tour as shown

    return shown(arguments)


def predict(arguments: argparse.Namespace) -> int:
    """The rows with predictions beside them, or the predictions alone as JSON."""
    import pandas as pd

    from lmmformula.keeping.loading import load

    check_table("--out", arguments.out)
    model, source = load(arguments.fit), open_source(arguments.data)
    wanted: dict[str, Argument] = {
        "re_form": None if arguments.re_form.lower() == "none" else arguments.re_form
    }
    wanted |= {name: getattr(arguments, name) for name in _WANTED}
    if source.is_streamed and arguments.out:
        written = model.predict(source.data, out=arguments.out, columns="all", **wanted)
        show(arguments.json, lambda: written.frame.to_dict("records")[0], lambda: written)
        return 0
    predicted = model.predict(source.data, **wanted)
    frame = predicted.to_frame() if isinstance(predicted, pd.Series) else predicted
    if arguments.out or not arguments.json:
        rows = source.typed() if has_types(arguments.out) else source.as_written()
        beside = frame.reset_index(drop=True).add_prefix(".")
        write_table(rows.reset_index(drop=True).join(beside), arguments.out)
    if arguments.json:
        show(True, lambda: frame.to_dict("list"), str)
    return 0


def influence(arguments: argparse.Namespace) -> int:
    """The units that move a fit most, or all of them into a file or as JSON."""
    from lmmformula.keeping.loading import load

    check_table("--out", arguments.out)
    found = load(arguments.fit).influence(arguments.group, arguments.refit)
    if arguments.out:
        label = "row" if found.group is None else found.group
        write_table(found.tidy().rename_axis(label).reset_index(), arguments.out)
    if arguments.json or not arguments.out:
        table = found.tidy()
        show(arguments.json, lambda: {"unit": table.index.tolist(), **table.to_dict("list")}, lambda: found)
    return 0


def means(arguments: argparse.Namespace) -> int:
    """Marginal means or slopes, and their contrasts; a file and JSON have the contrasts where some are asked for."""
    from lmmformula.keeping.loading import load

    check_table("--out", arguments.out)
    model, source = load(arguments.fit), open_source(arguments.data)
    more = {"at": dict(arguments.at) or None, "data": source.data}
    more |= {name: getattr(arguments, name) for name in ("weights", "average", "adjust", "ddf", "level")}
    if arguments.kind:
        more["kind"] = arguments.kind
    if arguments.trend:
        found = model.emtrends(arguments.specs, arguments.trend, **more)
    else:
        found = model.emmeans(arguments.specs, **more)
    frame = (found.contrasts or found).tidy(adjust=arguments.adjust)
    if arguments.out:
        write_table(frame, arguments.out)
    if arguments.json or not arguments.out:
        show(arguments.json, lambda: frame.to_dict("list"), lambda: found)
    return 0


def hypothesis(arguments: argparse.Namespace) -> int:
    """Tests of hypotheses about the parameters of a fit."""
    from lmmformula.keeping.loading import load

    check_table("--out", arguments.out)
    given = arguments
    table = load(given.fit).hypothesis(
        given.hypotheses, given.level, ddf=given.ddf, vcov=given.vcov, cluster=given.cluster
    )
    if arguments.out:
        write_table(table.rename_axis("hypothesis").reset_index(), arguments.out)
    if arguments.json or not arguments.out:
        named = {"hypothesis": table.index.tolist(), **table.to_dict("list"), "note": table.attrs.get("note")}
        show(arguments.json, lambda: named, lambda: table)
    return 0


def datasets(arguments: argparse.Namespace) -> int:
    """The list of data sets, or one of them."""
    from lmmformula.datasets import dataset_info, dataset_names, load_dataset

    if arguments.csv and arguments.name is not None:
        write_table(load_dataset(arguments.name), None)
        return 0
    names = dataset_names() if arguments.name is None else [arguments.name]
    infos = [dataset_info(name) for name in names]
    text = _listing if arguments.name is None else _description
    show(arguments.json, lambda: infos if arguments.name is None else infos[0], lambda: text(*infos))
    return 0


def _listing(*infos: DatasetInfo) -> str:
    width = max(len(info.name) for info in infos)
    return "\n".join(f"{info.name:<{width}}  {info.rows:>7,} rows  {info.description}" for info in infos)


def _description(info: DatasetInfo) -> str:
    origin = "simulated" if info.source is None else f"{info.source} {info.version or ''}".strip()
    lines = [f"{info.name}: {info.rows:,} rows, {origin}", info.description, info.citation, ""]
    width = max(len(column.name) for column in info.columns)
    for column in info.columns:
        levels = list(column.levels or ())
        shown = (
            f": {', '.join(levels[:8])}{', ...' if len(levels) > 8 else ''} ({len(levels)})" if levels else ""
        )
        missing = f", {column.missing:,} missing" if column.missing else ""
        lines.append(f"  {column.name:<{width}}  {column.type}{shown}{missing}")
    return "\n".join(lines)
