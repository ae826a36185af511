"""Classes from outside of the package that its registries know, so that fits which use them can be kept in files.

Whatever enters a family, a covariance kind, a structure, an engine or a method under a name (``register_...``) enters its class
here too. A file names such a class; loading finds it here if the module that registers it has been imported, and imports none.
"""

from __future__ import annotations

__all__ = ["EXTENSIONS", "enter", "key_of"]

EXTENSIONS: dict[str, type] = {}
"""Module and name -> class."""


def key_of(cls: type) -> str:
    """The name under which a class is kept."""
    return f"{cls.__module__}:{cls.__qualname__}"


def enter(cls: type) -> None:
    """Make a class known; classes of the package need not be."""
    EXTENSIONS[key_of(cls)] = cls
