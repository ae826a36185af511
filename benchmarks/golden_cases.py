"""The fits of the golden record: a formula, its data, arguments of ``fit``, and what is recorded besides the ordinary.

Each is small. Together they go through every method, family, covariance kind and way of sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CASES", "Case"]

Data = Callable[[], "pd.DataFrame"]


@dataclass(frozen=True, slots=True)
class Case:
    """One fit.

    Attributes
    ----------
    name, formula : str
    data : callable
        Makes the frame, the same one each time.
    options : mapping
        Further arguments of ``fit``.
    extras : tuple of str
        Of "kenward-roger", "profile", "bootstrap", "full", "refit": what is too dear to be recorded of every fit.
    """

    name: str
    formula: str
    data: Data
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    extras: tuple[str, ...] = ()


def _shipped(name: str, **more: Callable[[pd.DataFrame], Any]) -> Data:
    """A shipped data set with further columns."""

    def make() -> pd.DataFrame:
        from lmmformula import load_dataset

        return load_dataset(name).assign(**more)

    return make


def _few_persons() -> pd.DataFrame:
    from lmmformula import load_dataset

    frame = load_dataset("VerbAgg")
    first = list(dict.fromkeys(frame["id"]))[:50]
    return frame.loc[frame["id"].isin(first)].reset_index(drop=True)


@cache
def _crossed() -> pd.DataFrame:
    """600 rows: three crossed factors, one nested in the first, predictors, and a response of every family's kind."""
    import pandas as pd

    rng = np.random.default_rng(20240611)
    n = 600
    a, b, c = rng.integers(0, 24, n), rng.integers(0, 15, n), rng.integers(0, 8, n)
    x, z = rng.normal(size=n), rng.uniform(-1.0, 1.0, n)
    effect_a = rng.normal(size=(24, 2)) * (0.6, 0.4)
    effect_b, effect_c = rng.normal(size=15) * 0.5, rng.normal(size=8) * 0.3
    eta = 0.4 + 0.5 * x - 0.3 * z + effect_a[a, 0] + effect_a[a, 1] * x + effect_b[b] + effect_c[c]
    mean = np.exp(0.5 * eta)
    share = 1.0 / (1.0 + np.exp(-eta))
    trials = rng.integers(1, 9, n)
    zero = rng.uniform(size=n) < 0.2
    counts = rng.negative_binomial(2.0, 2.0 / (2.0 + mean))
    return pd.DataFrame(
        {
            "a": np.array([f"a{i:02d}" for i in a]),
            "b": np.array([f"b{i:02d}" for i in b]),
            "c": np.array([f"c{i}" for i in c]),
            "inner": np.array([f"r{i}" for i in rng.integers(0, 3, n)]),
            "f": np.array(["low", "mid", "high"])[rng.integers(0, 3, n)],
            "x": x,
            "z": z,
            "w": rng.uniform(0.5, 2.0, n),
            "k": rng.integers(1, 4, n),
            "o": 0.2 * rng.normal(size=n),
            "y": eta + 0.7 * rng.normal(size=n),
            "spread": eta + np.exp(-0.4 + 0.4 * x + 0.3 * effect_b[b]) * rng.normal(size=n),
            "heavy": eta + 0.6 * rng.standard_t(4.0, n),
            "positive": mean * rng.gamma(5.0, 0.2, n),
            "wald": rng.wald(mean, 4.0 * mean),
            "logged": np.exp(0.5 * eta + 0.4 * rng.normal(size=n)),
            "count": rng.poisson(mean),
            "over": counts,
            "zeros": np.where(zero, 0, counts),
            "zeros_poisson": np.where(zero, 0, rng.poisson(2.0 * mean)),
            "yes": (rng.uniform(size=n) < share).astype(int),
            "trials": trials,
            "hits": rng.binomial(trials, share),
            "share": np.clip(rng.beta(6.0 * share, 6.0 * (1.0 - share)), 1e-4, 1.0 - 1e-4),
        }
    ).assign(
        misses=lambda d: d.trials - d.hits, proportion=lambda d: d.hits / d.trials, twice=lambda d: 2 * d.x
    )


@cache
def _series() -> pd.DataFrame:
    """40 series of six occasions, autocorrelated."""
    import pandas as pd

    rng = np.random.default_rng(77)
    level = np.empty((40, 6))
    level[:, 0] = rng.normal(size=40)
    for t in range(1, 6):
        level[:, t] = 0.7 * level[:, t - 1] + np.sqrt(1 - 0.49) * rng.normal(size=40)
    two = np.repeat(level.ravel(), 2)
    return pd.DataFrame(
        {
            "id": np.repeat([f"s{i:02d}" for i in range(40)], 12),
            "time": np.tile(np.repeat([f"t{t}" for t in range(6)], 2), 40),
            "x": rng.normal(size=480),
            "y": 1.0 + two + 0.5 * rng.normal(size=480),
        }
    )


