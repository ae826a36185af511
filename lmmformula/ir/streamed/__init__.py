"""Rows on disk: written once in a compact form of their own, then read part by part for each sum over them."""

from lmmformula.ir.streamed.layout import Kept
from lmmformula.ir.streamed.rows import StreamedRows
from lmmformula.ir.streamed.sorting import Sorter
from lmmformula.ir.streamed.spread import Spread
from lmmformula.ir.streamed.workers import Remote, Workers

__all__ = ["Kept", "Remote", "Sorter", "Spread", "StreamedRows", "Workers"]
