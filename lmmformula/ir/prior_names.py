"""Keys of priors: brms' and R's spellings as one."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["CENTRED", "PLAIN", "normal_key"]

CENTRED = "Intercept"
"""The intercept at the mean of every column."""
PLAIN = "b:(Intercept)"
"""The intercept where every column is 0."""
_CLASSES = ("Intercept", "(Intercept)", "b", "sd", "cor", "simo")
"""What a key may begin with after the name of a parameter that has a formula."""


def normal_key(key: str, parts: Mapping[str, str]) -> str:
    """brms' and R's names of the intercept as one: ``b:(Intercept)`` but ``sd:Subject:Intercept``.

    What stands before the colon may be a further parameter of the family, by one of its names in `parts`: the rest is then a
    key as without it.
    """
    key = key.strip()
    first, _, rest = key.partition(":")
    if first in parts and rest.partition(":")[0] in _CLASSES:
        return f"{parts[first]}:{normal_key(rest, {})}"
    if key == "(Intercept)":
        return CENTRED
    if key == "b:Intercept":
        return PLAIN
    return key if key.startswith("b:") else key.replace("(Intercept)", "Intercept")
