"""statsmodels' MixedLM: one grouping factor, and variance components inside its groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks.adapters.python import PythonPeer
from benchmarks.problems import Problem, Term

if TYPE_CHECKING:
    import pandas as pd

# Crossed factors have to be variance components of one group that holds every row. Its covariance is a
# dense rows x rows matrix.
_LARGEST_DENSE = 2_000


def _outer(problem: Problem) -> Term | None:
    """The term whose groups divide the rows so that every other term lies inside them."""
    first, *rest = problem.terms
    return first if all(term.within == first.group for term in rest) else None


def refuse(problem: Problem) -> str | None:
    if problem.family != "gaussian":
        return "generalised models by variational Bayes only"
    if _outer(problem) is None:
        if any(term.slopes for term in problem.terms):
            return "no correlated slopes of crossed factors"
        if problem.rows > _LARGEST_DENSE:
            return "crossed factors need a dense rows x rows matrix"
    return None


def prepare(problem: Problem, frame: pd.DataFrame) -> Callable[[], float]:
    import statsmodels.formula.api as smf

    outer = _outer(problem)
    inner = [term for term in problem.terms if term is not outer]
    formula = f"{problem.response} ~ {' + '.join(problem.fixed) or '1'}"
    arguments = {
        "groups": outer.group if outer else "everything",
        "re_formula": "~" + " + ".join(("1", *outer.slopes)) if outer else None,
        "vc_formula": {term.group: f"0 + C({term.group})" for term in inner} or None,
    }
    # Factors as text: otherwise each group's components get a column for every level of the whole data.
    text = {term.group: frame[term.group].astype(str) for term in problem.terms}
    data = frame.assign(everything=1, **text)
    reml = problem.method == "reml"
    return lambda: smf.mixedlm(formula, data, **arguments).fit(reml=reml).llf


ADAPTER = PythonPeer("statsmodels", "statsmodels", prepare, refuse)
