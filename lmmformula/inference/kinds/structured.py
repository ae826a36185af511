"""Gaussian fits with structured residuals: by likelihood, with tests of t and F."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.inference.conditional import random_effects
from lmmformula.inference.kinds.asymptotic import Asymptotic
from lmmformula.inference.records import Rows, Wanted
from lmmformula.inference.residuals import linear_predictor
from lmmformula.inference.spreads import varcorr_spreads
from lmmformula.inference.structure.parameters import structure_parameters
from lmmformula.inference.structure.record import StructureParameter
from lmmformula.inference.structure.rows import cluster_covariances, noise
from lmmformula.inference.wald import information
from lmmformula.inference.wald_tidy import tidied_spreads
from lmmformula.ir.structured import spherical_draws
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Structured"]


@dataclass(frozen=True)
class Structured(Asymptotic):
    """Inference by the curvature of a likelihood with structured residuals."""

    @property
    def _label(self) -> str:
        residual = self.fit.problem.residual
        return "" if residual is None else residual.label or "sigma ~"

    # -- estimates ------------------------------------------------------------------------------------------------

    @property
    def n_parameters(self) -> int:
        return super().n_parameters + len(self.fit.estimate.residual)

    def curvature(self) -> tuple[tuple[str, ...], Array] | None:
        residual = self.fit.problem.residual
        names = [f"residual {j + 1}" for j in range(0 if residual is None else residual.n_psi)]
        if self.fit.is_singular:
            return None
        return (*self.fit.problem.theta_names(), *names), self.fit.optimum.hessian

    # -- random effects -------------------------------------------------------------------------------------------

    def theta_covariance(self) -> tuple[Array | None, str]:
        fit, count = self.fit, self.fit.problem.n_theta
        own = information(fit).covariance
        move = np.eye(len(own))
        move[:count, :count] = fit.standard.d_theta(fit.standard.theta_in(fit.estimate.theta))
        return move @ own @ move.T, ""

    def structure_parameters(self) -> tuple[StructureParameter, ...]:
        return structure_parameters(self.fit)

    def varcorr_errors(self) -> tuple[list[float], list[str]]:
        errors, reasons = super().varcorr_errors()
        more = [p.spread for p in structure_parameters(self.fit)]
        return [*errors, *(s.error for s in more)], [*reasons, *(s.reason for s in more)]

    def effect_covariances(self) -> tuple[Array, ...]:
        return cluster_covariances(self.fit)

    def tidy_spreads(self, level: float | None) -> pd.DataFrame:
        import pandas as pd

        shown, known = random_effects(self.fit), varcorr_spreads(self.fit)
        more = structure_parameters(self.fit)
        own = tidied_spreads(shown, known, level)
        rows = [
            {
                "effect": "ran_pars",
                "component": "residual",
                "group": p.group,
                "term": p.name,
                "estimate": p.spread.value,
                "std_error": p.spread.error,
                **(
                    {}
                    if level is None
                    else dict(zip(("conf_low", "conf_high"), p.spread.interval(level), strict=True))
                ),
            }
            for p in more
        ]
        return pd.concat([own, pd.DataFrame(rows).reindex(columns=own.columns)], ignore_index=True)

    # -- rows -----------------------------------------------------------------------------------------------------

    def responses(self, n: int, rng: np.random.Generator) -> Iterable[Array]:
        return self.replicates(n, rng, conditional=False)

    def replicates(
        self, n: int, rng: np.random.Generator, *, conditional: bool, rows: Index | None = None
    ) -> Iterator[Array]:
        fit, estimate = self.fit, self.fit.estimate
        problem = fit.problem
        drawn = noise(fit, n, rng)
        for _ in range(n):
            effects = estimate.modes
            if not conditional:
                effects = [
                    spherical_draws(t, estimate.theta[s], rng)
                    @ (estimate.sigma * t.covariance.cholesky(estimate.theta[s])).T
                    for t, s in zip(problem.terms, problem.theta_slices(), strict=True)
                ]
            y = linear_predictor(fit, effects) + next(drawn)
            yield y if rows is None else y[rows]

    def predict(
        self, rows: Rows, wanted: Wanted, weights: Array | None, rng: np.random.Generator
    ) -> pd.Series | pd.DataFrame:
        if wanted.interval == "prediction" and any(np.isnan(a).all() for a in rows.aux):
            raise PlanError(
                f"interval='prediction' of new rows needs the standard deviation of each, which {self._label} has for "
                "those of the fit alone: ask for interval='confidence', or for predictions of the rows of the fit."
            )
        return super().predict(rows, wanted, weights, rng)
