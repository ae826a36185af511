"""The entrance of rows that are read a batch at a time, as it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Wanted"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """An entrance as it is asked for.

    Attributes
    ----------
    entrance : {"auto", "cells", "rows"}
    against : str
        Why the fit that is to be cannot be of cells; empty if it can.
    """

    entrance: Literal["auto", "cells", "rows"] = "auto"
    against: str = ""
