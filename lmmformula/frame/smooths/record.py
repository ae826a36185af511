"""What a fit remembers of each smooth: its name, its variables, and which columns of the model are its own."""

from __future__ import annotations

from dataclasses import dataclass

from lmmformula.formula.spec import Call

__all__ = ["SmoothRecord"]


@dataclass(frozen=True, slots=True)
class SmoothRecord:
    """One function of a model.

    Attributes
    ----------
    label : str
        mgcv's name, ``s(x)`` or ``s(x):fa``.
    call : Call
        Key of what the smooth learned, a :class:`lmmformula.frame.smooths.state.Smooth`, in the recipe's memory.
    variables : tuple of str
        Its numeric arguments.
    random : tuple of str
        Labels of the random-effects terms that are its penalised parts.
    by : str
        The ``by`` variable; empty without.
    level : str or None
        Level of a ``by`` factor.
    group : str
        Factor whose levels have a function each; empty without.
    """

    label: str
    call: Call
    variables: tuple[str, ...]
    random: tuple[str, ...]
    by: str = ""
    level: str | None = None
    group: str = ""
