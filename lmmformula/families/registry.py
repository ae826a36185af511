"""Families by name."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from functools import lru_cache

from lmmformula.errors import PlanError
from lmmformula.extensions import enter
from lmmformula.families.atoms import ZeroOneInflated
from lmmformula.families.betabinomial import BetaBinomial
from lmmformula.families.categorical import Categorical
from lmmformula.families.compois import ConwayMaxwellPoisson
from lmmformula.families.counts import NegativeBinomial2, Poisson
from lmmformula.families.cumulative import Cumulative
from lmmformula.families.distribution import Distribution
from lmmformula.families.family import Family, make_family
from lmmformula.families.fixed import Exponential, Geometric
from lmmformula.families.genpois import GeneralisedPoisson
from lmmformula.families.links import LINK_ALIASES, LINKS
from lmmformula.families.multinomial import Multinomial
from lmmformula.families.nbinom1 import NegativeBinomial1
from lmmformula.families.ordered_beta import OrderedBeta
from lmmformula.families.positive import Gamma, InverseGaussian
from lmmformula.families.real import Gaussian, Lognormal, Student
from lmmformula.families.sisters import sisters
from lmmformula.families.skewed import ExGaussian, ShiftedLognormal, SkewNormal
from lmmformula.families.stepwise import AdjacentCategory, ContinuationRatio, StoppingRatio
from lmmformula.families.tweedie import Tweedie
from lmmformula.families.unit import Beta, Binomial
from lmmformula.families.weibull import Weibull

__all__ = ["ALIASES", "FAMILIES", "OUTCOMES", "register_family", "resolve", "unregister_family"]

_DISTRIBUTIONS: tuple[Distribution, ...] = (
    Gaussian(),
    Binomial(),
    BetaBinomial(),
    Poisson(),
    Gamma(),
    InverseGaussian(),
    NegativeBinomial1(),
    NegativeBinomial2(),
    Geometric(),
    GeneralisedPoisson(),
    ConwayMaxwellPoisson(),
    Tweedie(),
    Beta(),
    OrderedBeta(),
    ZeroOneInflated(Beta()),
    Lognormal(),
    ShiftedLognormal(),
    Weibull(),
    Exponential(),
    ExGaussian(),
    SkewNormal(),
    Student(),
)

_OF_CATEGORIES: tuple[Distribution, ...] = (
    Cumulative(),
    StoppingRatio(),
    ContinuationRatio(),
    AdjacentCategory(),
    Categorical(),
    Multinomial(),
)

FAMILIES: dict[str, Family] = {}
"""Name -> family with its default link."""

OUTCOMES: dict[str, Family] = {}
"""The same of families of categories, which are complete once a response says which there are (:meth:`Family.of_response`)."""

ALIASES: dict[str, str] = {
    "normal": "gaussian",
    "bernoulli": "binomial",
    "inversegaussian": "inverse_gaussian",
    "negbinomial": "nbinom2",
    "negative_binomial": "nbinom2",
    "negativebinomial": "nbinom2",
    "nbinom": "nbinom2",
    "beta_family": "beta",
    "student_t": "student",
    "t_family": "student",
    "beta_binomial": "betabinomial",
    "genpoisson": "genpois",
    "generalized_poisson": "genpois",
    "generalised_poisson": "genpois",
    "com_poisson": "compois",
    "compoisson": "compois",
    "conway_maxwell_poisson": "compois",
    "ordered_beta": "ordbeta",
    "ordbetareg": "ordbeta",
    "zoib": "zero_one_inflated_beta",
    "ex_gaussian": "exgaussian",
    "exgauss": "exgaussian",
    "skewnormal": "skew_normal",
    "shiftedlognormal": "shifted_lognormal",
    "shifted_log_normal": "shifted_lognormal",
    "zigamma": "hurdle_gamma",
    "zero_inflated_gamma": "hurdle_gamma",
    "zero_inflated_lognormal": "hurdle_lognormal",
    "zi_beta": "zero_inflated_beta",
    "hurdle_beta": "zero_inflated_beta",
    "hurdle_negbinomial": "hurdle_nbinom2",
    "truncated_negbinomial": "truncated_nbinom2",
    "zero_inflated_negbinomial": "zero_inflated_nbinom2",
    "zero_inflated_beta_binomial": "zero_inflated_betabinomial",
    "zero_inflated_genpoisson": "zero_inflated_genpois",
    "multinomial_logit": "categorical",
    "clm": "cumulative",
    "clmm": "cumulative",
    "zero_inflated_com_poisson": "zero_inflated_compois",
}
"""Other names of a family, as R, lme4, glmmTMB, brms and statsmodels write them."""


def register_family(distribution: Distribution, *aliases: str) -> None:
    """Make a distribution known as ``family=``, with what truncation, hurdles and zero inflation make of it.

    Of a distribution of counts these are ``truncated_``, ``hurdle_`` and ``zero_inflated_`` before its name, of one of positive
    numbers ``hurdle_``, of one of proportions ``zero_inflated_``.

    Parameters
    ----------
    distribution : Distribution
        A frozen dataclass. Its fields are options of the family and need defaults; its class must be importable where fits
        with it are loaded.
    *aliases : str
        Other names.

    Raises
    ------
    PlanError
        For a name that is taken or no word, a link that does not exist or does not lead to where the mean lives.
    """
    _check(distribution, aliases)
    _enter(distribution)
    ALIASES.update(dict.fromkeys(aliases, distribution.name))
    enter(type(distribution))


def unregister_family(name: str) -> None:
    """Take a registered family, those made of it and its aliases out again.

    Raises
    ------
    PlanError
        For a name that no family has.
    """
    if name not in FAMILIES:
        raise PlanError(f"family {name!r} is not registered; registered: {', '.join(FAMILIES)}.")
    gone = (name, *(other.label for other in sisters(FAMILIES[name].distribution)))
    for key in gone:
        FAMILIES.pop(key, None)
    for alias in [alias for alias, own in ALIASES.items() if own in gone]:
        del ALIASES[alias]


def _enter(distribution: Distribution) -> None:
    family = make_family(distribution)
    FAMILIES[family.name] = family
    for other in sisters(distribution):
        FAMILIES[other.label] = make_family(other)


def _check(distribution: Distribution, aliases: tuple[str, ...]) -> None:
    name = distribution.name
    for word in (name, *aliases):
        if not (word.isidentifier() and word == word.lower()):
            raise PlanError(f"a family's name is a word in lower case, not {word!r}.")
        if word in FAMILIES or word in OUTCOMES or word in ALIASES:
            raise PlanError(
                f"family {word!r} exists already; take another name, or unregister_family({word!r})."
            )
    try:
        hash(distribution)
    except TypeError:
        raise PlanError(
            f"the distribution of family {name!r} can be changed or not be compared; make it a "
            "@dataclass(frozen=True) of numbers and text."
        ) from None
    for link in distribution.links:
        if distribution.link_prefix + link not in LINKS:
            raise PlanError(
                f"link {link!r} of family {name!r} does not exist; there are: {', '.join(LINKS)}."
            )
        _ = make_family(distribution, link).chart


def _listed(known: Mapping[str, Family]) -> str:
    """The names that are families of their own; those made of others follow from them."""
    plain = [name for name in known if not name.startswith(("zero_", "hurdle_", "truncated_"))]
    return f"{', '.join(plain)}; of many also truncated_, hurdle_ and zero_inflated_ ones (see the page on families)"


def resolve(family: str | Family) -> Family:
    """The family a caller means: a record, a name, or ``"name(link='...')"``.

    Examples
    --------
    >>> resolve("binomial").link
    'logit'
    >>> resolve("Gamma(link='inverse')").name
    'gamma'
    >>> resolve("student(df=4)").auxiliaries[0].name
    'sigma'

    Raises
    ------
    PlanError
        For a family or link that is not available; the message lists those that are.
    """
    if isinstance(family, Family):
        return family.unread()
    if not isinstance(family, str):
        raise PlanError(f"a family is text or a Family, not {type(family).__name__}; {_ACCEPTED}.")
    name, link, options = _read(family)
    name = ALIASES.get(name, name)
    known = FAMILIES | OUTCOMES
    if name not in known:
        near = get_close_matches(name, [*known, *ALIASES], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise PlanError(f"family {name!r} is not available; available: {_listed(known)}.{hint}")
    found = known[name].distribution
    if options:
        found = _with_options(found, options)
    return make_family(found, None if link is None else _link(link, found))


def _link(link: str, distribution: Distribution) -> str:
    wanted = LINK_ALIASES.get(link.replace(" ", "").lower(), link.lower())
    if wanted in distribution.links:
        return wanted
    near = get_close_matches(wanted, distribution.links, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    what = "is not available" if wanted in LINKS else "does not exist; it is not available"
    raise PlanError(
        f"link {link!r} {what} for family {distribution.label!r}; available: {', '.join(distribution.links)}.{hint}"
    )


def _with_options(distribution: Distribution, options: Mapping[str, object]) -> Distribution:
    words = distribution.options
    accepted = list(words) or [f.name for f in fields(distribution) if f.name != "base"]
    for key, value in options.items():
        if key not in accepted:
            takes = ", ".join(["link", *accepted])
            raise PlanError(f"family {distribution.label!r} has no argument {key!r}; it takes: {takes}.")
        if key in words:
            if value not in words[key]:
                raise PlanError(
                    f"{key} of family {distribution.label!r} must be one of {', '.join(map(repr, words[key]))}, not {value!r}."
                )
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise PlanError(
                f"{key} of family {distribution.label!r} must be a positive number, not {value!r}."
            )
    return replace(distribution, **options)


_LONGEST = 200
"""Characters that a family's text may have: far more than any needs, far less than Python's parser can nest."""

_ACCEPTED = 'write family="binomial" or family="binomial(link=\'probit\')"'


@lru_cache(maxsize=256)
def _read(text: str) -> tuple[str, str | None, Mapping[str, object]]:
    """Name, link and further arguments of ``name``, ``name('link')``, ``name(link='link', key=value)``."""
    if len(text) > _LONGEST:
        raise PlanError(f"family has {len(text):,} characters and cannot be read; {_ACCEPTED}.")
    unreadable = PlanError(f"family {text!r} cannot be read; {_ACCEPTED}.")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise unreadable from None
    if not isinstance(tree, ast.Call):
        return _name(tree, unreadable), None, {}
    arguments = {keyword.arg: _value(keyword.value, unreadable) for keyword in tree.keywords}
    if tree.args:
        arguments = {"link": _value(tree.args[0], unreadable), **arguments}
    link = arguments.pop("link", None)
    if len(tree.args) > 1 or None in arguments or not isinstance(link, str | None):
        raise unreadable
    return _name(tree.func, unreadable), link, {str(k): v for k, v in arguments.items()}


def _name(tree: ast.expr, unreadable: PlanError) -> str:
    """A name in lower case, R's ``inverse.gaussian`` included."""
    if isinstance(tree, ast.Name):
        return tree.id.lower()
    if isinstance(tree, ast.Attribute):
        return f"{_name(tree.value, unreadable)}_{tree.attr.lower()}"
    raise unreadable


def _value(tree: ast.expr, unreadable: PlanError) -> object:
    """A constant, or a bare name as R allows for links."""
    if isinstance(tree, ast.Name):
        return tree.id
    try:
        return ast.literal_eval(tree)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise unreadable from None


for _distribution in _DISTRIBUTIONS:
    _enter(_distribution)
for _distribution in _OF_CATEGORIES:
    OUTCOMES[_distribution.name] = make_family(_distribution)
