"""Files that ship with the package: the grammar and the data sets.

An installed wheel carries them inside the package; a checkout keeps them at its top level, where
people look for them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["dataset_path", "grammar_text"]

_PACKAGE = Path(__file__).resolve().parent


def _folder(name: str) -> Path:
    shipped = _PACKAGE / "_shipped" / name
    return shipped if shipped.is_dir() else _PACKAGE.parent / name


@cache
def grammar_text() -> str:
    """Text of ``grammar/formula.lark``, the definition of the formula language."""
    return (_folder("grammar") / "formula.lark").read_text(encoding="utf-8")


def dataset_path(file: str) -> Path:
    """Path of one file of ``datasets/``."""
    return _folder("datasets") / file
