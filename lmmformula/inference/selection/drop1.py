r"""Terms of the fixed part, dropped one at a time: those that no other term contains.

**By F** (Gaussian fits), **by Wald's chi-square** (others): the hypothesis that the model without the term is true. With X_0
the columns of the smaller model, beta with X beta in the span of X_0 is ``beta = B gamma``, ``B = X^+ X_0``, so the
hypothesis is ``L beta = 0`` for rows L that span the complement of B; where the other terms keep their columns these are the
term's own coefficients. One fit serves all tests (lmerTest's ``drop1``).

**By likelihood ratio**: each smaller model is fitted, by maximum likelihood, since restricted likelihoods of models with
different fixed parts are those of different data (lme4's ``drop1(test = "Chisq")``). **By bootstrap**: the same ratio, and
its distribution by responses of the smaller model (Halekoh & Hojsgaard 2014).

**Smooths** have by one fit the tests of :mod:`lmmformula.inference.smooths.tests`. Without one a model loses f unpenalised
columns and v variances, which the hypothesis has at zero, the end of their range. Were their estimates independent of each
other, the ratio would be ``chi^2_(f + j)`` with probability ``C(v, j) / 2^v`` (Self & Liang 1987, case 6); the p-value is
that of this mixture. As the effects of a smooth have one level, the share of zeros is larger in truth, and the test keeps its
size (Crainiceanu & Ruppert 2004); the bootstrap has the distribution itself.

References
----------
Crainiceanu & Ruppert (2004), JRSS B 66, 165-185. Halekoh & Hojsgaard (2014), J. Stat. Software 59(9).
Self & Liang (1987), JASA 82, 605-610.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.formula import droppable, without_fixed
from lmmformula.formula.smooths import is_smooth
from lmmformula.formula.spec import Call, String
from lmmformula.inference.anova import with_smooths
from lmmformula.inference.monotonic import CAUTIOUS, has_monotonic, parameters_of_model
from lmmformula.inference.selection.null_distribution import p_of_draws
from lmmformula.inference.selection.refits import own_spec, refitted
from lmmformula.inference.selection.simulated_ratio import ratio, simulated_ratios
from lmmformula.numerics.columns import column_sizes
from lmmformula.typing import Array, Record

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.formula import ModelSpec
    from lmmformula.formula.spec import Expr
    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Cluster
    from lmmformula.inference.uncertainty import Uncertainty

__all__ = ["TESTS", "drop1", "droppable_labels", "owners"]

TESTS = ("f", "wald", "chisq", "bootstrap")
REPLICATES = 500
NOISE = 1e-9
"""Share of one below which a direction of the larger model is one of the smaller, in columns of unit size."""


def drop1(
    fit: Fitted,
    test: str | None = None,
    ddf: str = "satterthwaite",
    n: int | None = None,
    seed: int | np.random.Generator | None = None,
    vcov: str | None = None,
    cluster: Cluster = None,
) -> pd.DataFrame:
    """Tests of the terms that can be dropped; see :meth:`lmmformula.Fit.drop1`."""
    fit.problem.refuse_responses(
        "drop1()", "Ask it of a fit of one response, or compare fits by anova(m1, m2), aic and bic."
    )
    kind = usual_test(fit) if test is None else test
    if kind not in TESTS:
        raise PlanError(f"test={test!r} is unknown; use one of {', '.join(map(repr, TESTS))}, or None.")
    known = _known(fit, kind, ddf, vcov, cluster)
    spec = own_spec(fit)
    labels = droppable_labels(fit, spec)
    if not labels:
        raise PlanError(
            f"{fit.formula!r} has no term in its fixed part that could be dropped; its intercept alone is not tested here. Use "
            "summary() for that."
        )
    if known is not None:
        return _by_hypotheses(fit, spec, labels, kind, known)
    return _by_likelihood(
        fit, spec, labels, kind, REPLICATES if n is None else n, np.random.default_rng(seed)
    )


def _known(fit: Fitted, kind: str, ddf: str, vcov: str | None, cluster: Cluster) -> Uncertainty | None:
    """What tests by this fit go by; None for those by the likelihoods of several."""
    if kind not in ("f", "wald"):
        if vcov is not None or cluster is not None:
            raise PlanError(
                f"vcov= and cluster= are of tests by this fit, and test={kind!r} compares likelihoods of several: use test='f' "
                "or test='wald'."
            )
        return None
    fit.inference.check("anova")
    if kind == "f" and not fit.inference.is_gaussian:
        raise PlanError(
            f"test='f' is for Gaussian responses with one residual variance, and this is {fit.problem.family} by "
            f"{fit.method}: use test='chisq', or test='wald'."
        )
    return fit.inference.uncertainty("normal" if kind == "wald" else ddf, vcov, cluster)


def usual_test(fit: Fitted) -> str:
    """F where there is one, the likelihood ratio where there is a likelihood, else Wald's."""
    if fit.inference.is_gaussian and not has_monotonic([fit]):
        return "f"
    return "wald" if "likelihood ratio" in fit.inference.refused else "chisq"


def droppable_labels(fit: Fitted, spec: ModelSpec) -> list[str]:
    """Terms of the fit, by R's label, that no other contains; smooths after the others."""
    known, smooths = set(fit.problem.X.term_labels), smooth_terms(fit, spec)
    own = [term.label for term in droppable(spec.fixed) if term.label in known and term.label not in smooths]
    return [*own, *smooths]


def smooth_terms(fit: Fitted, spec: ModelSpec) -> dict[str, tuple[str, ...]]:
    """Label of each smooth in the formula -> those of its functions, one for each level of a ``by`` factor."""
    functions = iter(by_call(fit))
    calls = [
        (t.label, t.factors[0]) for t in spec.fixed.terms if len(t.factors) == 1 and is_smooth(t.factors[0])
    ]
    return {label: () if _is_effect(call) else next(functions, ()) for label, call in calls}


