"""The file of a fit: an archive (:mod:`lmmformula.keeping.archive`) of one JSON text and of arrays.

    fit.json      {"format": "lmmformula fit", "version": 3, "package": "0.1.0", "asks": [], "mark": "...", "fit": ...}
    0.npy ...     the arrays, by their place

How the fit is told in JSON is written in :mod:`lmmformula.keeping.codec`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmmformula.errors import LmmformulaError
from lmmformula.keeping.archive import FIT, read_archive, write_archive
from lmmformula.typing import Json

__all__ = ["Content", "read", "write"]

_PICKLED = b"lmmformula fit "
"""What files of versions 1 and 2 begin with; a pickle follows."""


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """What a file holds.

    Attributes
    ----------
    fit : plain value
        As the encoder made it.
    arrays : list of arrays
    asks : tuple of str
        Names of functions that whoever reads it must give.
    mark : str
        Another one in every file.
    package : str
        Version of the package that wrote it.
    """

    fit: Json
    arrays: list[np.ndarray]
    asks: tuple[str, ...]
    mark: str
    package: str


def write(path: str | Path, content: Content) -> None:
    """Write a file, whole or not at all."""
    text = {"package": content.package, "asks": list(content.asks), "mark": content.mark, "fit": content.fit}
    write_archive(path, FIT, text, content.arrays)


def read(path: str | Path) -> Content:
    """Read a file.

    Raises
    ------
    LmmformulaError
        If it is not a saved fit, is truncated or damaged, or is of a version that is not read.
    OSError
        If there is no such file, or no right to read it.
    """
    with Path(path).open("rb") as raw:
        _refuse_pickle(path, raw.read(len(_PICKLED) + 8))
    head, arrays = read_archive(path, FIT)
    asks = tuple(str(name) for name in head.get("asks", ()))
    return Content(head.get("fit"), arrays, asks, str(head.get("mark")), str(head.get("package")))


def _refuse_pickle(path: str | Path, start: bytes) -> None:
    if start.startswith(_PICKLED):
        version = start[len(_PICKLED) :].split(b"\n")[0].decode("ascii", "replace")
        raise LmmformulaError(
            f"{path} is a saved fit of format {version}, a pickle, as earlier versions wrote; this one reads format "
            f"{FIT.version} and does not unpickle, since a pickle may run any code. Fit again and save; or open the file with "
            "the version that wrote it and note what is needed from it."
        )
