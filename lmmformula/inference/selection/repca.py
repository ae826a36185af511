r"""How many directions the random effects of each grouping factor have: singular values of L (lme4's ``rePCA``).

``Sigma = L L'``, relative to sigma^2: with ``L = U D V'`` the columns of U are the principal directions of one level's
effects and D their standard deviations (Bates, Kliegl, Vasishth & Baayen 2015). Terms on one grouping factor are
taken together. A standard deviation of zero is a direction in which nothing varies: the random part is larger than the data
support.

The values depend on the units of the columns. What counts as zero must not: it is found in the fit's standard units, in which
columns have unit size, as less than `NEGLIGIBLE` of the largest there.

References
----------
Bates, Kliegl, Vasishth & Baayen (2015), Parsimonious mixed models, arXiv:1506.04967.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["Components", "RandomComponents", "repca"]

NEGLIGIBLE = 1e-4
"""Share of the largest standard deviation, in standard units, below which a direction is none (as isSingular of lme4)."""


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """Principal components of the effects of one grouping factor.

    Attributes
    ----------
    group : str
    columns : tuple of str
    sdev : (k,) array
        Standard deviations relative to sigma, largest first, in the units of the columns.
    rotation : (k, k) array
        Directions, one a column.
    zero : int
        How many directions have no variance.
    """

    group: str
    columns: tuple[str, ...]
    sdev: Array
    rotation: Array
    zero: int

    @property
    def proportion(self) -> Array:
        """Share of each in the sum of the variances; nan if all are zero."""
        squares = self.sdev**2
        total = float(squares.sum())
        return squares / total if total > 0.0 else np.full(len(squares), np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class RandomComponents:
    """Principal components of the random effects, by grouping factor."""

    groups: tuple[Components, ...] = field(repr=False)

    def __getitem__(self, group: str) -> Components:
        for own in self.groups:
            if own.group == group:
                return own
        known = ", ".join(own.group for own in self.groups)
        raise PlanError(f"there is no grouping factor {group!r}; the fit has {known}. Use one of these.")

    @property
    def zero(self) -> int:
        """Directions without variance, of all groups together."""
        return sum(own.zero for own in self.groups)

    @property
    def frame(self) -> pd.DataFrame:
        """A row a component: ``group, component, sdev, proportion, cumulative, is_zero`` and its loadings."""
        import pandas as pd

        parts = []
        for own in self.groups:
            k = len(own.sdev)
            loadings = {column: own.rotation[j] for j, column in enumerate(own.columns)}
            parts.append(
                pd.DataFrame(
                    {
                        "group": own.group,
                        "component": np.arange(1, k + 1),
                        "sdev": own.sdev,
                        "proportion": own.proportion,
                        "cumulative": np.cumsum(own.proportion),
                        "is_zero": np.arange(k) >= k - own.zero,
                        **loadings,
                    }
                )
            )
        return pd.concat(parts, ignore_index=True)


def repca(fit: Fitted) -> RandomComponents:
    """Principal components of the random effects; see :meth:`lmmformula.Fit.repca`."""
    if not fit.problem.terms:
        raise PlanError(f"{fit.formula!r} has no random effects; fit a model with some to look at theirs.")
    ours, standard = _factors(fit, standard=False), _factors(fit, standard=True)
    out = []
    for group, (columns, factor) in ours.items():
        u, d, _ = np.linalg.svd(factor)
        own = np.linalg.svd(standard[group][1], compute_uv=False)
        largest = float(own.max(initial=0.0))
        zero = len(own) if largest == 0.0 else int(np.count_nonzero(own < NEGLIGIBLE * largest))
        out.append(Components(group, columns, d, u, zero))
    return RandomComponents(tuple(out))


def _factors(fit: Fitted, *, standard: bool) -> dict[str, tuple[tuple[str, ...], Array]]:
    """Columns and L of each grouping factor, its terms side by side, in the user's units or the standard ones."""
    problem = fit.standard.problem if standard else fit.problem
    theta = fit.standard.inward(fit.estimate).theta if standard else fit.estimate.theta
    found: dict[str, list[tuple[tuple[str, ...], Array]]] = {}
    for term, where in zip(problem.terms, problem.theta_slices(), strict=True):
        found.setdefault(term.group, []).append((term.columns, term.covariance.cholesky(theta[where])))
    out = {}
    for group, terms in found.items():
        size = sum(len(columns) for columns, _ in terms)
        factor, at = np.zeros((size, size)), 0
        for columns, own in terms:
            factor[at : at + len(columns), at : at + len(columns)] = own
            at += len(columns)
        out[group] = (tuple(c for columns, _ in terms for c in columns), factor)
    return out