@cache
def _nested() -> pd.DataFrame:
    """1,800 rows of 30 schools of five rooms, for the engine that eliminates nested groups."""
    import pandas as pd

    rng = np.random.default_rng(8)
    school, room = np.repeat(np.arange(30), 60), np.tile(np.repeat(np.arange(5), 12), 30)
    x = rng.normal(size=1800)
    y = 2.0 + 0.5 * x + rng.normal(size=30)[school] + 0.6 * rng.normal(size=150)[school * 5 + room]
    return pd.DataFrame({"school": school, "room": room, "x": x, "y": y + rng.normal(size=1800)})


@cache
def _pupils() -> pd.DataFrame:
    """14 subjects of ten log-normal times each, whose spread differs."""
    import pandas as pd

    rng = np.random.default_rng(19)
    subject, x = np.repeat(np.arange(14), 10), np.tile(np.linspace(-1.0, 1.0, 10), 14)
    own, width = rng.normal(size=(14, 2)) * (0.4, 0.2), 0.3 * rng.normal(size=14)
    log = 1.0 + 0.3 * x + own[subject, 0] + own[subject, 1] * x
    noise = np.exp(-1.0 + 0.2 * x + width[subject]) * rng.normal(size=140)
    return pd.DataFrame({"subj": [f"p{i:02d}" for i in subject], "x": x, "rt": np.exp(log + noise)})


_SLEEP, _CBPP, _OWLS = _shipped("sleepstudy"), _shipped("cbpp"), _shipped("Owls")
_WEIGHTED = _shipped("sleepstudy", w=lambda d: 0.5 + (np.arange(len(d)) % 7) / 4.0)
_RATES = _shipped("cbpp", rate=lambda d: d.incidence / d["size"])
_KR = ("kenward-roger",)

_LINEAR = (
    Case(
        "reml-us",
        "Reaction ~ Days + (Days | Subject)",
        _SLEEP,
        extras=(*_KR, "profile", "bootstrap", "full", "refit"),
    ),
    Case("ml-us", "Reaction ~ Days + (Days | Subject)", _SLEEP, {"method": "ml"}),
    Case("reml-bars", "Reaction ~ Days + (Days || Subject)", _SLEEP, extras=_KR),
    Case("reml-diag", "score ~ Machine + diag(0 + Machine | Worker)", _shipped("Machines"), extras=_KR),
    Case("reml-us-factor", "score ~ Machine + (Machine | Worker)", _shipped("Machines"), extras=_KR),
    Case("reml-cs", "score ~ Machine + cs(0 + Machine | Worker)", _shipped("Machines"), extras=_KR),
    Case("ml-cs-slope", "Reaction ~ Days + cs(Days | Subject)", _SLEEP, {"method": "ml"}),
    Case("reml-ar1", "y ~ x + ar1(0 + time | id)", _series, extras=("profile",)),
    Case("reml-crossed", "diameter ~ 1 + (1 | plate) + (1 | sample)", _shipped("Penicillin"), extras=_KR),
    Case(
        "reml-dense", "diameter ~ 1 + (1 | plate) + (1 | sample)", _shipped("Penicillin"), {"engine": "dense"}
    ),
    Case("ml-nested", "strength ~ 1 + (1 | batch / cask)", _shipped("Pastes"), {"method": "ml"}),
    Case("reml-chain", "y ~ x + (1 | school / room)", _nested),
    Case("reml-split-plot", "yield ~ Variety * nitro + (1 | Block / Variety)", _shipped("Oats"), extras=_KR),
    Case("reml-singular", "Yield ~ 1 + (1 | Batch)", _shipped("Dyestuff2")),
    Case("reml-three", "y ~ x + f + (x | a) + (1 | b) + (1 | c)", _crossed, extras=("bootstrap",)),
    Case("ml-slopes", "y ~ x * z + (x | a) + (x || b)", _crossed, {"method": "ml"}),
    Case("reml-mixed-kinds", "y ~ x + f + cs(f | a) + diag(x + z | b) + (1 | c:inner)", _crossed),
    Case("reml-dummy", 'y ~ x + f + (0 + dummy(f, "low") | a) + (1 |q| b) + (0 + x |q| b)', _crossed),
    Case("reml-weights", "Reaction ~ Days + (Days | Subject)", _WEIGHTED, {"weights": "w"}, _KR),
    Case("ml-repeats", "y | weights(k) ~ x + (1 | a) + (1 | b)", _crossed, {"method": "ml"}),
    Case("reml-offset", "y ~ x + offset(o) + (1 | a)", _crossed, {"offset": "z"}),
    Case("reml-rank-deficient", "y ~ x + twice + f + (1 | a)", _crossed),
    Case("reml-poly", "distance ~ poly(age, 2) * Sex + (age | Subject)", _shipped("Orthodont"), extras=_KR),
    Case("reml-splines", "y ~ ns(x, 3) + bs(z, df = 4) + scale(w) + (1 | a)", _crossed),
    Case("reml-contrasts", "y ~ f * x + (1 | a)", _crossed, {"contrasts": {"f": "contr.sum"}}),
    Case("lm", "y ~ x * f", _crossed, {"weights": "w"}),
)


