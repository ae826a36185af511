"""A fit from a file, as the user calls for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lmmformula.arguments import checked
from lmmformula.keeping.fits import read_fit

if TYPE_CHECKING:
    from lmmformula.result import Fit
    from lmmformula.typing import Context

__all__ = ["load"]


@checked
def load(path: str | Path, context: Context | None = None) -> Fit:
    """Read a fit written by :meth:`Fit.save`.

    The file is a zip archive of JSON and of arrays; nothing in it is run. See :mod:`lmmformula.keeping.container`.

    Parameters
    ----------
    path : str or Path
    context : mapping, optional
        The functions of your own that the formula calls, as they were given to :func:`lmmformula.fit`.

    Raises
    ------
    LmmformulaError
        If the file was not written by :meth:`Fit.save`, is truncated, or is of a format that this version does not read.
    DataError
        If the formula calls functions that `context` lacks.
    OSError
        If there is no such file, or no right to read it.
    """
    return read_fit(path, context)
