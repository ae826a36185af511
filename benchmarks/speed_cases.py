"""Fits whose speed the page of benchmarks shows: the model, who else fits it, and what its arithmetic takes at the least.

Importing this module needs the standard library alone, so that a peer's interpreter can read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.problems import PROBLEMS, Problem, Term

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["WORK", "Least", "Work"]


@dataclass(frozen=True, slots=True)
class Least:
    """What no program that works in this way can do without.

    Attributes
    ----------
    words : str
        What is counted.
    stream : float
        Bytes that are read or written in order.
    gather : float
        Cache lines of 64 bytes that are fetched from anywhere.
    flops : float
        Multiplications and additions of dense linear algebra.
    """

    words: str
    stream: float = 0.0
    gather: float = 0.0
    flops: float = 0.0

    def seconds(self, rates: Mapping[str, float]) -> float:
        """At the rates of a machine (:mod:`benchmarks.speed_machine`), one after the other."""
        return self.stream / rates["stream"] + self.gather / rates["gather"] + self.flops / rates["flops"]


@dataclass(frozen=True, slots=True)
class Work:
    """One line of the page.

    Attributes
    ----------
    title : str
        What is fitted, in the words of the page.
    problem : Problem
        Model and data, as every peer gets them.
    options : mapping
        Further arguments of ``fit``.
    peers : tuple of str
        Of :data:`benchmarks.adapters.PEERS`.
    least : Least or None
    published : str
        What others have reported for the same work on other machines, with its source.
    errors : bool
        Whether standard errors are part of our time; otherwise they are measured beside it.
    gigabytes : float
        About the memory that a measurement takes.
    """

    title: str
    problem: Problem
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    peers: tuple[str, ...] = ()
    least: Least | None = None
    published: str = ""
    errors: bool = False
    gigabytes: float = 1.0

    @property
    def name(self) -> str:
        return self.problem.name


_CROSSED = (Term("g"), Term("h"))
_XS = tuple(f"x{k}" for k in range(1, 6))


def _krylov(
    name: str, family: str, rows: int, levels: tuple[int, int], tails: float | None = None
) -> Problem:
    """Two crossed factors, of :mod:`benchmarks.krylov_data`."""

    def make() -> pd.DataFrame:
        from benchmarks.krylov_data import Setting
        from benchmarks.krylov_process import frame

        return frame(Setting(family, rows, levels, tail=tails).arrays())

    formula = f"y ~ {' + '.join(_XS)} + (1 | g) + (1 | h)"
    method = "ml" if family == "gaussian" else "laplace"
    return Problem(name, formula, "y", _XS, _CROSSED, method, rows, make, family=family)


def _retail(name: str, rows: int) -> Problem:
    """Clients by items, of :mod:`benchmarks.crossed_logit`."""

    def make() -> pd.DataFrame:
        from benchmarks.crossed_logit import retail

        return retail(rows, seed=1).frame

    numbers = ("match", "chest", "age", "price")
    styles = ("client_edgy * item_edgy", "client_boho * item_boho")
    fixed = (*numbers, *styles, "material", "fit", "season")
    formula = f"y ~ {' + '.join(fixed)} + (1 | client) + (1 | item)"
    terms = (Term("client"), Term("item"))
    return Problem(name, formula, "y", fixed, terms, "laplace", rows, make, family="binomial")


def _clustered(name: str, rows: int, levels: tuple[int, int], tail: float, family: str) -> Problem:
    """No predictors: ratings of films by users, both of heavy-tailed popularity."""

    def make() -> pd.DataFrame:
        import pandas as pd

        from benchmarks.krylov_data import Setting

        made = Setting(family, rows, levels, tail=tail).arrays()
        return pd.DataFrame({name: made[name] for name in ("y", "g", "h")})

    formula = "y ~ 1 + (1 | g) + (1 | h)"
    return Problem(name, formula, "y", (), _CROSSED, "ml", rows, make, family=family)


WORK = {
    work.name: work
    for work in (
        Work(
            "sleepstudy, intercepts and slopes, REML",
            PROBLEMS["sleepstudy"],
            peers=("glmm", "mixedlm", "lme4"),
        ),
        Work(
            "InstEval, three crossed factors, ML",
            PROBLEMS["insteval"],
            peers=("glmm", "mixedlm", "lme4", "lme4-advised"),
        ),
        Work(
            "VerbAgg, two crossed factors, binomial, Laplace",
            PROBLEMS["verbagg"],
            peers=("glmm", "mixedlm", "lme4", "lme4-advised", "lme4-nagq0"),
        ),
        Work(
            "Gaussian, 1,000,000 rows, 50,000 x 50,000 levels, ML",
            _krylov("gaussian1e6", "gaussian", 1_000_000, (50_000, 50_000)),
            {"method": "krylov"},
            peers=("gpboost",),
            least=Least(
                "42 products, each a line of a block of effects for each pair of levels on the way there and back and "
                "16 bytes of the pair; 4 lines a pair for tr K^2, 4 for its place; 3 passes over rows of 56 bytes",
                stream=3 * 56e6 + 42 * 16e6,
                gather=(42 * 2 + 8) * 1e6,
            ),
        ),
        Work(
            "Bernoulli, 1,000,000 rows, 50,000 x 50,000 levels, Laplace",
            _krylov("bernoulli1e6", "binomial", 1_000_000, (50_000, 50_000)),
            {"method": "krylov"},
            peers=("gpboost",),
            least=Least(
                "the same with 210 products and 5 times tr K^2; 40 passes over rows of 40 bytes",
                stream=40 * 40e6 + 210 * 16e6,
                gather=(210 * 2 + 5 * 4 + 4) * 1e6,
            ),
        ),
        Work(
            "Gaussian, 10,000,000 rows, 500,000 x 500,000 levels, ML",
            _krylov("gaussian1e7", "gaussian", 10_000_000, (500_000, 500_000)),
            {"method": "krylov"},
            gigabytes=8.0,
        ),
        Work(
            "Bernoulli, 10,000,000 rows, 500,000 x 500,000 levels, Laplace",
            _krylov("bernoulli1e7", "binomial", 10_000_000, (500_000, 500_000)),
            {"method": "krylov"},
            gigabytes=8.0,
        ),
        Work(
            "MovieLens-25M's shape: Gaussian, 25,000,000 rows, 162,000 x 59,000 levels of heavy-tailed popularity, ML",
            _clustered("movielens25m", 25_000_000, (162_541, 59_047), 1.2, "gaussian"),
            {"method": "krylov"},
            published="MixedModels.jl: 71 s an evaluation on 48 cores",
            gigabytes=9.0,
        ),
        Work(
            "Clients by items, binary, 5,000,000 rows, 744,482 x 3,547 levels, 34 coefficients: quasi-likelihood",
            _retail("pql5e6", 5_000_000),
            {"method": "pql"},
            gigabytes=4.0,
        ),
        Work(
            "The same: quasi-likelihood, corrected",
            _retail("pql5e6-corrected", 5_000_000),
            {"method": "pql", "correction": "laplace"},
            gigabytes=4.0,
        ),
        Work(
            "The same: Laplace's approximation, exact",
            _retail("laplace5e6", 5_000_000),
            {"method": "laplace", "engine": "blocked"},
            published="found infeasible by Ghosh, Hastie & Owen (2022)",
            gigabytes=4.0,
        ),
    )
}
"""Every case, in the order of the page."""
