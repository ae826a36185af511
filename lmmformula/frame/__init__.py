"""The frame: from any table and a parsed formula to the canonical form, and back for new data."""

from lmmformula.frame.arguments import keep_argument
from lmmformula.frame.build import build
from lmmformula.frame.entrances import Wanted
from lmmformula.frame.opening import in_memory_entrance, open_data, stream
from lmmformula.frame.recipe import NewDesign, NewTerm, Recipe
from lmmformula.frame.table import Table, open_table, table_columns

__all__ = [
    "NewDesign",
    "NewTerm",
    "Recipe",
    "Table",
    "Wanted",
    "build",
    "in_memory_entrance",
    "keep_argument",
    "open_data",
    "open_table",
    "stream",
    "table_columns",
]
