r"""Seeded data for logistic regression with two crossed random intercepts.

Two designs, both from Ghosh, Hastie & Owen (2022): :func:`sparse_cells`, that of their simulations, and :func:`retail`, which
has the size, the variances and the kinds of predictors of their example of clients who keep or return items::

    P(y_ij = 1 | a, b) = expit(x_ij' beta + a_i + b_j),      a_i ~ N(0, sigma_A^2),   b_j ~ N(0, sigma_B^2)

Coefficients and variances are on the scale of the log odds; a generator with the same arguments gives the same rows.

References
----------
Ghosh, Hastie & Owen (2022), Scalable logistic regression with crossed random effects, Electron. J. Stat. 16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

__all__ = ["FLAT", "SLOPED", "Crossed", "retail", "sparse_cells"]

FLAT = (-2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""The paper's first setting: an intercept and seven slopes of zero."""
SLOPED = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)
"""Its second setting."""

_POWER = 0.56
_MOST = 1.2716
_AUTOCORRELATION = 0.5
_CHUNK = 4_000_000

_FULL_ROWS = 5_000_000
_FULL_CLIENTS = 744_482
_FULL_ITEMS = 3_547
_TAILS = (3.0, 1.5)
_MATERIALS = (0.0, *np.linspace(-0.45, 0.4, 15).round(2).tolist())
_FITS = (0.0, 0.3, -0.2, 0.1, -0.4, 0.2)
_SEASONS = (0.0, 0.15, -0.1, 0.05)
_STYLES = {"edgy": (-0.2, -0.3, 0.4), "boho": (0.1, 0.1, 0.3)}
_NUMBERS = {"match": 0.6, "chest": -0.1, "age": 0.15, "price": -0.25}
_INTERCEPT = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Crossed:
    """Rows, the model that made them, and its parameters.

    Attributes
    ----------
    frame : DataFrame
        Response ``y`` of 0 and 1, then predictors, and the two grouping factors last.
    formula : str
        As lme4 writes it.
    beta : Series
        True coefficients under the names of treatment coding, the intercept first.
    sd : tuple of two floats
        sigma_A and sigma_B in the order of the formula.
    """

    frame: pd.DataFrame
    formula: str
    beta: pd.Series
    sd: tuple[float, float]


def sparse_cells(size: int, seed: int, beta: Sequence[float] = SLOPED) -> Crossed:
    """The design of the paper's simulations.

    Each factor has ``ceil(size^0.56)`` levels, R and C of them. Cell (i, j) holds one row with probability
    ``U_ij size / (R C)``, ``U_ij ~ Uniform(1, 1.2716)``, independently, so there are about 1.136 `size` rows; levels without
    rows drop out. The predictors are standard normal with correlation ``0.5^|k - l|``, rounded to four decimals, which
    keeps files small.

    Parameters
    ----------
    size : int
        S of the paper, the lower bound of the expected number of rows.
    seed : int
    beta : sequence of floats
        Intercept and slopes.

    Notes
    -----
    Time is O(R C) = O(size^1.12) for the cells, memory O(rows). The program that comes with the paper draws
    predictors with correlation ``0.56^|k - l|``, since a global variable hides the argument; here it is the paper's 0.5.
    """
    rng = np.random.default_rng([1, seed])
    levels = int(np.ceil(size**_POWER))
    codes = _observed(rng, levels, size / levels**2)
    x = rng.standard_normal((len(codes[0]), len(beta) - 1))
    for k in range(1, x.shape[1]):
        x[:, k] = _AUTOCORRELATION * x[:, k - 1] + np.sqrt(1.0 - _AUTOCORRELATION**2) * x[:, k]
    x = x.round(4)
    sd = (0.8, 0.4)
    y = _response(rng, beta[0] + x @ np.array(beta[1:]), codes, sd)
    names = [f"x{k + 1}" for k in range(x.shape[1])]
    columns = {name: x[:, k] for k, name in enumerate(names)}
    frame = pd.DataFrame({"y": y, **columns, "g": _factor(codes[0], "g"), "h": _factor(codes[1], "h")})
    formula = " + ".join(["y ~ 1", *names, "(1 | g)", "(1 | h)"])
    return Crossed(frame, formula, pd.Series(list(beta), ["(Intercept)", *names]), sd)


