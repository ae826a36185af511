"""Named problems: a model that every peer is to fit, and its data.

Importing this module needs nothing but the standard library, so that the worker of a peer can run in an
interpreter that knows neither lmmformula nor its dependencies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["PROBLEMS", "Problem", "Term"]


@dataclass(frozen=True, slots=True)
class Term:
    """An intercept, and correlated slopes, that vary over the levels of `group`.

    Attributes
    ----------
    group : str
        The grouping column.
    slopes : tuple of str
        Columns whose slopes vary, correlated with the intercept and each other.
    within : str or None
        A coarser grouping column whose levels the levels of `group` divide, where there is one.
    """

    group: str
    slopes: tuple[str, ...] = ()
    within: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One model and how to get its data.

    Attributes
    ----------
    name : str
        Name on the command line.
    formula : str
        The model as lme4 writes it.
    response, fixed, terms
        The same model taken apart, for peers that read no formula with bars.
    method : {"reml", "ml", "laplace"}
        What is maximised; Laplace's approximation in generalised models.
    rows : int
        Number of rows.
    data : callable
        Makes the data frame; the same one each time. Needs lmmformula for data that it ships.
    loglik : float or None
        The log-likelihood at the optimum, where it is known beyond doubt: a reference file, or two
        independent peers that agree.
    family : str
        Distribution of the response, with its canonical link. A binary response is a column of 0 and 1.
    """

    name: str
    formula: str
    response: str
    fixed: tuple[str, ...]
    terms: tuple[Term, ...]
    method: Literal["reml", "ml", "laplace"]
    rows: int
    data: Callable[[], pd.DataFrame]
    loglik: float | None = None
    family: str = "gaussian"


def _shipped(name: str) -> Callable[[], pd.DataFrame]:
    def load() -> pd.DataFrame:
        from lmmformula.datasets import load_dataset

        return load_dataset(name)

    return load


def _indicator(load: Callable[[], pd.DataFrame], response: str, level: str) -> Callable[[], pd.DataFrame]:
    """The same data with the factor `response` as 1 where it is `level` and 0 elsewhere."""
    return lambda: load().assign(**{response: lambda frame: (frame[response] == level).astype(int)})


def _factor(codes: np.ndarray, letter: str, levels: int) -> pd.Categorical:
    import pandas as pd

    width = len(str(levels))
    return pd.Categorical.from_codes(codes.tolist(), [f"{letter}{i:0{width}d}" for i in range(1, levels + 1)])


def _crossed(rows: int, first: int, second: int, predictors: int, seed: int) -> Callable[[], pd.DataFrame]:
    """Two crossed factors with random intercepts; rows pair their levels at random."""

    def make() -> pd.DataFrame:
        import numpy as np
        import pandas as pd

        rng = np.random.default_rng(seed)
        g, h = rng.integers(first, size=rows), rng.integers(second, size=rows)
        x = rng.standard_normal((rows, predictors))
        slopes = np.linspace(0.5, -0.5, predictors) if predictors > 1 else np.array([0.5])
        y = 1.0 + x @ slopes + rng.standard_normal(first)[g] + 0.7 * rng.standard_normal(second)[h]
        y = y + rng.standard_normal(rows)
        columns = {"y": y, "g": _factor(g, "g", first), "h": _factor(h, "h", second)}
        return pd.DataFrame(columns | {f"x{k + 1}": x[:, k] for k in range(predictors)})

    return make


def _crossed_slopes(rows: int, subjects: int, items: int, seed: int) -> Callable[[], pd.DataFrame]:
    """Intercepts and slopes, correlated, of subjects and of items."""

    def make() -> pd.DataFrame:
        import numpy as np
        import pandas as pd

        rng = np.random.default_rng(seed)
        s, i = rng.integers(subjects, size=rows), rng.integers(items, size=rows)
        x = rng.standard_normal(rows)
        of_s = rng.standard_normal((subjects, 2)) @ np.array([[1.0, 0.3], [0.0, 0.5]])
        of_i = rng.standard_normal((items, 2)) @ np.array([[0.6, -0.2], [0.0, 0.3]])
        effects = of_s[s] + of_i[i]
        y = 2.0 + effects[:, 0] + (0.4 + effects[:, 1]) * x + rng.standard_normal(rows)
        columns = {"y": y, "x": x, "s": _factor(s, "s", subjects), "i": _factor(i, "i", items)}
        return pd.DataFrame(columns)

    return make