def by_call(fit: Fitted) -> list[tuple[str, ...]]:
    """Labels of the functions that each smooth has, in the order of the formula."""
    records = getattr(fit.problem.recipe, "smooths", ())
    return [tuple(r.label for r in own) for _, own in groupby(records, lambda r: r.call)]


def _is_effect(call: Expr) -> bool:
    """Whether a smooth is a random effect of a factor or a number, which is no function."""
    return isinstance(call, Call) and any(a.name == "bs" and a.value == String("re") for a in call.args)


def owners(fit: Fitted, spec: ModelSpec) -> dict[str, str]:
    """Row of a table of this module -> the term of the formula that it belongs to."""
    functions = smooth_terms(fit, spec).items()
    return {row: label for label, rows in functions for row in (label, *rows)}


# -- by one fit ----------------------------------------------------------------------------------------------------


def _by_hypotheses(
    fit: Fitted, spec: ModelSpec, labels: list[str], kind: str, known: Uncertainty
) -> pd.DataFrame:
    import pandas as pd

    smooths = smooth_terms(fit, spec)
    tests = {label: known.joint(hypothesis(fit, spec, label)) for label in labels if label not in smooths}
    index = pd.Index(list(tests), dtype=object)
    if kind == "wald":
        rows = [(t.f * t.q, t.q, t.p_value) for t in tests.values()]
        out = pd.DataFrame(rows, index=index, columns=["Chisq", "Df", "Pr(>Chisq)"], dtype=float)
    else:
        squares = [t.f * fit.sigma**2 for t in tests.values()]
        rows = [
            (s * t.q, s, t.q, t.df, t.statistic, t.p_value)
            for s, t in zip(squares, tests.values(), strict=True)
        ]
        columns = ["Sum Sq", "Mean Sq", "NumDF", "DenDF", "F value", "Pr(>F)"]
        out = pd.DataFrame(rows, index=index, columns=columns, dtype=float)
    out.attrs["heading"] = f"Single term deletions with {known.label}'s tests. Model: {fit.formula}"
    return with_smooths(fit, out)


def hypothesis(fit: Fitted, spec: ModelSpec, label: str) -> Array:
    """Rows L with L beta = 0 where the model without the term is true, (r, p)."""
    block = fit.problem.X
    own = np.flatnonzero(np.asarray(block.assign) == 1 + block.term_labels.index(label))
    if spec.fixed.intercept and not block.dropped:
        return np.eye(fit.problem.p)[own]
    small = refitted(fit, without_fixed(spec, label)).problem.X.matrix
    size, size_0 = column_sizes([block.matrix]), column_sizes([small])
    b = np.linalg.lstsq(block.matrix / size, small / size_0, rcond=None)[0]
    left, values, _ = np.linalg.svd(b)
    rank = int(np.count_nonzero(values > NOISE * values.max(initial=0.0)))
    return left[:, rank:].T * size


# -- by fits without the term ---------------------------------------------------------------------------------------


def _by_likelihood(
    fit: Fitted, spec: ModelSpec, labels: list[str], kind: str, n: int, rng: np.random.Generator
) -> pd.DataFrame:
    import pandas as pd
    from scipy.special import chdtrc

    fit.inference.check("likelihood ratio")
    by_ml: Record = {"method": "ml"} if fit.estimate.restricted else {}
    large = refitted(fit, **by_ml) if by_ml else fit
    smaller = [refitted(fit, without_fixed(spec, label), **by_ml) for label in labels]
    df = np.array([parameters_of_model(large) - parameters_of_model(small) for small in smaller], dtype=float)
    ratios = np.array([ratio(large, small) for small in smaller])
    with np.errstate(invalid="ignore"):
        p = np.where(df > 0, chdtrc(np.maximum(df, 1.0), ratios), np.nan)
    smooths = smooth_terms(fit, spec)
    for j, (label, small) in enumerate(zip(labels, smaller, strict=True)):
        if label in smooths and df[j] > 0:
            p[j] = _of_mixture(ratios[j], large.problem.p - small.problem.p, int(df[j]))
    columns = {
        "npar": [np.nan, *df],
        "AIC": [f.aic for f in (large, *smaller)],
        "LRT": [np.nan, *ratios],
        "Pr(>Chisq)": [np.nan, *p],
    }
    if kind == "bootstrap":
        drawn = [simulated_ratios(large, small, n, rng) for small in smaller]
        columns["p_value"] = [np.nan, *(p_of_draws(d, t) for d, t in zip(drawn, ratios, strict=True))]
    out = pd.DataFrame(columns, index=pd.Index(["<none>", *labels]))
    out.attrs["heading"] = f"Single term deletions by likelihood ratios. Model: {fit.formula}"
    if smooths:
        out.attrs["note"] = (
            "p-values of smooths count their variances as half zero without them, which is cautious."
        )
    if has_monotonic([large]):
        out.attrs["note"] = CAUTIOUS
    if by_ml:
        out.attrs["refitted"] = 1 + len(smaller)
    if kind == "bootstrap":
        out.attrs["note"] = (
            f"p_value by a parametric bootstrap of {n:,} responses drawn without the term each."
        )
    return out


def _of_mixture(statistic: float, free: int, df: int) -> float:
    """P-value of a likelihood ratio on `df` parameters of which those that are not `free` are variances at zero."""
    from scipy.special import chdtrc
    from scipy.stats import binom

    v = df - free
    tails = [
        float(chdtrc(free + j, statistic)) if free + j else float(statistic <= 0.0) for j in range(v + 1)
    ]
    return float(binom.pmf(np.arange(v + 1), v, 0.5) @ np.array(tails))
