"""What a formula means, before any data are seen: frozen records with spans."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = [
    "Arg",
    "Binary",
    "Call",
    "Expr",
    "LinearPart",
    "Logical",
    "ModelSpec",
    "Name",
    "Number",
    "Paren",
    "RandomTerm",
    "ResidualTerm",
    "Response",
    "Span",
    "String",
    "Term",
    "Unary",
]

Span: TypeAlias = tuple[int, int]
"""Half-open range of characters in the formula text."""


@dataclass(frozen=True, slots=True)
class Name:
    """A variable; `value` is the column's name without backticks."""

    value: str
    span: Span = field(compare=False, default=(0, 0))


@dataclass(frozen=True, slots=True, eq=False)
class Number:
    """A numeric literal; `text` is kept so that rendering gives back what was written.

    Two literals are equal when they mean the same number: ``1e2`` and ``100``, but not ``100L``.
    """

    text: str
    span: Span = (0, 0)

    @property
    def value(self) -> float:
        return float(self.text.rstrip("L"))

    def _key(self) -> tuple[str, bool]:
        return repr(self.value), self.text.endswith("L")

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Number) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())


@dataclass(frozen=True, slots=True)
class String:
    """A quoted literal, unescaped."""

    value: str
    span: Span = field(compare=False, default=(0, 0))


@dataclass(frozen=True, slots=True)
class Logical:
    """``TRUE``, ``FALSE`` (also ``T``, ``F`` are plain names), or ``NULL``/``NA`` as None.

    `text` is ``"NA"`` for the missing value and empty otherwise.
    """

    value: bool | None
    span: Span = field(compare=False, default=(0, 0))
    text: str = ""


@dataclass(frozen=True, slots=True)
class Arg:
    """One argument of a call, named or positional."""

    value: Expr
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """``function(args)``; `function` carries its namespace where one was written (``splines::ns``)."""

    function: str
    args: tuple[Arg, ...]
    span: Span = field(compare=False, default=(0, 0))


@dataclass(frozen=True, slots=True)
class Unary:
    """A prefix operator: ``-``, ``+``, ``!`` or ``~``."""

    operator: str
    operand: Expr
    span: Span = field(compare=False, default=(0, 0))


@dataclass(frozen=True, slots=True)
class Binary:
    """An infix operator, R's spelling (``%in%`` included)."""

    operator: str
    left: Expr
    right: Expr
    span: Span = field(compare=False, default=(0, 0))


@dataclass(frozen=True, slots=True)
class Paren:
    """Round brackets, kept so that rendering and re-association can see them."""

    inner: Expr
    span: Span = field(compare=False, default=(0, 0))


Expr: TypeAlias = Name | Number | String | Logical | Call | Unary | Binary | Paren


@dataclass(frozen=True, slots=True)
class Term:
    """An interaction of one or more factors, in the order R gives them."""

    factors: tuple[Expr, ...]
    label: str
    span: Span = field(compare=False, default=(0, 0))


@dataclass(frozen=True, slots=True)
class LinearPart:
    """A linear predictor: intercept, terms by increasing degree (R's ``terms.formula``), offsets.

    `offsets` holds what stands inside each ``offset()``.
    """

    intercept: bool
    terms: tuple[Term, ...]
    offsets: tuple[Expr, ...] = ()


@dataclass(frozen=True, slots=True)
class RandomTerm:
    """One random-effects term ``(design | group)`` after ``a/b`` and ``a + b`` are expanded.

    Attributes
    ----------
    design : LinearPart
        Columns that vary over the levels of the grouping factor.
    group : tuple of Expr
        Factors whose interaction is the grouping factor; several members for ``(1 | a:b)``, none for
        ``mm()`` and for a term of one level, whose columns are those of a function (:data:`TERM_FUNCTIONS`).
    group_label : str
        R's name of the grouping factor, for example ``cask:batch``.
    covariance : str
        Name of the covariance kind; ``||`` and ``zerocorr()`` give "diag".
    correlation_id : str or None
        brms' ``ID`` in ``(x |ID| g)``.
    by : Expr or None
        brms' ``gr(g, by = f)``.
    members : tuple of Expr
        Members of brms' ``mm(g, h)``; empty otherwise.
    member_weights : Expr or None
        ``weights`` of ``mm()``: one expression with a column per member.
    member_scale : bool
        Whether the weights of a row are divided by their sum, brms' ``scale``.
    cov, prec : Name or String or None
        brms' ``gr(g, cov = A)``: the covariance matrix of the levels, or its inverse; a string names a structure.
    smooth : str
        Name of the smooth whose penalised part this is; empty for any other term. Set when its basis is known.
    by_level : str
        The level of `by` whose covariance this is, once those are known; empty before, and for any other term.
    columns : tuple of str
        Names of its columns, where they are not those of the design.
    along : tuple of Expr
        Coordinates of the positions of ``ar1(0 + time | g)`` and ``exp(0 + pos(x, y) | g)``; the term's levels are then those
        positions within the levels of the group.
    options : tuple of (str, Number or Name)
        What stood beside the bar: ``d`` of ``rr()``, ``nu`` of ``mat()``, ``cov`` of ``propto()``.
    text : str
        What stood between the parentheses in the formula.
    """

    design: LinearPart
    group: tuple[Expr, ...]
    group_label: str
    covariance: str = "us"
    correlation_id: str | None = None
    by: Expr | None = None
    members: tuple[Expr, ...] = ()
    member_weights: Expr | None = None
    member_scale: bool = True
    cov: Expr | None = None
    prec: Expr | None = None
    smooth: str = field(compare=False, default="")
    by_level: str = field(compare=False, default="")
    columns: tuple[str, ...] = field(compare=False, default=())
    along: tuple[Expr, ...] = ()
    options: tuple[tuple[str, Expr], ...] = ()
    text: str = field(compare=False, default="")
    span: Span = field(compare=False, default=(0, 0))

    @property
    def counts(self) -> dict[str, int]:
        """Options that are whole numbers of a covariance of columns: ``d`` of ``rr()``."""
        return {} if self.along else {n: int(v.value) for n, v in self.options if isinstance(v, Number)}


