"""What a file of a fit cannot hold."""

from __future__ import annotations

from lmmformula.errors import LmmformulaError

__all__ = ["CodecError"]


class CodecError(LmmformulaError):
    """A value that cannot be kept in a file, or a record in a file that this version does not know."""
