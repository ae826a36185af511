"""Responses that are categories: as a reader has them, and what is predicted of each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.families.categories import positions_among
from lmmformula.typing import Array, Data

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.families.family import Family
    from lmmformula.inference.records import Wanted

__all__ = [
    "BY_CATEGORY",
    "as_observed",
    "category_at",
    "in_categories",
    "of_categories",
    "share_limits",
]

BY_CATEGORY = ("response", "class")
"""Kinds of prediction that take the probability of every category."""

_OF = "category: "


def of_categories(
    family: Family, wanted: Wanted, predicted: Callable[[Wanted], pd.Series | pd.DataFrame]
) -> pd.Series | pd.DataFrame:
    """Probabilities with a column a category, or the most probable category.

    Parameters
    ----------
    wanted : Wanted
        Of the kind "response" or "class".
    predicted : callable
        Predictions of one quantity, a Series ``fit`` or columns ``fit[, se][, lower, upper]``.
    """
    import pandas as pd

    if wanted.kind == "class":
        wanted = replace(wanted, se=False, interval=None)
    each = {c: predicted(replace(wanted, kind=_OF + c)) for c in family.outcomes}
    if not (wanted.se or wanted.interval):
        shares = pd.DataFrame({c: np.asarray(own).reshape(len(own)) for c, own in each.items()})
        shares.index = next(iter(each.values())).index
        if wanted.kind == "response":
            return shares
        values = shares.to_numpy()
        best = np.where(np.isnan(values).any(axis=1), 0, np.argmax(np.nan_to_num(values), axis=1))
        if np.isnan(values).any():
            known = pd.Series(as_observed(family, best + 1.0), index=shares.index, name="fit")
            return known.where(~np.isnan(values).any(axis=1))
        return pd.Series(as_observed(family, best + 1.0), index=shares.index, name="fit")
    return pd.concat(each, axis=1)


def category_at(family: Family, kind: str) -> int | None:
    """Place of the category whose probability is meant; None for anything else."""
    if not kind.startswith(_OF) or kind.removeprefix(_OF) not in family.outcomes:
        return None
    return family.outcomes.index(kind.removeprefix(_OF))


def as_observed(family: Family, y: Array) -> Data:
    """Positions 1, ..., K as the data have them: whole numbers, an ordered factor, counts. Other responses as they are."""
    if not family.outcomes:
        return y
    import pandas as pd

    if family.distribution.tallies:
        return pd.DataFrame(family.distribution.counts(y).astype(int), columns=list(family.outcomes))

    codes = np.asarray(y).astype(int) - 1
    try:
        return np.array([int(label) for label in family.outcomes])[codes]
    except ValueError:
        return pd.Categorical.from_codes(codes, categories=list(family.outcomes), ordered=True)


def in_categories(family: Family, y: Data) -> Array:
    """The way back: positions of a factor, labels or whole numbers.

    Raises
    ------
    DataError
        For values that are none of the categories.
    PlanError
        For counts of categories.
    """
    import pandas as pd

    if family.distribution.tallies:
        raise PlanError(
            f"a response of family {family.name!r} has a column for each category, and refit() takes one number a row: put the "
            "counts into the data, m.update(data=data)."
        )
    values = np.asarray(y)
    if values.dtype.kind in "biuf":
        return positions_among(values, family.outcomes, "y")
    codes, labels = pd.factorize(values)
    return positions_among((codes, labels.astype(str)), family.outcomes, "y")


def share_limits(p: Array, variance: Array, level: float) -> tuple[Array, Array]:
    """Limits of a probability with a normal logit (delta method); at 0 and 1 there is no width."""
    from scipy.special import expit, logit, ndtri

    slope = p * (1.0 - p)
    reach = float(ndtri(0.5 + level / 2)) * np.sqrt(variance) / np.where(slope > 0.0, slope, np.inf)
    return expit(logit(p) - reach), expit(logit(p) + reach)
