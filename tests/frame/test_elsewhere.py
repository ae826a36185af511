"""Structures of other packages are known by name, and never taken for a misspelling of something else."""

from __future__ import annotations

import pytest

from lmmformula import build
from lmmformula.datasets import load_dataset
from lmmformula.errors import LmmformulaError, PlanError

COPIED = {
    "y ~ te(x, z) + (1 | g)": "te(): a tensor-product smooth of mgcv; its penalties overlap",
    "y ~ ti(x, z) + (1 | g)": "ti(): a tensor-product interaction of mgcv; its penalties overlap",
    "y ~ gp(x) + (1 | g)": "gp(): a Gaussian-process term",
    "y ~ (mo(o) | g)": "the monotonic effect `mo(o)` cannot vary by group",
    "y ~ cs(x) + (1 | g)": "cs(): a category-specific effect of brms' ordinal families",
    "y ~ x + car(W, gr = g)": "`W` is not given in data2=",
    "y ~ x + car(W | g)": "`W` is not given in data2=",
    "y ~ x + sar(W)": "sar(): a spatial autoregression of brms",
    "y ~ mvbind(x, z) + (1 | g)": "mvbind(): several responses of brms; it stands left of `~`",
    "y ~ x + set_rescor(TRUE) + (1 | g)": "set_rescor(): residual correlations of brms; it is added to formulas",
    "Surv(time, status) ~ x + (1 | g)": "Surv(): a survival time of the package survival",
    "y ~ x + mm(g, h)": "mm(): multiple membership of brms; it stands right of a bar",
    "y ~ (1 | gr(g, cov = A))": "`A` is not given in data2=",
    "y ~ hettoep(0 + o | g)": "hettoep() is not available; it is a Toeplitz covariance with a variance for each column",
    "y ~ (s(x) | g)": "the smooth `s(x)` cannot vary by group",
    "y ~ s(x):z": "the smooth `s(x)` stands within another term",
    "y ~ x + offset(me(x, w))": "me(): a predictor with measurement error",
    "bf(y ~ x + (1 | g), sigma ~ lo(x))": "lo(): a local regression of gam",
}


@pytest.mark.parametrize("formula", COPIED)
def test_what_it_is_and_whether_it_is_available(formula: str) -> None:
    with pytest.raises(LmmformulaError) as caught:
        build(formula, load_dataset("syn"))
    message = str(caught.value)
    assert COPIED[formula] in message
    assert "did you mean" not in message.lower()
    if not isinstance(caught.value, PlanError):
        assert "^" in message


def test_a_function_of_the_caller_comes_first() -> None:
    data = load_dataset("syn")
    own = build("y ~ s(x) + (1 | g)", data, context={"s": lambda v: v**2})
    assert own.X.names == ("(Intercept)", "s(x)")
