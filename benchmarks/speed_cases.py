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
        from benchmarks.krylov_data import Setting, frame

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


def _slopes(name: str, rows: int, levels: int) -> Problem:
    """An intercept and three slopes on each of two crossed factors."""

    def make() -> pd.DataFrame:
        from benchmarks.speed_designs import crossed_slopes

        return crossed_slopes(rows, levels)

    xs = ("x1", "x2", "x3")
    terms = (Term("g", xs), Term("h", xs))
    both = " + ".join(f"({' + '.join(xs)} | {factor})" for factor in ("g", "h"))
    return Problem(name, f"y ~ {' + '.join(xs)} + {both}", "y", xs, terms, "reml", rows, make)


def _columns(name: str, rows: int, levels: int, columns: int) -> Problem:
    """Counts, one grouping factor, many predictors."""

    def make() -> pd.DataFrame:
        from benchmarks.speed_designs import many_columns

        return many_columns(rows, levels, columns)

    xs = tuple(f"x{j + 1}" for j in range(columns))
    formula = f"y ~ {' + '.join(xs)} + (1 | g)"
    return Problem(name, formula, "y", xs, (Term("g"),), "laplace", rows, make, family="poisson")


MRP = {
    "state": 0.4,
    "income": 0.2,
    "ethnicity": 0.6,
    "age": 0.2,
    "region": 0.2,
    "state:income": 0.15,
    "state:ethnicity": 0.25,
    "state:age": 0.1,
    "income:ethnicity": 0.1,
    "income:age": 0.15,
    "ethnicity:age": 0.1,
    "state:income:ethnicity": 0.15,
    "state:income:age": 0.1,
    "state:ethnicity:age": 0.1,
    "income:ethnicity:age": 0.1,
}
"""Factors of deep interactions, with the standard deviation of their effects on the log odds: 3,724 effects."""


def _interactions(name: str) -> Problem:
    """Multilevel regression of a poll on its cells, with all their interactions."""

    def make() -> pd.DataFrame:
        from benchmarks.speed_designs import deep_interactions

        return deep_interactions(MRP)

    terms = tuple(map(Term, MRP))
    formula = f"cbind(y, n) ~ z + inc + {' + '.join(f'(1 | {factor})' for factor in MRP)}"
    return Problem(name, formula, "y", ("z", "inc"), terms, "laplace", 4_080, make, family="binomial")


def _cells(name: str, size: int) -> Problem:
    """Two crossed factors of equally many levels, of :mod:`benchmarks.crossed_logit`."""

    def make() -> pd.DataFrame:
        from benchmarks.crossed_logit import sparse_cells

        return sparse_cells(size, 1).frame

    xs = tuple(f"x{k}" for k in range(1, 8))
    formula = f"y ~ {' + '.join(xs)} + (1 | g) + (1 | h)"
    return Problem(name, formula, "y", xs, _CROSSED, "laplace", size, make, family="binomial")


def _by_iterations(pairs: float) -> Least:
    """What a Gaussian fit of so many rows, each a pair of levels of its own, does on the Krylov engine."""
    return Least(
        "50 halves of products with blocks of columns in single precision, each a line of a block of effects for each pair of "
        "levels and 8 bytes of the pair, and 47 with one column or two, 20 bytes; 2 times 3 lines a pair to write N in order; "
        "3 passes over rows of 56 bytes",
        stream=(3 * 56 + 50 * 8 + 47 * 20) * pairs,
        gather=(50 + 2 * 3) * pairs,
    )


def _by_iterations_and_modes(pairs: float) -> Least:
    """The same of a Bernoulli fit, with three evaluations of the criterion beside rough ones."""
    return Least(
        "the same with 108 halves with blocks and 331 with one column or two, N written 16 times; 10 sums by level of six "
        "columns, 155 of one or values by level, and 24 passes of the family, over rows of 56, 24 and 48 bytes",
        stream=(10 * 56 + 155 * 24 + 24 * 48 + 108 * 8 + 331 * 20) * pairs,
        gather=(108 + 16 * 3) * pairs,
    )


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
            least=_by_iterations(1e6),
        ),
        Work(
            "Bernoulli, 1,000,000 rows, 50,000 x 50,000 levels, Laplace",
            _krylov("bernoulli1e6", "binomial", 1_000_000, (50_000, 50_000)),
            {"method": "krylov"},
            peers=("gpboost",),
            least=_by_iterations_and_modes(1e6),
        ),
        Work(
            "Gaussian, 10,000,000 rows, 500,000 x 500,000 levels, ML",
            _krylov("gaussian1e7", "gaussian", 10_000_000, (500_000, 500_000)),
            {"method": "krylov"},
            least=_by_iterations(1e7),
            gigabytes=8.0,
        ),
        Work(
            "Bernoulli, 10,000,000 rows, 500,000 x 500,000 levels, Laplace",
            _krylov("bernoulli1e7", "binomial", 10_000_000, (500_000, 500_000)),
            {"method": "krylov"},
            least=_by_iterations_and_modes(1e7),
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
        Work(
            "Crossed random slopes, four columns on both factors, Gaussian, 100,000 rows, 999 x 999 levels, REML",
            _slopes("slopes1e5", 100_000, 999),
            {"engine": "blocked"},
            least=Least(
                "a factorisation of side 3,996, n^3 / 3 operations; three and an inverse, 5 n^3 / 3, in single precision, of "
                "which a machine does twice as many in a second",
                flops=7.0 / 6.0 * 3_996.0**3,
            ),
            published="Ghandwani et al. (2023): 4.3 s and 7.9 s for moments, lmer 1,504 s",
            gigabytes=1.5,
        ),
        Work(
            "The same, by iterations",
            _slopes("slopes1e5-krylov", 100_000, 999),
            {"engine": "krylov"},
        ),
        Work(
            "Crossed random slopes, 1,000,000 rows, 3,981 x 3,981 levels, by iterations",
            _slopes("slopes1e6", 1_000_000, 3_981),
            {"engine": "krylov"},
            published="Ghandwani et al. (2023): 15.2 s and 8.4 s for moments",
            gigabytes=4.0,
        ),
        Work(
            "Counts, 500,000 rows, 20,000 levels, 20 predictors, Laplace, with standard errors",
            _columns("counts5e5", 500_000, 20_000, 20),
            errors=True,
        ),
        Work(
            "Two crossed factors, binary, 226,730 rows, 931 x 931 levels, Laplace, with standard errors",
            _cells("cells2e5", 200_000),
            errors=True,
        ),
        Work(
            "Multilevel regression with 3,724 effects in 15 factors, binomial, 4,080 cells, Laplace",
            _interactions("mrp"),
            published="Goplerud et al. (2024), their own approximation: 96 s, mean field 1,027 s",
        ),
    )
}
"""Every case, in the order of the page."""
