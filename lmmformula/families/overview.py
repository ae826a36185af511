"""The registry as a table: what each family models, its parameters and links, what weights mean."""

from __future__ import annotations

from lmmformula.families.family import Family
from lmmformula.families.registry import ALIASES, FAMILIES, OUTCOMES

__all__ = ["overview", "row_of"]


def row_of(name: str) -> str:
    """One row of the table, in Markdown."""
    family = (FAMILIES | OUTCOMES)[name]
    aliases = ", ".join(f"`{alias}`" for alias, own in ALIASES.items() if own == name)
    parameters = "; ".join(f"`{a.name}` ({a.link})" for a in family.auxiliaries)
    parameters = parameters or family.distribution.parameters_in_words or "none"
    links = ", ".join(family.distribution.links)
    cells = (f"`{name}`", aliases, family.distribution.support, links, parameters, _weights(family))
    return f"| {' | '.join(cells)} |"


def _weights(family: Family) -> str:
    return {"precision": "precision", "trials": "trials", "repeats": "repeats"}[family.weights_are]


def overview() -> str:
    """All rows with their head, in Markdown."""
    head = "| family | also | values | links | parameters (link) | weights |\n|---|---|---|---|---|---|"
    return "\n".join([head, *map(row_of, FAMILIES | OUTCOMES)])
