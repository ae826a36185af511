"""The command that asks which parts of a model are needed: one verb of a fit, by its name."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmmformula.cli.commands import model_arguments, show
from lmmformula.cli.tables import open_source

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["VERBS", "add_select_options", "select"]

_FLAGS: Mapping[str, Mapping[str, Any]] = {
    "by": {"metavar": "FACTOR|row", "help": "whose levels are left out as a whole"},
    "folds": {"type": int, "metavar": "K", "help": "how many folds (10, or as many as there are levels)"},
    "score": {"metavar": "A,B,...", "help": "scores, separated by commas (all that suit)"},
    "level": {"type": float, "help": "level of prediction intervals (0.95)"},
    "test": {"metavar": "TEST", "help": "f, wald, chisq or bootstrap (what suits)"},
    "ddf": {"metavar": "RULE", "help": "satterthwaite or kenward-roger (satterthwaite)"},
    "distribution": {"metavar": "NAME", "help": "of ranova's statistic: chisq, mixture, rlrt or bootstrap"},
    "replicates": {"type": int, "metavar": "N", "help": "draws of a distribution or a bootstrap"},
    "keep": {"metavar": "A,B,...", "help": "terms of the fixed part that stay"},
    "variances": {
        "metavar": "estimated|known",
        "help": "whether caic allows for their estimation (estimated)",
    },
}
"""Flags besides those of the model."""

_SAMPLED = ("test", "ddf", "replicates")
VERBS: Mapping[str, tuple[str, ...]] = {
    "ranova": ("distribution", "replicates"),
    "drop1": _SAMPLED,
    "step": (*_SAMPLED, "distribution", "keep"),
    "allfit": (),
    "repca": (),
    "caic": ("variances",),
    "cross_validate": ("by", "folds", "score", "level"),
}
"""Verb of a fit -> the flags that it takes."""

_ARGUMENT = {"distribution": "method", "replicates": "n"}
_SEVERAL = ("score", "keep")
_SEEDED = ("ranova", "drop1", "step", "allfit", "cross_validate")


def add_select_options(command: argparse.ArgumentParser) -> None:
    """What stands before the formula, and the flags of the verbs."""
    command.add_argument("verb", metavar="VERB", choices=tuple(VERBS), help=f"one of {', '.join(VERBS)}")
    for name, how in _FLAGS.items():
        takers = ", ".join(verb for verb, flags in VERBS.items() if name in flags)
        command.add_argument(f"--{name}", **{**how, "help": f"{how['help']}; of {takers}"})
    command.set_defaults(run=select)


def select(arguments: argparse.Namespace) -> int:
    """Fit, and print what the verb says of the fit."""
    import lmmformula
    from lmmformula.errors import ArgumentError

    verb, asked = arguments.verb, {}
    for name in _FLAGS:
        value = getattr(arguments, name)
        if value is None:
            continue
        if name not in VERBS[verb]:
            takers = ", ".join(v for v, flags in VERBS.items() if name in flags)
            raise ArgumentError(f"--{name} is a flag of {takers}, not of {verb}; leave it out.")
        several = [part.strip() for part in value.split(",")] if name in _SEVERAL else value
        asked[_ARGUMENT.get(name, name)] = several
    if verb in _SEEDED and arguments.seed is not None:
        asked["seed"] = arguments.seed
    progress = False if arguments.quiet else None
    data = open_source(arguments.data).data
    model = lmmformula.fit(arguments.formula, data, progress=progress, **model_arguments(arguments))
    found = getattr(model, verb)(**asked)
    show(arguments.json, lambda: _record(found), lambda: found)
    return 0


def _record(found: Any) -> dict[str, Any]:
    """The tables of a result, rows as records."""
    import pandas as pd

    if isinstance(found, pd.DataFrame):
        return {"table": _rows(found), **{k: v for k, v in found.attrs.items() if k in ("formulas", "note")}}
    frame = found.summary if hasattr(found, "summary") else found.frame
    if isinstance(frame, pd.Series):
        return frame.to_dict()
    said = {name: getattr(found, name) for name in ("formula", "verdict", "measures") if hasattr(found, name)}
    return {**said, "table": _rows(frame)}


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    import pandas as pd

    counted = isinstance(frame.index, pd.RangeIndex)
    return (frame if counted else frame.rename_axis("name").reset_index()).to_dict("records")
