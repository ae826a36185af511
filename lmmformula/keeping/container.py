"""The file of a fit: a zip archive of one JSON text and of arrays as NumPy writes them.

    fit.json      {"format": "lmmformula fit", "version": 3, "package": "0.1.0", "asks": [], "mark": "...", "fit": ...}
    0.npy ...     the arrays, by their place; ``numpy.load(path)`` reads them too

Numbers and text only: nothing in it is a pickle, and reading one runs no code from it. How the fit is told in JSON is written
in :mod:`lmmformula.keeping.codec`. JSON here has ``NaN`` and ``Infinity``. Members are stored, not packed.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmmformula.errors import LmmformulaError
from lmmformula.files import whole_file
from lmmformula.typing import Json

__all__ = ["VERSION", "Content", "read", "write"]

VERSION = 3
_FORMAT, _TEXT = "lmmformula fit", "fit.json"
_PICKLED = b"lmmformula fit "
"""What files of versions 1 and 2 begin with; a pickle follows."""
_ZIP = b"PK"


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
    head = {
        "format": _FORMAT,
        "version": VERSION,
        "package": content.package,
        "asks": list(content.asks),
        "mark": content.mark,
        "fit": content.fit,
    }
    text = json.dumps(head, ensure_ascii=True, separators=(",", ":"))
    with (
        whole_file(path) as target,
        target.open("wb") as raw,
        zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED, allowZip64=True) as archive,
    ):
        archive.writestr(zipfile.ZipInfo(_TEXT), text)
        for place, array in enumerate(content.arrays):
            with archive.open(zipfile.ZipInfo(f"{place}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def read(path: str | Path) -> Content:
    """Read a file.

    Raises
    ------
    LmmformulaError
        If it is not a saved fit, is truncated or damaged, or is of a version that is not read.
    OSError
        If there is no such file, or no right to read it.
    """
    size = Path(path).stat().st_size
    with Path(path).open("rb") as raw:
        start = raw.read(len(_PICKLED) + 8)
        _check_start(path, start, size)
        try:
            with zipfile.ZipFile(raw) as archive:
                return _content(path, archive)
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, LookupError, ValueError) as error:
            raise LmmformulaError(
                f"{path} is truncated or damaged ({size:,} bytes: {error}): part of a saved fit is missing. Copy it again from "
                "where it is whole, or fit again."
            ) from error


def _check_start(path: str | Path, start: bytes, size: int) -> None:
    if start.startswith(_PICKLED):
        version = start[len(_PICKLED) :].split(b"\n")[0].decode("ascii", "replace")
        raise LmmformulaError(
            f"{path} is a saved fit of format {version}, a pickle, as earlier versions wrote; this one reads format "
            f"{VERSION} and does not unpickle, since a pickle may run any code. Fit again and save; or open the file with the "
            "version that wrote it and note what is needed from it."
        )
    if not start.startswith(_ZIP):
        seen = "it is empty" if not size else f"it begins with {start[:12]!r}"
        raise LmmformulaError(
            f"{path} is not a saved fit: {seen}. Give a file that Fit.save(path) or `lmmformula fit --save` wrote."
        )


def _content(path: str | Path, archive: zipfile.ZipFile) -> Content:
    names = archive.namelist()
    foreign = f"{path} is not a saved fit but another zip archive, of {', '.join(names[:3]) or 'nothing'}"
    if _TEXT not in names:
        raise LmmformulaError(f"{foreign}. Give a file that Fit.save(path) wrote.")
    for info in archive.infolist():
        if info.compress_type != zipfile.ZIP_STORED:
            raise LmmformulaError(f"{path}: {info.filename} is packed, which a saved fit's parts are not.")
    try:
        head = json.loads(archive.read(_TEXT).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise LmmformulaError(f"{path} is damaged: its text is not JSON ({error}).") from error
    if not isinstance(head, dict) or head.get("format") != _FORMAT:
        raise LmmformulaError(f"{foreign}. Give a file that Fit.save(path) wrote.")
    version, package = head.get("version"), str(head.get("package"))
    if version != VERSION:
        raise LmmformulaError(
            f"{path} is a saved fit of format {version}, written by lmmformula {package}; this version reads format {VERSION}. "
            "Install that version to read it, or fit again."
        )
    members = set(names)
    arrays, place = [], 0
    while f"{place}.npy" in members:
        arrays.append(_array(path, archive, f"{place}.npy"))
        place += 1
    asks = tuple(str(name) for name in head.get("asks", ()))
    return Content(head.get("fit"), arrays, asks, str(head.get("mark")), package)


def _array(path: str | Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array; its size is compared with its part of the file first, so that a lie about it costs no memory."""
    text = io.BytesIO(archive.read(name))
    try:
        told, held = _bytes_told(text), text.getbuffer().nbytes - text.tell()
        if told == held:
            text.seek(0)
            return np.lib.format.read_array(text, allow_pickle=False)
        why = f"it tells of {told:,} bytes and has {held:,}"
    except ValueError as error:
        why = str(error)
    raise LmmformulaError(f"{path} is damaged: {name} is not an array of numbers ({why}).")


def _bytes_told(text: io.BytesIO) -> int:
    """Size of an array by its header, which is read; -1 for one of Python objects."""
    version = np.lib.format.read_magic(text)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(text)
    return -1 if dtype.hasobject else math.prod(shape) * dtype.itemsize
