"""Arguments of public calls: one table of what each may be, one place that checks them, other packages' names for them."""

from lmmformula.arguments.checking import (
    check,
    checked,
    checked_methods,
    contract_of,
    own_options,
    shown,
)
from lmmformula.arguments.elsewhere import attribute_here
from lmmformula.arguments.kinds import ResultBase
from lmmformula.arguments.table import ARGUMENTS

__all__ = [
    "ARGUMENTS",
    "ResultBase",
    "attribute_here",
    "check",
    "checked",
    "checked_methods",
    "contract_of",
    "own_options",
    "shown",
]
