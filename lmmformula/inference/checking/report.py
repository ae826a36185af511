"""All checks of a fit, each made where it can be, the worst finding first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError, LmmformulaError
from lmmformula.inference.checking.collinearity import collinearity, dropped_columns
from lmmformula.inference.checking.dispersion import dispersion, outliers, zeros
from lmmformula.inference.checking.finding import ORDER, Finding, not_checked
from lmmformula.inference.checking.grouping import levels, slopes
from lmmformula.inference.checking.influential import influential
from lmmformula.inference.checking.linearity import linearity
from lmmformula.inference.checking.look import Look
from lmmformula.inference.checking.normality import normality_of_effects, normality_of_residuals
from lmmformula.inference.checking.search import curvature, ended
from lmmformula.inference.checking.separation import separation
from lmmformula.inference.checking.serial import in_space, in_time
from lmmformula.inference.checking.singularity import singularity
from lmmformula.inference.checking.variance import by_level, over_the_fit
from lmmformula.typing import Data

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["CHECKS", "Findings", "examine"]

CHECKS: tuple[tuple[str, Callable[[Look], list[Finding]]], ...] = (
    ("convergence", ended),
    ("curvature", curvature),
    ("separation", separation),
    ("rank", dropped_columns),
    ("singularity", singularity),
    ("dispersion", dispersion),
    ("zeros", zeros),
    ("linearity", linearity),
    ("homogeneity", over_the_fit),
    ("homogeneity", by_level),
    ("autocorrelation in time", in_time),
    ("autocorrelation in space", in_space),
    ("outliers", outliers),
    ("influence", influential),
    ("collinearity", collinearity),
    ("levels", levels),
    ("slopes", slopes),
    ("normality", normality_of_residuals),
    ("normality", normality_of_effects),
)
"""In the order of how much else they put in doubt, which is their order among findings that are equally bad."""


@dataclass(frozen=True, eq=False)
class Findings:
    """What the checks of a fit found.

    Attributes
    ----------
    findings : tuple of Finding
        Worst first.
    look : Look
        What was looked at.
    """

    findings: tuple[Finding, ...]
    look: Look

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Findings that are a problem or doubtful."""
        return tuple(f for f in self.findings if f.verdict in ORDER[:2])

    @property
    def ok(self) -> bool:
        """Whether no check found a problem; some may be in doubt."""
        return all(f.verdict != "problem" for f in self.findings)

    @property
    def frame(self) -> pd.DataFrame:
        """Columns ``check, about, verdict, statistic_is, statistic, limit, p, found``, the worst first."""
        import pandas as pd

        names = ("check", "about", "verdict", "statistic_is", "statistic", "limit", "p", "found")
        return pd.DataFrame(
            [{name: getattr(f, name) for name in names} for f in self.findings], columns=list(names)
        )

    def of(self, check: str) -> tuple[Finding, ...]:
        """Findings of one check, by its name in the column ``check``."""
        return tuple(f for f in self.findings if f.check == check)


def examine(
    fit: Fitted,
    seed: int | np.random.Generator | None = None,
    n: int = 250,
    *,
    time: Data = None,
    coords: Data = None,
    rows: Data = None,
    made: type[Findings] = Findings,
) -> Findings:
    """Make all checks.

    Parameters
    ----------
    fit : Fit
    seed : int or Generator, optional
    n : int
        Simulations.
    time, coords : str, names or arrays, optional
        When and where rows were observed.
    rows : slice, mask or array of int, optional
        Positions of the rows that are looked at; 20,000 evenly spaced ones at most by default.
    made : type
        What is returned.
    """
    drawn = np.random.default_rng(seed)
    own = int(seed) if isinstance(seed, (int, np.integer)) else int(drawn.integers(2**62))
    look = Look.at(fit, own, n, rows, time, coords)
    found: list[tuple[int, int, Finding]] = []
    for place, (name, check) in enumerate(CHECKS):
        found += [(ORDER.index(f.verdict), place, f) for f in _made(name, check, look)]
    found.sort(key=lambda item: item[:2])
    return made(tuple(f for _, _, f in found), look)


def _made(name: str, check: Callable[[Look], list[Finding]], look: Look) -> list[Finding]:
    try:
        return check(look)
    except LmmformulaError as error:
        if isinstance(error, DataError) and str(error).startswith(("time=", "coords=")):
            raise
        return [not_checked(name, str(error))]