def _laplace(name: str, formula: str, family: str, *extras: str, data: Data = _crossed, **more: Any) -> Case:
    return Case(name, formula, data, {"family": family, **more}, extras)


_TICKS = "TICKS ~ YEAR + HEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)"
_TICK_DATA = _shipped("grouseticks", HEIGHT=lambda d: (d.HEIGHT - d.HEIGHT.mean()) / 50.0)
_RATE = "rate ~ period + (1 | herd)"
_NEGOTIATION = "SiblingNegotiation ~ FoodTreatment * SexParent + offset(log(BroodSize)) + (1 | Nest)"

_GENERALISED = (
    _laplace("binomial-rate", _RATE, "binomial", "profile", "bootstrap", "full", data=_RATES, weights="size"),
    _laplace("binomial-cbind", "cbind(hits, misses) ~ x + (x | a) + (1 | b)", "binomial"),
    _laplace("binomial-nagq0", _RATE, "binomial", data=_RATES, weights="size", nagq=0),
    _laplace("binomial-nagq9", _RATE, "binomial", data=_RATES, weights="size", nagq=9),
    _laplace("binomial-quadrature-slope", "yes ~ x + (x | a)", "binomial", nagq=5),
    _laplace("probit-expected", "yes ~ x + f + (x || a)", "binomial('probit')", information="expected"),
    _laplace("probit", "y ~ trt + I(week > 2) + (1 | ID)", "binomial('probit')", data=_shipped("bacteria")),
    _laplace("cloglog", "yes ~ x + cs(0 + f | a) + (1 | c)", "binomial('cloglog')"),
    _laplace("binary", "r2 ~ Anger + Gender + situ + (1 | id) + (1 | item)", "binomial", data=_few_persons),
    _laplace("poisson-nested", _TICKS, "poisson", data=_TICK_DATA),
    _laplace("poisson-ar1", "count ~ x + ar1(0 + f | a)", "poisson"),
    _laplace("poisson-weights", "count ~ x + (1 | a)", "poisson", weights="k", offset="o"),
    _laplace("poisson-zi", "zeros_poisson ~ x + (1 | a)", "poisson", ziformula="~ z"),
    _laplace("nbinom1-zi", _NEGOTIATION, "nbinom1", data=_OWLS, ziformula="~ 1"),
    _laplace("nbinom2", "over ~ x + (1 | a) + (1 | b)", "nbinom2"),
    _laplace("nbinom2-dispersion", "over ~ x + (1 | a)", "nbinom2", dispformula="~ z"),
    _laplace("nbinom2-zi", "zeros ~ x + (1 | a)", "zero_inflated_nbinom2"),
    _laplace("gamma", "positive ~ x + f + (1 | a) + (1 | b)", "gamma('log')"),
    _laplace("gamma-inverse", "positive ~ z + (1 | b)", "gamma('inverse')"),
    _laplace("inverse-gaussian", "wald ~ x + (1 | a)", "inverse_gaussian('log')", weights="w"),
    _laplace("beta", "share ~ x + (1 | a) + (1 | b)", "beta", dispformula="~ z"),
    _laplace("lognormal", "logged ~ x + (x | a)", "lognormal"),
    _laplace("student", "heavy ~ x + (1 | a) + (1 | b)", "student"),
    _laplace("student-df", "heavy ~ x + (1 | a)", "student(df=4)"),
    _laplace("gaussian-log", "positive ~ x + (1 | a)", "gaussian('log')"),
    _laplace("gaussian-dispersion", "spread ~ x + (1 | a) + (1 | b)", "gaussian", dispformula="~ x"),
    _laplace("laplace-dense", "count ~ x + (1 | a) + (1 | b)", "poisson", engine="dense"),
    _laplace("laplace-singular", "count ~ x + (x | b)", "poisson"),
    _laplace("binary-three", "yes ~ x + z + (1 | a) + (1 | inner) + (1 | b:inner)", "binomial"),
    _laplace("glm-binomial", "yes ~ x * f", "binomial"),
    _laplace("glm-gamma", "positive ~ x + z", "gamma('log')"),
)


