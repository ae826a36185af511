r"""Ordered categories 1, ..., K by thresholds tau_1, ..., tau_(K-1) on a latent scale (McCullagh 1980; Agresti 2010).

With x_j = tau_j - eta and F the distribution function of :mod:`lmmformula.families.latent`,

    cumulative  P(y <= k) = F(x_k)             proportional odds and its relatives (Agresti, sec. 3.3, 5.1)
    sratio      P(y = k | y >= k) = F(x_k)     sequential, stopping ratio (Tutz 1991; Agresti, sec. 4.2)
    cratio      P(y > k | y >= k) = F(-x_k)    continuation ratio; sratio where F is symmetric
    acat        P(y = k) ~ prod_(j<k) F(-x_j) prod_(j>=k) (1 - F(-x_j))     adjacent categories (Agresti, sec. 4.1)

as brms writes them (Buerkner & Vuorre 2019): a larger eta means higher categories. The thresholds take the place of an
intercept. They are auxiliary parameters, as many as the response asks for, and linear functions of their own predictors
(:mod:`lmmformula.families.thresholds`): a covariate in these is a category-specific effect.

The thresholds of `cumulative` are ordered by its likelihood, which is zero otherwise; every category has rows, so that an
optimum is never at that edge.

With a formula for `disc`, the discrimination s = e^a of brms (1 / the scale of ``ordinal::clm``), x_j = s (tau_j - eta). It has
no constant, whose place the thresholds have.

Derivatives. t moves all x_j together, eta is -t, and every density here gives U_j = (dl/dx_j, d2l/dx_j dt, d3l/dx_j dt2)
(:class:`lmmformula.families.latent.Pull`). Summed over j these are the derivatives in t, and

    dl/deta = -sum U_j1,  d2l/deta2 = sum U_j2,  d3l/deta3 = -sum U_j3,
    dl/dtau_j = U_j1,     d2l/(deta dtau_j) = -U_j2,     d3l/(deta2 dtau_j) = U_j3,

each times s to the power of its order, and as dx_j/da = x_j

    dl/da = sum x_j U_j1,   d2l/(deta da) = -s sum (U_j1 + x_j U_j2),   d3l/(deta2 da) = s^2 sum (2 U_j2 + x_j U_j3).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.categories import Categories, learnt_categories
from lmmformula.families.latent import LATENT, Pull, quantile, threshold_from
from lmmformula.families.outcomes import Outcomes
from lmmformula.families.records import Array, Aux, Density, Maybe, Part
from lmmformula.families.thresholds import THRESHOLDS, combined, thresholds
from lmmformula.typing import Namespace, Numbers

__all__ = ["Ordinal", "itself"]


def itself(x: Numbers) -> Numbers:
    """x."""
    return x


_DISC = Auxiliary(
    "disc",
    "P(y <= k) = F(disc (threshold - eta))",
    role="shape",
    prior="lognormal(0, 1)",
    title="Discrimination",
    intercept=False,
)


@dataclass(frozen=True, slots=True)
class Ordinal(Outcomes):
    """What the ordinal distributions share. The response is 1, ..., K.

    Attributes
    ----------
    threshold : {"flexible", "equidistant", "symmetric", "symmetric2"}
    latent : str
        F, by its link.
    categories : tuple of str
        In their order; known once a response is.
    scaled : bool
        Whether there is a predictor of the discrimination, before those of the thresholds.
    """

    links: ClassVar[tuple[str, ...]] = LATENT
    intercept: ClassVar[bool] = False
    options: ClassVar[Mapping[str, tuple[str, ...]]] = {"threshold": THRESHOLDS}
    threshold: str = "flexible"
    latent: str = "logit"
    categories: tuple[str, ...] = ()
    scaled: bool = False

    @property
    def label(self) -> str:
        return self.name if self.threshold == "flexible" else f"{self.name}(threshold={self.threshold!r})"

    @property
    def outcomes(self) -> tuple[str, ...]:
        return self.categories

    @property
    def parameters_in_words(self) -> str:
        return "thresholds `1|2`, ... (identity)"

    def through(self, link: str) -> Self:
        return replace(self, latent=link)

    def of_response(self, part: Categories, name: str) -> Self:
        return replace(self, categories=learnt_categories(part, name, self.name))

    def with_parameters(self, names: Sequence[str]) -> Self:
        wanted = _DISC.name in names
        return self if wanted == self.scaled else replace(self, scaled=wanted)

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        return ((_DISC,) if self.scaled else ()) + self._thresholds

    @property
    def _thresholds(self) -> tuple[Auxiliary, ...]:
        if not self.categories:
            return ()
        names, matrix = thresholds(self.threshold, self.categories)
        apart = np.arange(len(matrix)) - 0.5 * (len(matrix) - 1)
        ordinary = np.linalg.lstsq(matrix, apart, rcond=None)[0].tolist()
        return tuple(
            Auxiliary(
                name,
                "",
                itself,
                itself,
                role="shape",
                range="real",
                link="identity",
                prior="student_t(3, 0, 2.5)",
                aliases=(f"Intercept[{j + 1}]",),
                title=name,
                typical=ordinary[j],
                table="thresholds",
            )
            for j, name in enumerate(names)
        )

    # -- one family each --------------------------------------------------------------------------------------------

    @abstractmethod
    def of_cuts(self, y: Array, x: Sequence[Numbers], xp: Namespace) -> Numbers:
        """Log density of each row from x_1, ..., x_(K-1), over an array namespace."""

    @abstractmethod
    def pulls(self, y: Array, x: Sequence[Array], *, third: bool) -> tuple[Array, Sequence[Pull]]:
        """The same with its U_j."""

    @abstractmethod
    def start_cuts(self, y: Array, eta: Array, w: Array) -> Array:
        """Thresholds for which a linear predictor explains how often each category occurs, (K - 1,)."""

    # -- densities --------------------------------------------------------------------------------------------------

    @property
    def _matrix(self) -> Array:
        return thresholds(self.threshold, self.categories)[1]

    def _cuts(self, eta: Numbers, aux: Aux, xp: Namespace = np) -> list[Numbers]:
        """x_j of each row."""
        if not self.scaled:
            return [tau - eta for tau in combined(self._matrix, aux)]
        s = xp.exp(aux[0])
        return [s * (tau - eta) for tau in combined(self._matrix, aux[1:])]

    def latent_scale(self, aux: Aux) -> Maybe:
        return np.exp(-np.asarray(aux[0])) if self.scaled else 1.0

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        return self.of_cuts(y, self._cuts(c[0], aux, xp), xp)

    def density(
        self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, constant: Maybe, *, derivatives: bool
    ) -> Density | None:
        cuts = self._cuts(c[0], aux)
        loglik, each = self.pulls(y, cuts, third=derivatives)
        of_disc = _along(cuts, each, third=derivatives) if self.scaled else None
        s = np.exp(aux[0]) if self.scaled else 1.0
        if self.scaled:
            each = [Pull(s * own.first, s**2 * own.second, s**3 * own.third) for own in each]
        first, second, third = (sum(parts) for parts in zip(*map(_parts, each), strict=True))
        if not derivatives:
            return Density(loglik, (Part(-first, second),))
        of_alpha = [_weighted(column, each) for column in self._matrix.T]
        every = of_alpha
        if of_disc is not None:
            mixed = first + s * of_disc.second
            bent = 2.0 * second + s**2 * of_disc.third
            every = [Pull(of_disc.first, mixed, bent), *of_alpha]
        part = Part(
            -first, second, -third, tuple(-own.second for own in every), tuple(own.third for own in every)
        )
        return Density(loglik, (part,), tuple(own.first for own in every))

    # -- what comes after -------------------------------------------------------------------------------------------

    def probabilities(self, mu: Array, aux: Aux) -> Array:
        """P(y = k) of each row, (K, n)."""
        shape = np.broadcast_shapes(np.shape(mu), *map(np.shape, aux))
        cuts = [np.broadcast_to(x, shape) for x in self._cuts(np.asarray(mu), aux)]
        each = (self.of_cuts(np.full(shape, k + 1.0), cuts, np) for k in range(len(self.categories)))
        with np.errstate(all="ignore"):
            return np.exp(np.array(list(each)))

    def start(self, y: Array, w: Maybe) -> Array:
        """F^-1 at the middle of each category, around zero."""
        counts = np.maximum(self.events(y, w), 0.5)
        share = counts / counts.sum()
        score = quantile(self.latent, np.cumsum(share) - 0.5 * share)
        return (score - share @ score)[np.asarray(y, int) - 1]

    def start_aux(self, y: Array, mu: Array, w: Maybe) -> tuple[float, ...]:
        eta = np.broadcast_to(np.asarray(mu, float), np.shape(y))
        tau = self.start_cuts(y, eta, np.broadcast_to(np.asarray(w, float), np.shape(y)))
        found = np.linalg.lstsq(self._matrix, tau, rcond=None)[0].tolist()
        return (0.0, *found) if self.scaled else tuple(found)

    def _start_of(self, wanted: float, eta: Array, w: Array) -> float:
        return threshold_from(self.latent, wanted, eta, w)


def _parts(pull: Pull) -> tuple[Maybe, Maybe, Maybe]:
    return pull.first, pull.second, pull.third


def _along(x: Sequence[Array], each: Iterable[Pull], *, third: bool) -> Pull:
    """sum_j x_j U_j, without what is infinite times a zero."""
    parts = [
        tuple(np.where(u == 0.0, 0.0, u * at) for u in _parts(own)[: 3 if third else 2])
        for at, own in zip(x, each, strict=True)
    ]
    return Pull(*(np.sum(p, axis=0) for p in zip(*parts, strict=True)))


def _weighted(weights: Array, each: Iterable[Pull]) -> Pull:
    """sum_j J_j U_j."""
    out: Pull | None = None
    for weight, pull in zip(weights.tolist(), each, strict=True):
        if weight == 0.0:
            continue
        own = pull if weight == 1.0 else pull.times(weight)
        out = own if out is None else out.plus(own)
    return Pull(0.0, 0.0) if out is None else out
