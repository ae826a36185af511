r"""Priors of a mixed model: brms' classes, resolved for one problem, with defaults scaled to its data.

==================  ======================================  =====================================================
key                 parameters                              default
==================  ======================================  =====================================================
``Intercept``       intercept at the mean of every column   ``normal(median(y), 2.5 sd(y))``
``b``, ``b:Days``   slopes                                  ``normal(0, 2.5 sd(y) / sd(x))``
``b:(Intercept)``   intercept where every column is 0       (in place of ``Intercept``)
``sd``, ``sd:Subject``, ``sd:Subject:Days``                 ``half_student_t(3, 0, mad(y) / sd(x))``
``cor``, ``cor:Subject``                                    ``lkj(1)``
``sigma``           residual standard deviation             ``half_student_t(3, 0, mad(y))``
``range:g``         range of a field, of ``ou``             ``pc(typical, 0.5)``
``nu:g``            smoothness of a Matern field            ``lognormal(0, 0.5)``
``rho:g``           correlation of neighbours of ``ar1``    ``lkj(1)``
``rho:g``           share of ``bym2``                       ``pc(0.5, 0.667)``
``alpha:g``         share of the proper ``car``             ``beta(1, 1)``
``b:mox``           average step of ``mo(x)``               ``normal(0, 2.5 sd(y) / sd(steps))``
``simo``, ``simo:mox``                                      ``dirichlet(1)``
==================  ======================================  =====================================================

The longer key wins. Those of structures across levels, and what pc means: :mod:`lmmformula.ir.across.naturals`,
:mod:`lmmformula.ir.prior_complexity`.

y is the response on the scale where it is normal (its logarithm for a lognormal one), less its
offset; mad is 1.4826 times the median absolute deviation, or sd(y) where that is zero. x is the column that the effect
belongs to; sd(x) is 1 for an intercept and for indicators of levels. So no default depends on the units of y or x (brms has
``max(2.5, mad(y))`` for every column, whose 2.5 means another thing in seconds than in milliseconds). Other families state
these on the scale of the link: for links whose scale does not depend on the unit of y (log, logit, probit, cloglog, cauchit)
mad is at least 2.5, as in brms; there sd(y) is 1 and the median is the link of the mean less the mean offset. For other
links y is its link. A family's further
parameters have keys of their own (``phi``, ``df``, ``zi``) and the defaults of its record; one with a formula has the keys
of this table with its name before them, ``sigma:Intercept``, ``sigma:b:x``, ``sigma:sd:Subject``, on the scale of its
predictor: intercept ``normal(0, 2.5)`` (about log sd(y) for the sigma of a response on the real line), slopes
``normal(0, 2.5 / sd(x))``, standard deviations ``half_student_t(3, 0, 2.5)``. As in brms the prior of
``Intercept`` is that of the intercept of centred columns, so that it can be stated without knowing where x = 0 lies.
Unlike brms (student_t for the intercept, flat for slopes) the default for every coefficient is normal, because normal priors
leave the fixed effects Gaussian given the variances, and proper. Without an intercept the coefficients carry the level of y:
root mean squares then stand in place of the standard deviations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.ir.across.naturals import naturals_of
from lmmformula.ir.design import GroupBlock
from lmmformula.ir.monotonic import MonotonicEffect
from lmmformula.ir.prior_distributions import LKJ, Flat, Normal, Positive, Stated, StudentT
from lmmformula.ir.prior_names import CENTRED, PLAIN, normal_key
from lmmformula.ir.prior_scales import LEAST, Scale, basis_of, column_means, column_spread, column_spreads
from lmmformula.ir.prior_shrinkage import Shrinkage
from lmmformula.ir.prior_simplex import Dirichlet, parse_simplex
from lmmformula.ir.prior_text import Role, parse_prior, unheld
from lmmformula.ir.priors import AuxPriors, Prior, Priors, SimplexPrior, TermPriors
from lmmformula.ir.problem import Problem
from lmmformula.ir.variance_parameters import TermParameters, named_terms, term_parameters
from lmmformula.numerics.columns import Parts
from lmmformula.numerics.order_statistics import spread
from lmmformula.typing import Array

__all__ = ["resolve_priors"]


def resolve_priors(problem: Problem, user: Mapping[str, str] | None = None, *, flat: bool = False) -> Priors:
    """The priors of `problem`: the user's where given, defaults elsewhere.

    Parameters
    ----------
    problem : Problem
    user : mapping, optional
        Class or parameter -> text; see the module's table.
    flat : bool
        Whether the default is no prior at all, for penalties; correlations then have lkj(1), which is uniform.

    Raises
    ------
    PlanError
        For a key that names no parameter (the message lists those that exist), or text that cannot be read.
    """
    book = _Book(problem, dict(user or {}), flat=flat)
    aux = tuple(map(book.aux, range(len(problem.family.auxiliaries))))
    sigma = next((a.value for a in aux if a.name == "sigma"), None)
    bases = [basis_of(problem, i) for i in range(len(problem.terms))]
    terms = tuple(map(book.term, book.parameters, problem.terms, bases))
    priors = Priors(book.coefficients(), book.contrast(), terms, sigma, aux, book.simplexes())
    book.refuse_unused()
    return priors


class _Book:
    """The user's priors, and which of them have been used."""

    def __init__(self, problem: Problem, user: dict[str, str], *, flat: bool = False) -> None:
        if not all(isinstance(key, str) for key in user):
            raise PlanError(f"priors={user!r}: keys must be text such as 'b', 'sd:Subject' or 'sigma'.")
        self.problem, self.scale, self.flat = problem, Scale.of(problem), flat
        parts = {key: a.name for a in problem.family.auxiliaries for key in (a.name, *a.aliases)}
        self.user = {normal_key(key, parts): text for key, text in user.items()}
        self.written = {normal_key(key, parts): key for key in user}
        self.parameters = term_parameters(problem)
        self.known: dict[str, None] = {}
        self.names = problem.X.names
        for part in ("", *(f"{name}:" for name in parts.values())):
            if f"{part}{CENTRED}" in self.user and f"{part}{PLAIN}" in self.user:
                raise PlanError(
                    f"priors were given for '{part}{CENTRED}' (the intercept at the mean of every column) and for "
                    f"'{part}{PLAIN}' (the intercept where every column is 0). They are one parameter; keep one of the two."
                )

    def chosen(self, keys: tuple[str, ...], role: Role, default: Stated, name: str | None = None) -> Prior:
        """The user's prior under the first of `keys` that is given, or `default`."""
        self.known.update(dict.fromkeys(reversed(keys)))
        for key in keys:
            if key in self.user:
                found = parse_prior(self.user[key], self.written[key], role, improper=self.flat)
                return Prior(name or keys[0], found, "user")
        if self.flat:
            default = LKJ(1.0) if role == "correlation" else Flat()
        return Prior(name or keys[0], default, "default")

    # -- coefficients ---------------------------------------------------------------------------------------------

    def slope(self, keys: tuple[str, ...], role: Role, default: Stated, *, together: bool = False) -> Prior:
        """:meth:`chosen` of a coefficient, which an offset holds and not a prior; `together` with others of class b."""
        found = self.chosen(keys, role, default)
        unheld(found.distribution, found.name)
        if isinstance(found.distribution, Shrinkage) and (not together or self.flat or keys[0] in self.user):
            where = "maximum likelihood" if self.flat else f"{found.name!r}"
            raise PlanError(
                f"priors: {found.distribution} shrinks all slopes of the mean together in a posterior, and cannot be the prior "
                f"of {where}. Give it to class 'b' with method='hmc', and normal or student_t priors elsewhere."
            )
        return found

    @property
    def has_intercept(self) -> bool:
        return "(Intercept)" in self.names

    @property
    def centred(self) -> bool:
        return self.has_intercept and PLAIN not in self.user

    def coefficients(self) -> tuple[Prior, ...]:
        steps = self.average_steps()
        return tuple(steps.get(j) or self._coefficient(name, j) for j, name in enumerate(self.names))

    @property
    def effects(self) -> tuple[MonotonicEffect, ...]:
        own = self.problem.monotonic
        return () if own is None else own.effects

    def average_steps(self) -> dict[int, Prior]:
        """Column of a step -> the prior of the average step of its effect."""
        out = {}
        for effect in self.effects:
            steps = self.problem.X.matrix[:, list(effect.columns)] @ np.array(effect.widths, dtype=float)
            x = spread([steps], around_mean=self.has_intercept)
            default = Normal(0.0, _rounded(2.5 * self.scale.size / x))
            prior = self.slope((f"b:{effect.label}", "b"), "coefficient", default)
            out |= dict.fromkeys(effect.columns, prior)
        return out

    def simplexes(self) -> tuple[SimplexPrior, ...]:
        return tuple(self._simplex(effect) for effect in self.effects)

    def _simplex(self, effect: MonotonicEffect) -> SimplexPrior:
        keys = (f"simo:{effect.label}", "simo")
        self.known.update(dict.fromkeys(reversed(keys)))
        key = next((key for key in keys if key in self.user), None)
        if key is None:
            prior = Prior(keys[0], Dirichlet(tuple(map(float, effect.widths))), "default")
        else:
            found = parse_simplex(self.user[key], self.written[key], effect.widths)
            prior = Prior(keys[0], found, "user")
        return SimplexPrior(prior, effect.columns, effect.size)

    def _coefficient(self, name: str, j: int) -> Prior:
        size = self.scale.size
        if name == "(Intercept)":
            self.known.update({CENTRED: None, PLAIN: None})
            default = Normal(_rounded(self.scale.centre), _rounded(2.5 * size))
            return self.slope((CENTRED if self.centred else PLAIN,), "coefficient", default)
        x = column_spread(self.problem, j, around_mean=self.has_intercept)
        default = Normal(0.0, _rounded(2.5 * size / x))
        found = self.slope((f"b:{name}", "b"), "coefficient", default, together=True)
        if not isinstance(found.distribution, Shrinkage):
            return found
        return replace(found, distribution=replace(found.distribution, sd=1.0 / x, wide=size))

    def contrast(self) -> Array:
        p = self.problem.p
        out = np.eye(p)
        if self.centred:
            out[self.names.index("(Intercept)")] = column_means(self.problem)
        return out

    # -- variances ------------------------------------------------------------------------------------------------

    def term(
        self, parameters: TermParameters, block: GroupBlock, basis: Parts | None, prefix: str = ""
    ) -> TermPriors:
        group = parameters.group
        wide = LEAST if prefix else self.scale.wide
        sds = tuple(
            self.chosen(
                (name.split("#")[0], f"{prefix}sd:{group}", f"{prefix}sd"),
                "deviation",
                _half_t(wide / x),
                name,
            ).in_units(unit)
            for name, (x, unit) in zip(
                parameters.sds, column_spreads(block, basis, len(parameters.sds)), strict=True
            )
        )
        phis = self._structure(parameters, prefix)
        if not parameters.cors:
            return TermPriors(parameters, sds, None, phis)
        cor = self.chosen((f"{prefix}cor:{group}", f"{prefix}cor"), "correlation", LKJ(1.0))
        return TermPriors(parameters, sds, cor, phis)

    def _structure(self, parameters: TermParameters, prefix: str) -> tuple[Prior, ...]:
        """Priors of a structure across levels; a name that the family has keeps its meaning there."""
        out, across = [], parameters.across
        taken = {key for a in self.problem.family.auxiliaries for key in (a.name, *a.aliases)}
        for name, own in zip(parameters.phis, () if across is None else naturals_of(across), strict=True):
            key = name.split("#")[0]
            general = key.removeprefix(prefix).split(":")[0]
            keys = (key,) if general in taken else (key, f"{prefix}{general}")
            found = self.chosen(keys, own.role, own.default, name)
            out.append(replace(found, distribution=own.prior(found.distribution)))
        return tuple(out)

    # -- auxiliary parameters ----------------------------------------------------------------------------------------

    def aux(self, j: int) -> AuxPriors:
        """Priors of the family's auxiliary parameter `j`."""
        own, problem = self.problem.family.auxiliaries[j], self.problem
        block = problem.aux[j] if problem.aux else None
        terms = problem.aux_terms[j] if problem.aux_terms else ()
        none = np.zeros((0, 0))
        in_units = own.is_scale and problem.family.distribution.mean_range == "real"
        if not terms and (block is None or block.is_constant):
            role: Role = "deviation" if in_units else "scale"
            if own.range == "unit":
                role = "probability"
            elif own.range == "real":
                role = "coefficient"
            default = _half_t(self.scale.wide) if in_units else parse_prior(own.prior, own.name, role)
            value = self.chosen((own.name, *own.aliases), role, default)
            return AuxPriors(own.name, value, (), none, ())
        prefix = f"{own.name}:"
        columns = np.zeros((problem.n, 0)) if block is None else block.matrix
        names = () if block is None else block.names
        coefficients = tuple(
            self._aux_coefficient(prefix, name, x, in_units=in_units)
            for name, x in zip(names, columns.T, strict=True)
        )
        contrast = np.eye(len(names))
        if "(Intercept)" in names and f"{prefix}{PLAIN}" not in self.user:
            contrast[names.index("(Intercept)")] = columns.mean(axis=0)
        own_terms = tuple(
            self.term(t, block, None if (basis := block.flat) is None else [basis], prefix)
            for t, block in zip(named_terms(terms, prefix), terms, strict=True)
        )
        return AuxPriors(own.name, None, coefficients, contrast, own_terms)

    def _aux_coefficient(self, prefix: str, name: str, x: Array, *, in_units: bool) -> Prior:
        if name == "(Intercept)":
            centre = _rounded(float(np.log(self.scale.size))) if in_units else 0.0
            keys = f"{prefix}{CENTRED}", f"{prefix}{PLAIN}"
            self.known.update(dict.fromkeys(keys))
            own = keys[keys[1] in self.user]
            return self.slope((own,), "coefficient", Normal(centre, 2.5))
        default = Normal(0.0, _rounded(2.5 / spread([x], around_mean=True)))
        return self.slope((f"{prefix}b:{name}", f"{prefix}b"), "coefficient", default)

    def refuse_unused(self) -> None:
        """A key that names nothing is most likely a misspelling."""
        unknown = [key for key in self.user if key not in self.known]
        if unknown:
            names = sorted(self.known, key=lambda key: (key.count(":"), key))
            near = get_close_matches(unknown[0], names, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise PlanError(
                f"priors: {self.written[unknown[0]]!r} is no parameter of this model.{hint} It has: {', '.join(names)}."
            )


def _half_t(scale: float) -> Positive:
    """The default for standard deviations: brms' family."""
    return Positive(StudentT(3.0, 0.0, _rounded(scale)))


def _rounded(value: float) -> float:
    """Three significant digits, so that the text shown is the prior used."""
    return float(f"{value:.3g}")
