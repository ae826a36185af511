"""Models of the study of Bayesian fits: the forms and sizes of Lai, Domke & Sheldon (2024), with simulated responses.

Reading times are simulated on the log scale, where the lognormal model is a normal one. Two data sets are shipped with
the package: InstEval, and grouseticks, of which a normal model of log(ticks + 1) is fitted, since effects integrate out of
normal responses only.

``stroop`` has random effects in log sigma too; it stands apart, since not every way of the study can fit it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DISTRIBUTIONAL", "MODELS", "BayesModel", "stroop"]


@dataclass(frozen=True, slots=True)
class BayesModel:
    """One model.

    Attributes
    ----------
    name, formula : str
    groups : tuple of str
        Its grouping factors: the classes of random effects, one of which may be integrated out alone.
    make : callable
        The frame, the same at every call.
    times : bool
        Whether y is the logarithm of a time, so that ``exp(y)`` is lognormal.
    """

    name: str
    formula: str
    groups: tuple[str, ...]
    make: Callable[[], pd.DataFrame]
    times: bool = False


@dataclass(frozen=True, slots=True)
class _Class:
    """Random effects of one grouping factor in the truth: its levels, and sds of intercept and slope."""

    name: str
    levels: int
    sds: tuple[float, float]


def _crossed(
    classes: Sequence[_Class], rows: int, beta: tuple[float, float], sigma: float, seed: int
) -> pd.DataFrame:
    """A Latin square of a two-valued condition x over all cells, of which `rows` are kept at random.

    Every class has correlated intercepts and slopes, correlation -0.3.
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    sizes = [c.levels for c in classes[:2]]
    copies = -(-rows // int(np.prod(sizes)))
    cell = np.sort(rng.permutation(copies * int(np.prod(sizes)))[:rows]) % int(np.prod(sizes))
    codes = [cell // sizes[-1] % sizes[0], cell % sizes[-1]][: len(sizes)]
    codes += [rng.integers(c.levels, size=rows) for c in classes[2:]]
    x = np.where((codes[0] + codes[1]) % 2 == 0, 1.0, -1.0)
    y = beta[0] + beta[1] * x + sigma * rng.standard_normal(rows)
    for own, code in zip(classes, codes, strict=True):
        effects = _effects(rng, own)[code]
        y += effects[:, 0] + x * effects[:, 1]
    frame = {c.name: [f"{c.name[0]}{i}" for i in code] for c, code in zip(classes, codes, strict=True)}
    return pd.DataFrame(frame | {"x": x, "y": y})


def _effects(rng: np.random.Generator, own: _Class, correlation: float = -0.3) -> np.ndarray:
    """Intercepts and slopes (levels, 2)."""
    z = rng.standard_normal((own.levels, 2))
    z[:, 1] = correlation * z[:, 0] + np.sqrt(1.0 - correlation**2) * z[:, 1]
    return z * np.array(own.sds)


def _series(
    name: str,
    levels: int,
    rows: int,
    x: Sequence[float],
    truth: tuple[float, float, float, float, float],
    seed: int,
) -> pd.DataFrame:
    """One class, x repeated within each level; truth is intercept, slope, the sds of both, and sigma."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    code = np.sort(np.arange(rows) % levels)
    values = np.asarray(x, dtype=float)[rng.integers(len(x), size=rows)]
    effects = _effects(rng, _Class(name, levels, truth[2:4]))[code]
    y = truth[0] + effects[:, 0] + (truth[1] + effects[:, 1]) * values
    y += truth[4] * rng.standard_normal(rows)
    return pd.DataFrame({name: [f"{name[0]}{i}" for i in code], "x": values, "y": y})


def _sentences(seed: int) -> pd.DataFrame:
    """Voltages of 334 subjects at words of 80 sentences, 26,176 of all pairs; x is how probable the word is.

    Each sentence has a probable and an improbable word, of which a subject reads one.
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    subjects, items, rows = 334, 80, 26_176
    cell = np.sort(rng.permutation(subjects * items)[:rows])
    subj, item = cell // items, cell % items
    cloze = np.column_stack([rng.beta(0.5, 12.0, items), rng.beta(6.0, 2.5, items)])
    x = cloze[item, (subj + item) % 2]
    y = 2.6 + 2.2 * x + 11.0 * rng.standard_normal(rows)
    for code, own in (
        (subj, _Class("subj", subjects, (2.2, 1.5))),
        (item, _Class("item", items, (1.5, 2.0))),
    ):
        effects = _effects(rng, own)[code]
        y += effects[:, 0] + x * effects[:, 1]
    frame = {"subj": [f"s{i}" for i in subj], "item": [f"i{i}" for i in item]}
    return pd.DataFrame(frame | {"x": x, "y": y})


def stroop(subjects: int, rows: int, seed: int) -> pd.DataFrame:
    """Log response times whose mean and log standard deviation both vary between subjects and conditions x.

    A third of the trials has x = -1; trials are lost at random until `rows` are left.
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    trials = -(-rows // subjects) + 2
    subj, x = np.repeat(np.arange(subjects), trials), np.tile(np.resize([-1.0, 1.0, 1.0], trials), subjects)
    mean, spread = (_effects(rng, _Class("subj", subjects, sds))[subj] for sds in ((0.12, 0.02), (0.25, 0.1)))
    log_sigma = -1.4 + spread[:, 0] + (0.09 + spread[:, 1]) * x
    y = 6.33 + mean[:, 0] + (0.035 + mean[:, 1]) * x + np.exp(log_sigma) * rng.standard_normal(len(x))
    frame = pd.DataFrame({"subj": [f"s{i}" for i in subj], "x": x, "y": y})
    return frame.iloc[np.sort(rng.permutation(len(frame))[:rows])].reset_index(drop=True)


def _pairs(seed: int) -> pd.DataFrame:
    """96 pairs of classes in four grades, one of each pair treated: 192 rows."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    pair, treatment = np.repeat(np.arange(96), 2), np.tile([0.0, 1.0], 96)
    grade = pair // 24
    y = np.array([75.0, 95.0, 105.0, 112.0])[grade] + np.array([8.0, 4.0, 2.0, 1.0])[grade] * treatment
    y += 8.0 * rng.standard_normal(96)[pair] + 4.0 * rng.standard_normal(192)
    frame = {"pair": [f"p{i}" for i in pair], "grade": [f"g{i + 1}" for i in grade]}
    return pd.DataFrame(frame | {"treatment": treatment, "y": y})


def _grouse() -> pd.DataFrame:
    """Of the shipped data, log(ticks + 1) as y."""
    from lmmformula import load_dataset

    frame = load_dataset("grouseticks")
    return frame.assign(y=np.log(frame["TICKS"] + 1.0))


def _insteval() -> pd.DataFrame:
    """Of the shipped data, with department by service as a factor of its own."""
    from lmmformula import load_dataset

    frame = load_dataset("InstEval")
    return frame.assign(dept_service=frame["dept"].astype(str) + ":" + frame["service"].astype(str))


def _reading(name: str, rows: int, levels: Sequence[int], seed: int, *, times: bool = False) -> BayesModel:
    """Log reading times with maximal correlated slopes of every class."""
    names = ("subj", "item", "list")[: len(levels)]
    sds = ((0.25, 0.06), (0.15, 0.05), (0.08, 0.03))
    classes = tuple(_Class(n, m, s) for n, m, s in zip(names, levels, sds, strict=False))
    formula = "y ~ x + " + " + ".join(f"(1 + x | {n})" for n in names)
    return BayesModel(name, formula, names, partial(_crossed, classes, rows, (6.0, 0.05), 0.5, seed), times)


_PUPIL = (1_000.0, 60.0, 250.0, 30.0, 200.0)
_FIBROSIS = (2_800.0, -4.0, 800.0, 6.0, 150.0)

MODELS = {
    m.name: m
    for m in (
        BayesModel(
            "pupil",
            "y ~ x + (1 + x | subj)",
            ("subj",),
            partial(_series, "subj", 20, 2_228, range(6), _PUPIL, 1),
        ),
        _reading("dutch", 372, (24, 16), 2),
        _reading("english", 768, (48, 16), 3),
        _reading("mandarin", 547, (37, 15), 4, times=True),
        _reading("mandarin2", 595, (40, 15), 5, times=True),
        _reading("gg05", 672, (42, 16, 4), 6, times=True),
        _reading("dillonE1", 2_855, (40, 48), 7, times=True),
        BayesModel(
            "eeg", "y ~ x + (1 + x | subj) + (1 + x | item)", ("subj", "item"), partial(_sentences, 10)
        ),
        BayesModel(
            "grouseticks", "y ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)", ("BROOD", "LOCATION"), _grouse
        ),
        BayesModel("electric", "y ~ grade * treatment + (1 | pair)", ("pair",), partial(_pairs, 8)),
        BayesModel(
            "fibrosis",
            "y ~ x + (1 + x | patient)",
            ("patient",),
            partial(_series, "patient", 176, 1_549, range(0, 56, 6), _FIBROSIS, 9),
        ),
        BayesModel(
            "insteval",
            "y ~ service + (1 | s) + (1 | d) + (1 | dept_service)",
            ("s", "d", "dept_service"),
            _insteval,
        ),
    )
}
"""Every model, in the order of tables."""

DISTRIBUTIONAL = {
    "stroop": BayesModel(
        "stroop",
        "bf(y ~ x + (1 + x | subj), sigma ~ x + (1 + x | subj))",
        ("subj",),
        partial(stroop, 50, 3_058, 11),
        times=True,
    )
}
"""Models with a formula of log sigma."""
