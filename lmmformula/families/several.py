"""The families of several responses of one model, each with its own rows.

Rows of such a model are those of the first response, then those of the second, and so on, as many of each. What is asked of all
rows at once is asked of the family of each response and put together again; whatever needs one density of all is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import PlanError
from lmmformula.families.auxiliary import Auxiliary
from lmmformula.families.distribution import Distribution, Normal
from lmmformula.families.family import Family
from lmmformula.families.links import LINKS
from lmmformula.families.records import Array, Aux, Maybe, MeanRange
from lmmformula.typing import Namespace

__all__ = ["SeveralFamilies", "several_family"]


@dataclass(frozen=True, slots=True)
class Several(Distribution):
    """Stands for distributions of several responses where one is expected: it has their parameters, and no density.

    Attributes
    ----------
    parts : tuple of Distribution
    names : tuple of str
        Of the responses.
    """

    name: ClassVar[str] = "several"
    mean_range: ClassVar[MeanRange] = "real"
    links: ClassVar[tuple[str, ...]] = ("identity",)
    parts: tuple[Distribution, ...]
    names: tuple[str, ...]

    @property
    def label(self) -> str:
        return " + ".join(own.label for own in self.parts)

    @property
    def auxiliaries(self) -> tuple[Auxiliary, ...]:
        return tuple(
            replace(a, name=f"{a.name}_{name}", aliases=(), title="")
            for own, name in zip(self.parts, self.names, strict=True)
            for a in own.auxiliaries
        )

    @property
    def hides(self) -> bool:
        return any(own.hides for own in self.parts)

    @property
    def is_plain(self) -> bool:
        return all(own.is_plain for own in self.parts)

    def log_density(self, y: Array, c: tuple[Array, ...], aux: Aux, w: Maybe, xp: Namespace) -> Array:
        raise self._lacks("density")

    def _lacks(self, what: str) -> PlanError:
        return PlanError(
            f"what is asked for takes one {what}, and this model has several responses ({', '.join(self.names)}), each with "
            "a family of its own. Ask it of a fit of one response."
        )


@dataclass(frozen=True, slots=True, repr=False)
class SeveralFamilies(Family):
    """Families of several responses.

    Attributes
    ----------
    parts : tuple of Family
    """

    parts: tuple[Family, ...] = ()

    @property
    def name(self) -> str:
        return " + ".join(own.name for own in self.parts)

    @property
    def link(self) -> str:
        return ", ".join(own.link for own in self.parts)

    def __str__(self) -> str:
        return " + ".join(map(str, self.parts))

    # -- properties of all -------------------------------------------------------------------------------------------

    @property
    def normal(self) -> Normal | None:
        return None

    @property
    def has_residual(self) -> bool:
        return False

    @property
    def scale_at(self) -> int | None:
        return None

    @property
    def zeros_at(self) -> int | None:
        return None

    @property
    def takes_zeros(self) -> bool:
        return False

    @property
    def is_discrete(self) -> bool:
        return all(own.is_discrete for own in self.parts)

    @property
    def log_scale(self) -> bool:
        return False

    @property
    def eta_power(self) -> float | None:
        return None

    @property
    def forgives(self) -> bool:
        return any(own.forgives for own in self.parts)

    @property
    def runs_off(self) -> bool:
        return any(own.runs_off for own in self.parts)

    # -- rows of each ------------------------------------------------------------------------------------------------

    def location(self, eta: Array) -> Array:
        return self._each(lambda f, e: f.location(e), eta)

    def slope(self, eta: Array) -> Array:
        return self._each(lambda f, e: f.slope(e), eta)

    def valid(self, eta: Array) -> NDArray[np.bool_]:
        return self._each(lambda f, e: f.valid(e).astype(float), eta) > 0.0

    def mean(self, eta: Array, aux: Aux = ()) -> Array:
        return self._each(lambda f, e, a: f.mean(e, a), eta, aux=aux)

    def unit_variance(self, mu: Array, aux: Aux = (), weights: Array | None = None) -> Array:
        return self._each(
            lambda f, m, w, a: np.broadcast_to(f.unit_variance(m, a, w), m.shape), mu, weights, aux=aux
        )

    def dispersion(self, aux: Aux = ()) -> Maybe:
        n = len(np.asarray(aux[0])) if aux else 0
        rows = np.zeros(n)
        return self._each(lambda f, r, a: np.broadcast_to(f.dispersion(a), r.shape), rows, aux=aux)

    def deviance_residual_squared(
        self, y: Array, mu: Array, weights: Array | None = None, aux: Aux = ()
    ) -> Array:
        return self._each(
            lambda f, y, m, w, a: f.deviance_residual_squared(y, m, w, a), y, mu, weights, aux=aux
        )

    def simulate(
        self, rng: np.random.Generator, eta: Array, aux: Aux = (), weights: Array | None = None
    ) -> Array:
        return self._each(lambda f, e, w, a: f.simulate(rng, e, a, w), eta, weights, aux=aux)

    def cdf(
        self, y: Array, eta: Array, aux: Aux = (), weights: Array | None = None, *, below: bool = False
    ) -> Array:
        return self._each(lambda f, y, e, w, a: f.cdf(y, e, a, w, below=below), y, eta, weights, aux=aux)

    def check(self, y: Array, weights: Array | None = None, name: str = "y") -> None:
        for (family, _), own, w in zip(self._places(), self._cut(y), self._cut(weights), strict=True):
            if own is not None:
                family.check(own, w, name)

    def _places(self) -> Iterator[tuple[Family, slice]]:
        """Each family with the places of its auxiliary predictors."""
        at = 0
        for own in self.parts:
            yield own, slice(at, at := at + len(own.auxiliaries))

    def _cut(self, values: Array | None) -> list[Array | None]:
        """The rows of each response."""
        if values is None:
            return [None] * len(self.parts)
        if np.ndim(values) != 1:
            raise PlanError(
                "draws for the rows of several responses are made of each response by itself, not of all at once."
            )
        if len(values) % len(self.parts):
            raise PlanError(
                f"{len(values):,} rows are not as many of each of {len(self.parts)} responses, whose rows are taken together."
            )
        n = len(values) // len(self.parts)
        cut = [values[j * n : (j + 1) * n] for j in range(len(self.parts))]
        return [family.own(own) for family, own in zip(self.parts, cut, strict=True)]

    def _each(self, function: Callable[..., Array], *values: Array | None, aux: Aux | None = None) -> Array:
        cut = [self._cut(own) for own in values]
        n = len(cut[0][0]) if cut[0][0] is not None else 0
        out = []
        for j, (family, at) in enumerate(self._places()):
            own = [each[j] for each in cut]
            if aux is not None:
                rows = slice(j * n, (j + 1) * n)
                own.append(tuple(a if np.ndim(a) == 0 else a[rows] for a in aux[at]))  # type: ignore[arg-type,index]
            out.append(function(family, *own))
        return np.concatenate(out)


def several_family(families: Sequence[Family], names: Sequence[str]) -> SeveralFamilies:
    """What stands for the families of responses called `names`."""
    own = Several(tuple(f.distribution for f in families), tuple(names))
    return SeveralFamilies(own, LINKS["identity"], parts=tuple(families))