@dataclass(frozen=True, slots=True)
class ResidualTerm:
    """A correlation of residuals.

    Attributes
    ----------
    kind : str
        ``ar, ma, arma, car1, cosy, unstr, sp_exp`` or ``fcor``.
    along : tuple of Expr
        Time, visit, the coordinates of a position, or what names the row of a matrix; empty where rows are in the order of
        their times, or of the matrix.
    group : Expr or None
        Within whose levels residuals are correlated; None for all rows.
    nugget : bool
        Whether neighbours have a correlation below one, however near they are.
    cov : Expr or None
        Name of the known covariance matrix of ``fcor(M)``.
    """

    kind: str
    along: tuple[Expr, ...]
    group: Expr | None
    nugget: bool = False
    cov: Expr | None = None
    text: str = field(compare=False, default="")
    span: Span = field(compare=False, default=(0, 0))

    def exprs(self) -> tuple[Expr, ...]:
        """Everything that is evaluated for it."""
        return self.along if self.group is None else (*self.along, self.group)


@dataclass(frozen=True, slots=True)
class Response:
    """Left-hand side: one expression, or two for ``cbind(successes, failures)``.

    `errors` are the known standard errors of ``y | se(x)``, in which case `weights` are their precisions; `besides` says that
    there is a residual variance too (``sigma = TRUE``). `imputed` says
    that missing responses are parameters (``y | mi()``). `censored` and
    `until` are those of ``y | cens(c, y2)``, `least` and `most` those of ``y | trunc(lb, ub)``; `rate` is the exposure of
    ``y | rate(x)``, whose logarithm is one of the offsets, and `chosen` the rows of ``y | subset(x)``.
    """

    parts: tuple[Expr, ...]
    label: str
    weights: Expr | None = None
    trials: Expr | None = None
    errors: Expr | None = None
    span: Span = field(compare=False, default=(0, 0))
    censored: Expr | None = None
    until: Expr | None = None
    least: Expr | None = None
    most: Expr | None = None
    rate: Expr | None = None
    chosen: Expr | None = None
    besides: bool = False
    imputed: bool = False

    @property
    def bounds(self) -> tuple[Expr, ...]:
        """What says where a response lies, or could have: missing or infinite where it says nothing."""
        return tuple(expr for expr in (self.until, self.least, self.most) if expr is not None)

    @property
    def is_partly_seen(self) -> bool:
        """Whether responses are censored or truncated."""
        return self.censored is not None or self.least is not None or self.most is not None

    def exprs(self) -> tuple[Expr, ...]:
        """Everything that is evaluated for it."""
        more = (self.weights, self.trials, self.censored, *self.bounds, self.rate, self.chosen)
        return (*self.parts, *(expr for expr in more if expr is not None))


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A formula's meaning.

    Attributes
    ----------
    text : str
        The formula as the user wrote it; all spans refer to it.
    response : Response or None
        None for a one-sided formula (a ``re_form`` or ``ziformula``).
    fixed : LinearPart
    random : tuple of RandomTerm
    distributional : tuple of (str, ModelSpec)
        ``bf(y ~ ..., sigma ~ ...)``: formulas of further parameters by name.
    residual : ResidualTerm or None
        How residuals are correlated; None where they are independent.
    family : str
        ``bf(y ~ x, family = poisson)``; empty where the formula names none.
    responses : tuple of ModelSpec
        Of a model of several responses a specification for each; it has no response and no terms itself then.
    rescor : bool or None
        Whether residuals of several responses are correlated within a row; None where the formula does not say.
    variables : tuple of str
        Every column named anywhere, in order of first use, without duplicates.

    Notes
    -----
    Two specifications are equal when they mean the same model: `text` and `variables` do not count.
    """

    text: str = field(compare=False)
    response: Response | None
    fixed: LinearPart
    random: tuple[RandomTerm, ...]
    distributional: tuple[tuple[str, ModelSpec], ...] = ()
    variables: tuple[str, ...] = field(compare=False, default=())
    residual: ResidualTerm | None = None
    family: str = ""
    responses: tuple[ModelSpec, ...] = ()
    rescor: bool | None = None
