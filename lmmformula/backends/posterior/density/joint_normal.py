"""A normal response whose log sigma is a linear predictor of its own, all effects of both sampled."""

from __future__ import annotations

import numpy as np

from lmmformula.backends.posterior.density.joint import JointDensity
from lmmformula.backends.posterior.density.partial import begun, sampled_predictors, whitened
from lmmformula.backends.posterior.model.cells import Cells
from lmmformula.backends.posterior.model.predictor import laid_out
from lmmformula.backends.posterior.model.starts import start_of
from lmmformula.engines.base import Engine
from lmmformula.ir.priors import Priors
from lmmformula.ir.problem import Problem

__all__ = ["joint_of_normal"]


def joint_of_normal(problem: Problem, engine: Engine, priors: Priors) -> JointDensity:
    """The density, which begins at a fit of the mean and a model of its residuals."""
    start, cells, every = start_of(problem, engine), Cells.single(problem.n), range(len(problem.terms))
    placed, outer, d = laid_out(sampled_predictors(problem, every, priors, start, cells, fixed=True))
    begin = np.zeros(d)
    at = begun(begin, placed, start, every, start.beta)
    return JointDensity(problem, placed, whitened(placed, start, cells, at), begin, outer)
