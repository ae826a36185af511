"""Rows that are equal in all that a model needs of them, counted once where they lie: the relational entrance."""

from lmmformula.frame.cells.choosing import Entrance, entrance_of
from lmmformula.frame.cells.source import CellRows

__all__ = ["CellRows", "Entrance", "entrance_of"]
