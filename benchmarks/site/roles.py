"""The reference: roles such as ``:func:`fit``` as plain code, since Markdown has none; the package's own properties."""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["Roles", "plain"]

_PROPERTIES = {"computed_once", "handed_out"}
"""Decorators of the package that make a property of a method."""
_ROLE = re.compile(r":(?:func|meth|class|mod|attr|exc|data|obj):`([^`]+)`")


def plain(text: str) -> str:
    """The text with the last part of ``~a.b.c``, the whole of ``a.b.c``, as code."""
    return _ROLE.sub(lambda m: f"`{m[1].rpartition('.')[2] if m[1][0] == '~' else m[1]}`", text).replace(
        "``", "`"
    )


class Roles(griffe.Extension):
    """Rewrites docstrings, and shows as properties what are properties, as they are collected."""

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """The members of one class."""
        for name, own in list(cls.members.items()):
            if isinstance(own, griffe.Function) and _PROPERTIES & {str(d.value) for d in own.decorators}:
                cls.set_member(name, _property(own))

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """One docstring."""
        if obj.docstring is not None:
            obj.docstring.value = plain(obj.docstring.value)


def _property(own: griffe.Function) -> griffe.Attribute:
    """The same without parentheses."""
    out = griffe.Attribute(
        own.name, annotation=own.returns, docstring=own.docstring, lineno=own.lineno, endlineno=own.endlineno
    )
    out.labels = {"property"}
    return out
