r"""What penalised quasi-likelihood leaves out of the Laplace approximation, at O(N).

For a canonical link and phi = 1 the Laplace log-likelihood (:mod:`lmmformula.criteria.laplace`) is stationary where

    u:      Lambda'Z's = u
    beta:   X's + g = 0,                        g = X'(- lev w' + W Z Lambda v) / 2
    theta:  m I - T - sum (u u' - (u v' + v u') / 2) = 0

with s the scores, w' = dW/deta, ``lev = diag(Z Lambda M^-1 Lambda'Z')``, ``v = M^-1 Lambda'Z'(lev w')`` and T the sums of the
diagonal blocks of M^-1. PQL is the same with w' = 0: it takes the weights as if they did not depend on u (Breslow & Clayton
1993, sec. 2.1), which for binary data with few rows in a level makes its coefficients and variances too small (Breslow & Lin
1995). Adding g to X'Wz and v to Schall's equations at each outer iteration moves the fixed point from one to the other.

With exact traces the fixed point is the Laplace estimate itself. With diagonal ones lev and T come from the operators M_a^-1 of
one factor each, and v from backfitting, all O(N); what is then left out of lev is of the order of one over the product of the
numbers of rows of two levels.

References
----------
Breslow & Clayton (1993), Approximate inference in generalized linear mixed models, JASA 88.
Breslow & Lin (1995), Bias correction in generalised linear mixed models with a single component of dispersion, Biometrika 82.
"""

from __future__ import annotations

from lmmformula.criteria.leverage import leverage
from lmmformula.criteria.working import WorkingModel
from lmmformula.criteria.working_rows import Shift, State
from lmmformula.engines.base import Prepared
from lmmformula.ir.blocks import Gram
from lmmformula.ir.sums import AdjointOf, TransposedOf

__all__ = ["shift"]


def shift(model: WorkingModel, state: State, gram: Gram) -> Shift | None:
    """g and L v at a state, of a model that is corrected. One pass over the rows, O(N (p + sum k)), and one solution with M."""
    if not model.corrected:
        return None
    factors, data = model.factors(state.theta), model.data
    engine: Prepared = model.prepared if model.exact is None else model.exact
    factor = engine.factor(gram, factors)
    rows = model.rows(state.eta, state.alpha, derivatives=True)
    lev = leverage(data, factors, factor.inverse())
    (push,) = data.map(lambda chunk, h, bend: (h * bend,), lev, rows.weight_eta)
    by_level, by_column = data.together(AdjointOf(push), TransposedOf(push))
    c = tuple((r @ f)[..., None] for r, f in zip(by_level, factors, strict=True))
    effects = tuple(v[..., 0] @ f.T for v, f in zip(factor.solve(c), factors, strict=True))
    return Shift(0.5 * (gram.columns_times(effects) - by_column), effects)
