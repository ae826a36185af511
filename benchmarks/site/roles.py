"""Docstrings for the site: roles such as ``:func:`fit``` as plain code, since Markdown has none."""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["Roles", "plain"]

_ROLE = re.compile(r":(?:func|meth|class|mod|attr|exc|data|obj):`([^`]+)`")


def plain(text: str) -> str:
    """The text with the last part of ``~a.b.c``, the whole of ``a.b.c``, as code."""
    return _ROLE.sub(lambda m: f"`{m[1].rpartition('.')[2] if m[1][0] == '~' else m[1]}`", text).replace(
        "``", "`"
    )


class Roles(griffe.Extension):
    """Rewrites docstrings as they are collected."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """One docstring."""
        if obj.docstring is not None:
            obj.docstring.value = plain(obj.docstring.value)
