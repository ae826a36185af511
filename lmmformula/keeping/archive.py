"""Zip archives of one JSON text and of arrays as NumPy writes them, in which this package keeps what it keeps.

    *.json        {"format": ..., "version": ..., "package": "0.1.0", ...}
    0.npy ...     the arrays, by their place; ``numpy.load(path)`` reads them too

Numbers and text only: nothing in it is a pickle, and reading one runs no code from it. JSON here has ``NaN`` and ``Infinity``.
Members are stored, not packed. A file is written whole or not at all (:mod:`lmmformula.files`).
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmmformula.errors import LmmformulaError
from lmmformula.files import whole_file
from lmmformula.typing import Record

__all__ = ["CHECKPOINT", "FIT", "Form", "read_archive", "write_archive"]

_ZIP = b"PK"
"""What every zip archive begins with."""


@dataclass(frozen=True, slots=True)
class Form:
    """A kind of file.

    Attributes
    ----------
    format : str
        That its text tells.
    version : int
    member : str
        Name of the text in the archive.
    what : str
        What such a file is called, with an article.
    give : str
        A sentence: which file to give in place of a foreign one.
    renew : str
        What to do about one that cannot be read, such as "fit again".
    """

    format: str
    version: int
    member: str
    what: str
    give: str
    renew: str


FIT = Form(
    "lmmformula fit",
    3,
    "fit.json",
    "a saved fit",
    "Give a file that Fit.save(path) or `lmmformula fit --save` wrote.",
    "fit again",
)
CHECKPOINT = Form(
    "lmmformula checkpoint",
    1,
    "checkpoint.json",
    "a checkpoint",
    "Name a checkpoint, or a file that does not exist yet.",
    "delete it to begin anew",
)


def write_archive(path: str | Path, form: Form, text: Record, arrays: Sequence[np.ndarray]) -> None:
    """Write a file, whole or not at all."""
    head = {"format": form.format, "version": form.version, **text}
    written = json.dumps(head, ensure_ascii=True, separators=(",", ":"))
    with (
        whole_file(path) as target,
        target.open("wb") as raw,
        zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED, allowZip64=True) as archive,
    ):
        archive.writestr(zipfile.ZipInfo(form.member), written)
        for place, array in enumerate(arrays):
            with archive.open(zipfile.ZipInfo(f"{place}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def read_archive(path: str | Path, form: Form) -> tuple[Record, list[np.ndarray]]:
    """Text and arrays of a file.

    Raises
    ------
    LmmformulaError
        If it is of another kind, is truncated or damaged, or is of a version that is not read.
    OSError
        If there is no such file, or no right to read it.
    """
    size = Path(path).stat().st_size
    with Path(path).open("rb") as raw:
        start = raw.read(12)
        if not start.startswith(_ZIP):
            seen = "it is empty" if not size else f"it begins with {start!r}"
            raise LmmformulaError(f"{path} is not {form.what}: {seen}. {form.give}")
        try:
            with zipfile.ZipFile(raw) as archive:
                return _content(path, archive, form)
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, LookupError, ValueError) as error:
            raise LmmformulaError(
                f"{path} is truncated or damaged ({size:,} bytes: {error}): part of {form.what} is missing. Copy it again from "
                f"where it is whole, or {form.renew}."
            ) from error


def _content(path: str | Path, archive: zipfile.ZipFile, form: Form) -> tuple[Record, list[np.ndarray]]:
    names = archive.namelist()
    foreign = f"{path} is not {form.what} but another zip archive, of {', '.join(names[:3]) or 'nothing'}"
    if (other := next((f for f in (FIT, CHECKPOINT) if f.member in names), form)) is not form:
        raise LmmformulaError(f"{path} is {other.what}, not {form.what}. {form.give}")
    if form.member not in names:
        raise LmmformulaError(f"{foreign}. {form.give}")
    for info in archive.infolist():
        if info.compress_type != zipfile.ZIP_STORED:
            raise LmmformulaError(f"{path}: {info.filename} is packed, which parts of {form.what} are not.")
    try:
        head = json.loads(archive.read(form.member).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise LmmformulaError(f"{path} is damaged: its text is not JSON ({error}).") from error
    if not isinstance(head, dict) or head.get("format") != form.format:
        raise LmmformulaError(f"{foreign}. {form.give}")
    version, package = head.get("version"), str(head.get("package"))
    if version != form.version:
        raise LmmformulaError(
            f"{path} is {form.what} of format {version}, written by lmmformula {package}; this version reads format "
            f"{form.version}. Install that version to read it, or {form.renew}."
        )
    members = set(names)
    arrays, place = [], 0
    while f"{place}.npy" in members:
        arrays.append(_array(path, archive, f"{place}.npy"))
        place += 1
    return head, arrays


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