def _quasi(name: str, formula: str, family: str, **more: Any) -> Case:
    return Case(name, formula, _crossed, {"family": family, "method": "pql", **more})


_QUASI = (
    _quasi("pql-gaussian", "y ~ x + (x | a) + (1 | b)", "gaussian", traces="diagonal"),
    _quasi("pql-binary", "yes ~ x + (1 | a) + (1 | b)", "binomial"),
    _quasi("pql-corrected", "yes ~ x + (1 | a) + (1 | b)", "binomial", correction="laplace"),
    _quasi("pql-slopes", "count ~ x + (x | a) + diag(x | b) + (1 | c)", "poisson", traces="exact"),
    _quasi("pql-cs", "count ~ x + cs(0 + f | a)", "poisson", dispersion="fixed"),
    _quasi("pql-gamma", "positive ~ x + (1 | a) + (1 | b)", "gamma('log')", weights="w"),
    Case(
        "krylov-gaussian",
        "y ~ x + (1 | a) + (1 | b) + (1 | c)",
        _crossed,
        {"method": "krylov", "seed": 3},
    ),
    Case(
        "krylov-slopes",
        "y ~ x + (x | a) + (1 | b)",
        _crossed,
        {"method": "krylov", "preconditioner": "ssor", "probes": 16, "seed": 3},
    ),
    Case(
        "krylov-binary",
        "yes ~ x + (1 | a) + (1 | b)",
        _crossed,
        {"method": "krylov", "family": "binomial", "seed": 3},
    ),
)


def _chains(name: str, formula: str, data: Data, **more: Any) -> Case:
    options = {"method": "hmc", "chains": 2, "draws": 100, "seed": 11}
    return Case(name, formula, data, {**options, **more})


_PRIORS = {"b": "student_t(3, 0, 20)", "sd": "half_normal(40)", "cor": "lkj(2)", "sigma": "exponential(0.03)"}
_POSTERIOR = (
    _chains("hmc-nuts", "Reaction ~ Days + (Days | Subject)", _SLEEP, sampler="nuts", priors=_PRIORS),
    _chains("hmc-importance", "Reaction ~ Days + (Days | Subject)", _SLEEP, sampler="importance"),
    _chains("hmc-crossed", "y ~ x + (1 | a) + (1 | b)", _crossed, sampler="nuts"),
    _chains("hmc-cs", "y ~ x + cs(0 + f | a) + (1 | b)", _crossed, sampler="importance"),
    _chains("hmc-ar1", "y ~ x + ar1(0 + time | id)", _series, sampler="importance"),
    _chains("hmc-repeats", "y | weights(k) ~ x + (1 | a)", _crossed, sampler="importance"),
    _chains("hmc-one-class", "y ~ x + (1 | a) + (1 | b)", _crossed, marginalize=["a"]),
    _chains("hmc-none", "Reaction ~ Days + (1 | Subject)", _SLEEP, marginalize="none"),
    _chains("hmc-lognormal", "rt ~ x + (x || subj)", _pupils, family="lognormal", sampler="importance"),
    _chains("hmc-sigma", "bf(rt ~ x + (x | subj), sigma ~ x + (1 | subj))", _pupils, family="lognormal"),
    _chains("hmc-poisson", "count ~ x + (1 | a)", _crossed, family="poisson"),
    _chains("hmc-laplace", _RATE, _RATES, family="binomial", weights="size", marginalize="laplace"),
    _chains(
        "hmc-laplace-importance",
        "over ~ x + (1 | a)",
        _crossed,
        family="nbinom2",
        marginalize="laplace",
        sampler="importance",
    ),
    _chains("hmc-zi", "zeros ~ x + (1 | a)", _crossed, family="nbinom1", ziformula="~ z"),
    _chains("hmc-student", "heavy ~ x", _crossed, family="student"),
    _chains("hmc-lm", "y ~ x + z", _crossed, sampler="nuts"),
)

CASES = {case.name: case for case in (*_LINEAR, *_GENERALISED, *_QUASI, *_POSTERIOR)}
"""Every case, in the order of the record."""
