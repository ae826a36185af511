"""Structures of other packages that this language knows by name: what they are there, and what is available here.

One table, so that a formula copied from brms, mgcv, glmmTMB or survival gets an answer instead of a guess at a misspelling.
"""

from __future__ import annotations

__all__ = ["AROUND_A_BAR", "IN_A_RESPONSE", "OF_A_GROUP", "known_elsewhere"]

_FUNCTIONS: dict[str, tuple[str, str]] = {
    "te": (
        "a tensor-product smooth of mgcv",
        "its penalties overlap, so that it is no sum of random effects with a variance each; t2(x, z) is the tensor product "
        "that is",
    ),
    "ti": (
        "a tensor-product interaction of mgcv",
        "its penalties overlap, so that it is no sum of random effects with a variance each; t2(x, z) holds main effects and "
        "interaction with a variance each",
    ),
    "lo": ("a local regression of gam", "not available; s(x) is a smooth function of x"),
    "gp": ("a Gaussian-process term of brms", "written here as gau(0 + x | one), `one` a single level"),
    "me": (
        "a predictor with measurement error of brms",
        "not available: the column itself ignores the error",
    ),
    "mi": (
        "an imputed predictor of brms",
        "not available: its own model and that of the response would be sampled together, and method='hmc' takes one response; "
        "rows without the predictor are dropped. Missing responses are imputed, y | mi() ~ x",
    ),
    "cs": (
        "a category-specific effect of brms' ordinal families",
        "it needs family='cumulative', 'sratio', 'cratio' or 'acat' and stands alone, y ~ x + cs(z); cs(f | g) around a bar is "
        "a compound-symmetric covariance of random effects",
    ),
    "sar": ("a spatial autoregression of brms", "not available"),
    "mm": (
        "multiple membership of brms",
        "it stands right of a bar: (1 | mm(g, h))",
    ),
    "gr": ("a grouping factor of brms", "it stands right of a bar: (1 | gr(g))"),
    "cens": ("censoring of brms", "it stands left of `~`: y | cens(c) ~ x"),
    "rate": ("a rate's denominator of brms", "it stands left of `~`: y | rate(n) ~ x"),
    "subset": ("a choice of rows of brms", "it stands left of `~`: y | subset(flag) ~ x"),
    "mvbind": ("several responses of brms", "it stands left of `~`: mvbind(y1, y2) ~ x + (1 |p| g)"),
    "set_rescor": (
        "residual correlations of brms",
        "it is added to formulas: bf(mvbind(y1, y2) ~ x) + set_rescor(TRUE)",
    ),
    "nl": ("a non-linear formula of brms", "not available: predictors are linear in their coefficients"),
    "Surv": (
        "a survival time of the package survival",
        "written here as time | cens(censored) with family='weibull', 'lognormal' or another of times",
    ),
    "strata": (
        "a stratum of the package survival",
        "not available: (1 | f) or f itself model the differences",
    ),
    "frailty": ("a frailty of the package survival", "written here as a random intercept, (1 | g)"),
    "random": ("a random term of the package gam", "written here as (1 | g)"),
    "re": ("a random term of the package gamlss", "written here as (1 | g)"),
}
"""Function -> what it is, and what is available here."""

AROUND_A_BAR: dict[str, str] = {
    "hetcs": "compound symmetry with a variance for each column, of MixedModels; cs(f | g) is the same",
    "hettoep": "a Toeplitz covariance with a variance for each column, of glmmTMB; toep(f | g) is the same",
    "equalto": "a known covariance matrix, of glmmTMB; propto(0 + f | g, A) has a factor before it",
}
"""Constructors of other packages: with a bar inside they are never ordinary functions."""

OF_A_GROUP: dict[str, str] = {
    "dist": "the distribution of the effects of brms",
}
"""Arguments of brms' ``gr()``."""

IN_A_RESPONSE: dict[str, str] = {
    "dec": "decisions of a diffusion model of brms",
    "cat": "categories of an ordinal model of brms",
    "thres": "thresholds of an ordinal model of brms",
    "vint": "integers for a custom family of brms",
    "vreal": "numbers for a custom family of brms",
    "index": "an index of brms",
}
"""brms' further additions to a response, ``y | se(s)``."""


def known_elsewhere(name: str) -> str | None:
    """What a function of another package is there and whether it is available here; None if it is not known.

    Examples
    --------
    >>> known_elsewhere("strata")
    'a stratum of the package survival; not available: (1 | f) or f itself model the differences'
    """
    found = _FUNCTIONS.get(name)
    if found is None and name in AROUND_A_BAR:
        return (
            f"{AROUND_A_BAR[name]}; it stands around a random term, {name}(0 + x | g), and is not available"
        )
    if found is None and name in IN_A_RESPONSE:
        return f"{IN_A_RESPONSE[name]}; it stands left of `~` after a bar, and is not available"
    return None if found is None else f"{found[0]}; {found[1]}"