def _nested(schools: int, rooms: int, pupils: int, seed: int) -> Callable[[], pd.DataFrame]:
    """Pupils in rooms in schools; a room's label occurs in one school only."""

    def make() -> pd.DataFrame:
        import numpy as np
        import pandas as pd

        rng = np.random.default_rng(seed)
        room = np.repeat(np.arange(schools * rooms), pupils)
        school = room // rooms
        x = rng.standard_normal(len(room))
        y = 3.0 + 0.5 * x + 0.8 * rng.standard_normal(schools)[school]
        y = y + 0.5 * rng.standard_normal(schools * rooms)[room] + rng.standard_normal(len(room))
        factors = {"school": _factor(school, "s", schools), "room": _factor(room, "r", schools * rooms)}
        return pd.DataFrame({"y": y, "x": x} | factors)

    return make


def _popular(rng: np.random.Generator, rows: int, levels: int, shape: float) -> np.ndarray:
    """Codes of levels that each occur, and beyond that in proportion to Pareto weights of tail index `shape`."""
    import numpy as np

    weights = 1.0 + rng.pareto(shape, size=levels)
    more = rng.choice(levels, size=rows - levels, p=weights / weights.sum())
    return rng.permutation(np.concatenate([np.arange(levels), more]))


def _bernoulli(
    rows: int,
    levels: tuple[int, int],
    sds: tuple[float, float],
    coefficients: tuple[float, ...],
    seed: int,
    tails: tuple[float, float] | None = None,
) -> Callable[[], pd.DataFrame]:
    """Two crossed factors, a binary response with logit link, and AR(0.5) predictors.

    Rows pair the factors' levels at random: all alike, or with the popularity of `_popular` for tail indices
    `tails`. `coefficients` begins with the intercept. Predictors have four decimals, which keeps the file small.
    """

    def make() -> pd.DataFrame:
        import numpy as np
        import pandas as pd

        rng = np.random.default_rng(seed)
        if tails is None:
            g, h = (rng.integers(count, size=rows) for count in levels)
        else:
            g, h = (_popular(rng, rows, count, shape) for count, shape in zip(levels, tails, strict=True))
        x = rng.standard_normal((rows, len(coefficients) - 1))
        for k in range(1, x.shape[1]):
            x[:, k] = 0.5 * x[:, k - 1] + np.sqrt(0.75) * x[:, k]
        x = x.round(4)
        eta = coefficients[0] + x @ np.array(coefficients[1:])
        for codes, count, sd in zip((g, h), levels, sds, strict=True):
            eta = eta + sd * rng.standard_normal(count)[codes]
        y = (rng.random(rows) * (1.0 + np.exp(-eta)) < 1.0).astype(int)
        columns = {"y": y, "g": _factor(g, "g", levels[0]), "h": _factor(h, "h", levels[1])}
        return pd.DataFrame(columns | {f"x{k + 1}": x[:, k] for k in range(x.shape[1])})

    return make


def _ghosh(rows: int, seed: int) -> Callable[[], pd.DataFrame]:
    """Binary version of the design of Ghosh, Hastie and Owen (2022), whose factors have rows^0.56 levels each."""
    levels = round(rows**0.56)
    slopes = (-0.9, -0.6, -0.3, 0.0, 0.3, 0.6, 0.9)
    return _bernoulli(rows, (levels, levels), (0.8, 0.4), (-2.0, *slopes), seed)


def _xs(count: int) -> tuple[str, ...]:
    return tuple(f"x{k + 1}" for k in range(count))


_CROSSED = (Term("g"), Term("h"))

