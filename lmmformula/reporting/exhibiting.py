"""Anything that a report or a table for a paper can be made of, as an exhibit: results, frames, drawn plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from lmmformula.arguments import ResultBase
from lmmformula.arguments.kinds import Kind, UnsuitedError
from lmmformula.reporting.comparison import MethodComparison
from lmmformula.reporting.exhibits import Exhibit, Exhibited, Picture
from lmmformula.reporting.frames import printed
from lmmformula.typing import Data

__all__ = ["RESULTS", "SECTIONS", "exhibit_of", "exhibits_of"]


def exhibit_of(value: Data) -> Exhibit:
    """What a report shows of a value.

    Parameters
    ----------
    value : result, DataFrame, Series, Axes, array of Axes, or Figure

    Raises
    ------
    UnsuitedError
        For what is none of these.
    """
    if isinstance(value, Exhibited):
        return value.exhibit()
    if isinstance(value, pd.Series):
        value = value.to_frame(value.name or "value")
    if isinstance(value, pd.DataFrame):
        return printed(value).exhibit()
    if (figure := _figure(value)) is not None:
        return Exhibit("Plot", pictures=(Picture("Plot", figure),))
    raise UnsuitedError


def exhibits_of(sections: Data) -> list[Exhibit]:
    """One for each of a list, under headings that differ; of a mapping under its names."""
    given = sections.items() if isinstance(sections, Mapping) else [("", one) for one in listed(sections)]
    out: list[Exhibit] = []
    for title, value in given:
        own = exhibit_of(value)
        name = title or own.title or "Table"
        count = sum(one.title == name or one.title.startswith(f"{name} (") for one in out)
        own = own.titled(name)
        out.append(replace(own, title=f"{name} ({count + 1})") if count else own)
    return out


def listed(sections: Data) -> Sequence[Data]:
    """The values of a list; one that is none in a list of its own."""
    return list(sections) if isinstance(sections, list | tuple) else [sections]


def _figure(value: Data) -> Data:
    """The figure of Axes, of an array of these, or the figure itself; None for anything else."""
    first = value.ravel()[0] if isinstance(value, np.ndarray) and value.size else value
    found = first if hasattr(first, "savefig") else getattr(first, "figure", None)
    return found if hasattr(found, "savefig") else None


def _shows(value: object) -> bool:
    if isinstance(value, Exhibited | pd.DataFrame | pd.Series):
        return not isinstance(value, type)
    return _figure(value) is not None


def _result(value: object) -> object:
    if isinstance(value, ResultBase | MethodComparison) or _shows(value):
        return value
    if isinstance(value, list | tuple) and value and all(map(_shows, value)):
        return value
    raise UnsuitedError


def _sections(value: object) -> object:
    if value is None:
        return value
    if isinstance(value, Mapping):
        names, found = list(value), list(value.values())
        if not all(isinstance(name, str) and name.strip() for name in names):
            raise UnsuitedError
    else:
        found = list(listed(value))
    if isinstance(value, ResultBase) or not found or not all(map(_shows, found)):
        raise UnsuitedError
    return value


RESULTS = Kind(
    "a fit, as fit() returns it, a comparison, as compare_methods() does, a result of one of the verbs of a fit, a pandas "
    "DataFrame, or a list of such results",
    _result,
)
"""What reports and tables are made of."""
SECTIONS = Kind("a list of results of the verbs of a fit, or a mapping from headings to these", _sections)
"""What a report of a fit may have besides."""
