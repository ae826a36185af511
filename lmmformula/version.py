"""The version of the package; pyproject.toml and releases read it here."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
