"""Families of the response, one record each."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from difflib import get_close_matches

from lmmformula.errors import PlanError

__all__ = ["Family", "resolve"]


@dataclass(frozen=True, slots=True)
class Family:
    """Distribution of the response given the linear predictor.

    Attributes
    ----------
    name : str
    link : str
    has_scale : bool
        Whether a residual variance is estimated, so that random effects need fewer levels than there are rows.
    """

    name: str
    link: str
    has_scale: bool


FAMILIES: dict[str, Family] = {"gaussian": Family("gaussian", "identity", has_scale=True)}


def resolve(family: str | Family) -> Family:
    """The family a caller means: a record, a name, or ``"name(link='...')"``.

    Raises
    ------
    PlanError
        For a family or link that is not available; the message lists those that are.
    """
    if isinstance(family, Family):
        return family
    name, link = _read(family)
    if name not in FAMILIES:
        near = get_close_matches(name, FAMILIES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise PlanError(f"family {name!r} is not available; available: {', '.join(FAMILIES)}.{hint}")
    found = FAMILIES[name]
    if link not in (None, found.link):
        raise PlanError(f"link {link!r} is not available for family {name!r}; available: {found.link}.")
    return found


def _read(text: str) -> tuple[str, str | None]:
    """Name and link of ``name`` or ``name(link='...')`` or ``name('...')``."""
    accepted = "write family=\"gaussian\" or family=\"gaussian(link='identity')\""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, AttributeError):
        raise PlanError(f"family {text!r} cannot be read; {accepted}.") from None
    if isinstance(tree, ast.Name):
        return tree.id.lower(), None
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
        values = [*tree.args, *(k.value for k in tree.keywords if k.arg == "link")]
        if not values:
            return tree.func.id.lower(), None
        if len(values) == 1 and isinstance(values[0], ast.Constant) and isinstance(values[0].value, str):
            return tree.func.id.lower(), values[0].value
    raise PlanError(f"family {text!r} cannot be read; {accepted}.")
