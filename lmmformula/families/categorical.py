r"""Categories without an order: the multinomial logit (McFadden 1974; Agresti 2013, Categorical Data Analysis, sec. 8.1).

The first category is the reference. Each other one has a linear predictor of its own, eta_2 = eta and eta_k = a_(k-2):

    P(y = k) = e^eta_k / (1 + sum_(j>1) e^eta_j),      l = eta_y - log(1 + sum_(j>1) e^eta_j),      eta_1 = 0,

    dl/deta_k = [y = k] - p_k,      d2l/(deta_k deta_j) = -p_k ([k = j] - p_j),
    d3l/(deta_2^2 deta_k) = p_2 p_k (1 - 2 p_2) for k > 2,   -p_2 (1 - p_2) (1 - 2 p_2) for k = 2.

brms calls the predictors mu2, mu3, ... by their categories, as the auxiliary parameters are called here; the formula of the
model is that of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.categories import Categories, learnt_categories
from lmmformula.families.outcomes import Outcomes
from lmmformula.families.records import Array, Aux, Density, Maybe, Part
from lmmformula.typing import Namespace, Numbers

__all__ = ["Categorical"]


def _itself(x: Numbers) -> Numbers:
    return x


@dataclass(frozen=True, slots=True)
class Categorical(Outcomes):
    """Multinomial logit.

    Attributes
    ----------
    categories : tuple of str
        The first is the reference; known once a response is.
    """

    name: ClassVar[str] = "categorical"
    links: ClassVar[tuple[str, ...]] = ("logit",)
    alike: ClassVar[bool] = True
    categories: tuple[str, ...] = ()

    @property
    def outcomes(self) -> tuple[str, ...]:
        return self.categories

    @property
    def parameters_in_words(self) -> str:
        return "`mu`, then `mu3`, ... by category (logit)"

    @property
    def mean_name(self) -> str:
        return f"mu{self.categories[1]}" if self.categories else ""

    def of_response(self, part: Categories, name: str) -> Self:
        return replace(self, categories=learnt_categories(part, name, self.name, ordered=False))

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        first = self.categories[0] if self.categories else ""
        return tuple(
            Auxiliary(
                f"mu{category}",
                f"log-odds of {category} against {first}",
                _itself,
                _itself,
                role="shape",
                range="real",
                link="identity",
                prior="student_t(3, 0, 2.5)",
                title=f"mu{category}",
            )
            for category in self.categories[2:]
        )

    def _counts(self, y: Array) -> Array:
        """How often each category occurs in each row, (K, n)."""
        return np.asarray(y == self._scores.reshape(-1, *(1,) * np.ndim(y)), float)

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        eta = (c[0], *aux)
        chosen, total = 0.0 * c[0], xp.logaddexp(0.0, c[0])
        for k, own in enumerate(eta, 2):
            chosen = xp.where(y == k, own, chosen)
            total = total if k == 2 else xp.logaddexp(total, own)
        return chosen - total

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density:
        value, p = self._shares(c[0], aux)
        counts = self._counts(y)
        trials = counts.sum(axis=0)
        loglik = constant + np.sum(np.where(counts > 0.0, counts * value, 0.0), axis=0)
        own = p[1]
        score, rest = counts[1] - trials * own, trials * own * (1.0 - own)
        if not derivatives:
            return Density(loglik, (Part(score, -rest),))
        others = [trials * own * q for q in p[2:]]
        part = Part(
            score,
            -rest,
            -rest * (1.0 - 2.0 * own),
            tuple(others),
            tuple(q * (1.0 - 2.0 * own) for q in others),
        )
        slopes = tuple(n - trials * q for n, q in zip(counts[2:], p[2:], strict=True))
        return Density(loglik, (part,), slopes)

    @staticmethod
    def _shares(eta: Array, aux: Aux) -> tuple[Array, Array]:
        """Logarithms of the probabilities, and these, (K, n)."""
        shape = np.broadcast_shapes(np.shape(eta), *map(np.shape, aux))
        every: Sequence[Maybe] = (0.0, eta, *aux)
        scores = np.array([np.broadcast_to(v, shape) for v in every])
        top = scores.max(axis=0)
        raw = np.exp(scores - top)
        total = raw.sum(axis=0)
        return scores - top - np.log(total), raw / total

    def probabilities(self, mu: Array, aux: Aux) -> Array:
        return self._shares(np.asarray(mu), aux)[1]

    def start(self, y: Array, w: Maybe) -> Array:
        counts = np.maximum(self.events(y, w), 0.5)
        own = self._counts(y)
        return np.log(counts[1] / counts[0]) + (own[1] - own[0]) / np.maximum(own.sum(axis=0), 1.0)

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        counts = np.maximum(self.events(y, w), 0.5)
        return tuple(np.log(counts[2:] / counts[0]).tolist())