def _observed(rng: np.random.Generator, levels: int, density: float) -> tuple[np.ndarray, np.ndarray]:
    """Codes of the observed cells of a square, drawn some of its lines at a time."""
    rows, columns = [], []
    step = max(_CHUNK // levels, 1)
    for first in range(0, levels, step):
        shape = (min(step, levels - first), levels)
        chance = density * rng.uniform(1.0, _MOST, shape)
        i, j = np.nonzero(rng.random(shape) < chance)
        rows.append(i + first)
        columns.append(j)
    return _without_gaps(np.concatenate(rows)), _without_gaps(np.concatenate(columns))


def _without_gaps(codes: np.ndarray) -> np.ndarray:
    """The codes after levels without rows have dropped out."""
    return np.unique(codes, return_inverse=True)[1]


def retail(rows: int, seed: int) -> Crossed:
    """Clients who keep or return the items they were sent: 34 coefficients, two factors with heavy tails.

    At 5,000,000 rows there are 744,482 clients and 3,547 items, as in the paper. With fewer rows the clients shrink in
    proportion, so that a client keeps 6.7 rows on average, and the items with the square root: in proportion there would
    be too few of them to tell 16 materials apart, and unchanged too few rows of each. At 1/50 these are 14,890 clients and
    502 items with 199 rows on average in the place of 1,410. Every level has a row; further rows fall on levels in proportion
    to Pareto weights of tail index 3 (clients) and 1.5 (items), independently.

    Variances are the paper's estimates, 0.68 of clients and 0.21 of items. The coefficients are invented, and so are the
    names, for the kinds that the paper has:

    ==================================================== ==================================================
    of the client                                        edgy, boho (0, 1), age, chest (standard normal)
    of the item                                          edgy, boho (0, 1), price (standard normal), material (16), fit (6)
    of the row                                           match of client and item (standard normal), season (4)
    of client and item together                          products of the two edgy and of the two boho scores
    ==================================================== ==================================================

    Parameters
    ----------
    rows : int
    seed : int
    """
    rng = np.random.default_rng([2, seed])
    clients = round(_FULL_CLIENTS * rows / _FULL_ROWS)
    items = round(_FULL_ITEMS * (rows / _FULL_ROWS) ** 0.5)
    if clients < 1 or items < len(_MATERIALS):
        raise ValueError(
            f"{rows} rows leave {clients} clients and {items} items, fewer than the {len(_MATERIALS)} materials. "
            "Ask for 1,000 rows or more."
        )
    client, item = (_popular(rng, rows, m, t) for m, t in zip((clients, items), _TAILS, strict=True))
    frame = _predictors(rng, client, item, clients, items)
    beta = _coefficients()
    eta = _predictor(frame, beta)
    sd = (0.68**0.5, 0.21**0.5)
    frame.insert(0, "y", _response(rng, eta, (client, item), sd))
    frame["client"], frame["item"] = _factor(client, "c"), _factor(item, "i")
    styles = [f"client_{s} * item_{s}" for s in _STYLES]
    formula = " + ".join([*_NUMBERS, *styles, "material", "fit", "season", "(1 | client)", "(1 | item)"])
    return Crossed(frame, f"y ~ {formula}", beta, sd)


def _predictors(
    rng: np.random.Generator, client: np.ndarray, item: np.ndarray, clients: int, items: int
) -> pd.DataFrame:
    """Predictors of clients, items and rows, each row's own."""
    numbers = {
        "match": rng.standard_normal(len(client)),
        "chest": rng.standard_normal(clients)[client],
        "age": rng.standard_normal(clients)[client],
        "price": rng.standard_normal(items)[item],
    }
    columns: dict[str, object] = {name: values.round(3) for name, values in numbers.items()}
    for style, share in zip(_STYLES, (0.3, 0.25), strict=True):
        columns[f"client_{style}"] = (rng.random(clients) < share).astype(np.int8)[client]
        columns[f"item_{style}"] = (rng.random(items) < share).astype(np.int8)[item]
    columns["material"] = _labels(_shared(rng, items, len(_MATERIALS))[item], "m", len(_MATERIALS))
    columns["fit"] = _labels(_shared(rng, items, len(_FITS))[item], "f", len(_FITS))
    columns["season"] = _labels(rng.integers(len(_SEASONS), size=len(client)), "s", len(_SEASONS))
    return pd.DataFrame(columns)


def _coefficients() -> pd.Series:
    """The 34 true coefficients under the names that the formula gives them."""
    beta = {"(Intercept)": _INTERCEPT, **_NUMBERS}
    for style, (of_client, of_item, _) in _STYLES.items():
        beta |= {f"client_{style}": of_client, f"item_{style}": of_item}
    for name, letter, values in (
        ("material", "m", _MATERIALS),
        ("fit", "f", _FITS),
        ("season", "s", _SEASONS),
    ):
        beta |= {f"{name}{letter}{k:02d}": v for k, v in enumerate(values, start=1) if k > 1}
    return pd.Series(beta | {f"client_{s}:item_{s}": both for s, (_, _, both) in _STYLES.items()})


def _predictor(frame: pd.DataFrame, beta: pd.Series) -> np.ndarray:
    """X beta, column by column."""
    eta = np.full(len(frame), beta["(Intercept)"])
    for name in _NUMBERS:
        eta += beta[name] * frame[name].to_numpy()
    for style in _STYLES:
        of_client, of_item = f"client_{style}", f"item_{style}"
        c, i = frame[of_client].to_numpy(dtype=float), frame[of_item].to_numpy(dtype=float)
        eta += beta[of_client] * c + beta[of_item] * i + beta[f"{of_client}:{of_item}"] * c * i
    for name, values in (("material", _MATERIALS), ("fit", _FITS), ("season", _SEASONS)):
        eta += np.array(values)[frame[name].cat.codes]
    return eta


def _shared(rng: np.random.Generator, items: int, levels: int) -> np.ndarray:
    """A level for each item, shares in proportion to 1 / (k + 3): the rarest level is never left out."""
    weights = 1.0 / (np.arange(levels) + 4.0)
    ends = np.round(np.cumsum(weights) / weights.sum() * (items - levels)).astype(int)
    counts = np.diff(ends, prepend=0) + 1
    return rng.permutation(np.repeat(np.arange(levels), counts))


def _popular(rng: np.random.Generator, rows: int, levels: int, tail: float) -> np.ndarray:
    """Codes of levels that each occur, and beyond that in proportion to Pareto weights of index `tail`."""
    weights = 1.0 + rng.pareto(tail, size=levels)
    more = rng.choice(levels, size=rows - levels, p=weights / weights.sum())
    return rng.permutation(np.concatenate([np.arange(levels), more]))


def _response(
    rng: np.random.Generator, eta: np.ndarray, codes: Sequence[np.ndarray], sd: Sequence[float]
) -> np.ndarray:
    """Zeros and ones with log odds eta + a + b."""
    for level, spread in zip(codes, sd, strict=True):
        eta = eta + spread * rng.standard_normal(int(level.max()) + 1)[level]
    return (rng.random(len(eta)) * (1.0 + np.exp(-eta)) < 1.0).astype(np.int8)


def _factor(codes: np.ndarray, letter: str) -> pd.Categorical:
    return _labels(codes, letter, int(codes.max()) + 1)


def _labels(codes: np.ndarray, letter: str, levels: int) -> pd.Categorical:
    """Categories letter01, letter02, ..., as many digits as the last one needs, two at least."""
    width = max(len(str(levels)), 2)
    dtype = pd.CategoricalDtype([f"{letter}{k:0{width}d}" for k in range(1, levels + 1)])
    return pd.Categorical.from_codes(codes, dtype=dtype)