PROBLEMS: dict[str, Problem] = {
    problem.name: problem
    for problem in (
        Problem(
            "sleepstudy",
            "Reaction ~ Days + (Days | Subject)",
            "Reaction",
            ("Days",),
            (Term("Subject", ("Days",)),),
            "reml",
            180,
            _shipped("sleepstudy"),
            -871.814135979245,
        ),
        Problem(
            "penicillin",
            "diameter ~ 1 + (1 | plate) + (1 | sample)",
            "diameter",
            (),
            (Term("plate"), Term("sample")),
            "ml",
            144,
            _shipped("Penicillin"),
            -166.09417433425,
        ),
        Problem(
            "crossed30x20",
            "y ~ x1 + (1 | g) + (1 | h)",
            "y",
            _xs(1),
            _CROSSED,
            "reml",
            1_000,
            _crossed(1_000, 30, 20, 1, seed=1),
            -1472.331747788,
        ),
        Problem(
            "insteval",
            "y ~ service + (1 | s) + (1 | d) + (1 | dept)",
            "y",
            ("service",),
            (Term("s"), Term("d"), Term("dept")),
            "ml",
            73_421,
            _shipped("InstEval"),
            -118860.88438720,
        ),
        Problem(
            "crossed10k",
            "y ~ x1 + x2 + x3 + x4 + x5 + (1 | g) + (1 | h)",
            "y",
            _xs(5),
            _CROSSED,
            "ml",
            10_000,
            _crossed(10_000, 500, 500, 5, seed=2),
            -15461.549244357,
        ),
        Problem(
            "crossed1m",
            "y ~ x1 + x2 + x3 + (1 | g) + (1 | h)",
            "y",
            _xs(3),
            _CROSSED,
            "ml",
            1_000_000,
            _crossed(1_000_000, 10_000, 1_000, 3, seed=3),
        ),
        Problem(
            "slopes20k",
            "y ~ x + (1 + x | s) + (1 + x | i)",
            "y",
            ("x",),
            (Term("s", ("x",)), Term("i", ("x",))),
            "ml",
            20_000,
            _crossed_slopes(20_000, 200, 100, seed=4),
            -29470.186513379,
        ),
        Problem(
            "nested",
            "y ~ x + (1 | school/room)",
            "y",
            ("x",),
            (Term("school"), Term("room", within="school")),
            "ml",
            12_000,
            _nested(100, 6, 20, seed=5),
            -17650.638987919,
        ),
        Problem(
            "verbagg",
            "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)",
            "r2",
            ("Anger", "Gender", "btype", "situ"),
            (Term("id"), Term("item")),
            "laplace",
            7_584,
            _indicator(_shipped("VerbAgg"), "r2", "Y"),
            -4075.69986217689,
            family="binomial",
        ),
        Problem(
            "grouseticks",
            "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)",
            "TICKS",
            ("YEAR", "cHEIGHT"),
            (Term("BROOD", within="LOCATION"), Term("INDEX", within="BROOD"), Term("LOCATION")),
            "laplace",
            403,
            _shipped("grouseticks"),
            -890.271330087497,
            family="poisson",
        ),
        Problem(
            "binary36k",
            "y ~ x1 + x2 + x3 + x4 + x5 + x6 + x7 + (1 | g) + (1 | h)",
            "y",
            _xs(7),
            _CROSSED,
            "laplace",
            36_005,
            _ghosh(36_005, seed=6),
            -12925.0956145,
            family="binomial",
        ),
        Problem(
            "binary113k",
            "y ~ x1 + x2 + x3 + x4 + x5 + x6 + x7 + (1 | g) + (1 | h)",
            "y",
            _xs(7),
            _CROSSED,
            "laplace",
            113_458,
            _ghosh(113_458, seed=7),
            -41250.9186507,
            family="binomial",
        ),
        Problem(
            "binary5m",
            "y ~ x1 + x2 + x3 + x4 + x5 + (1 | g) + (1 | h)",
            "y",
            _xs(5),
            _CROSSED,
            "laplace",
            5_000_000,
            _bernoulli(
                5_000_000,
                (744_482, 3_547),
                (0.68**0.5, 0.21**0.5),
                (0.0, 0.5, 0.25, 0.0, -0.25, -0.5),
                seed=8,
                tails=(3.0, 1.5),
            ),
            family="binomial",
        ),
    )
}
