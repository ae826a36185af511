r"""Tests of the fixed-effects terms: F for Gaussian models, Wald's chi-square for others.

A term is tested by a hypothesis L beta = 0. With ``C = Var(beta)``::

    F = (L beta)' (L C L')^-1 (L beta) / q,      q = rank L

on degrees of freedom by Satterthwaite (Fai & Cornelius 1996) or Kenward & Roger: :mod:`lmmformula.inference.uncertainty`.

Generalised models: ``q F`` is chi-square on q df (Wald). Types 1 and 2 test a term where the terms A, later ones or those
that contain it, are zero; the estimate under that restriction, to the same order, has L = [I, -C_ta C_aa^-1] (Fox & Weisberg
2019, sec. 5.3.4).

Which terms contain a term decides type 2. Linear mixed models follow lmerTest (SAS): more factors and the same covariates, so
that f is not contained in f:x, and its test is that at x = 0. Generalised models follow car: all variables of the term and
more, so that no test depends on the origin of x unless x is in no other term. lmerTest 3.1 passes over the variables that a
term codes by an indicator for each level: f is not contained in f:h there if h has no term of its own. Here it is, as in SAS.

A smooth has one row, whatever the type: the test that it is zero, its unpenalised columns and penalised part together
(:mod:`lmmformula.inference.smooths.tests`), on its reference degrees of freedom, with its effective ones beside them.

References
----------
Fox & Weisberg (2019), An R Companion to Applied Regression, 3rd ed. (car::Anova).
Kuznetsova, Brockhoff & Christensen (2017), J. Stat. Software 82(13): types I, II and III as here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import DataError, PlanError
from lmmformula.frame.design import Design, FactorPart, NumericPart
from lmmformula.frame.rank import independent_columns
from lmmformula.frame.values import Basis, Factor, Value
from lmmformula.numerics.columns import column_sizes
from lmmformula.typing import Array

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Cluster
    from lmmformula.inference.smooths.tests import SmoothTest
    from lmmformula.inference.uncertainty import Uncertainty

__all__ = ["terms_table", "with_smooths"]

COLUMNS = ("Sum Sq", "Mean Sq", "NumDF", "DenDF", "F value", "Pr(>F)")
WALD_COLUMNS = ("Chisq", "Df", "Pr(>Chisq)")
NOISE = 1e-9
"""Share of one below which a coefficient of a hypothesis is rounding, in columns of unit size."""
TYPES = {"1": 1, "2": 2, "3": 3, "I": 1, "II": 2, "III": 3}


def terms_table(
    fit: Fitted,
    type: int | str = 3,  # noqa: A002
    ddf: str = "satterthwaite",
    vcov: str | None = None,
    cluster: Cluster = None,
) -> pd.DataFrame:
    """Test of each fixed-effects term: F in lmerTest's columns, or for generalised models Wald's chi-square in car's.

    Parameters
    ----------
    fit : Fit
    type : {1, 2, 3, "I", "II", "III"}
        1: each term after those before it. 2: each term after all that do not contain it, by lmerTest's rule for linear mixed
        models and by car's for generalised ones: see the module's head. 3: each term's coefficients averaged with equal
        weights over the levels of the factors it interacts with; does not depend on the coding.
    ddf : {"satterthwaite", "kenward-roger", "normal"}
        Denominator degrees of freedom. Kenward-Roger needs a REML fit; generalised models have none.
    vcov, cluster
        Covariance matrix by clusters, with the approximate Hotelling test: see :mod:`lmmformula.inference.robust`.

    Returns
    -------
    DataFrame
        Index: the terms; smooths, after the others, have a column ``edf`` too. A term without columns of its own (all
        dropped) is a row of NaN.

    Notes
    -----
    car's type III tests coefficients as they are coded: it equals type 3 here for contrasts that sum to zero
    (``contr.sum``, ``contr.helmert``), not for R's default ``contr.treatment``.
    """
    import pandas as pd

    kind = TYPES.get(str(type).upper())
    if kind is None:
        raise DataError(f"type={type!r} is unknown; use 1, 2 or 3.")
    fit.inference.check("anova")
    if fit.problem.responses:
        return _of_responses(fit, type, ddf, vcov, cluster)
    known = fit.inference.uncertainty(ddf, vcov, cluster)
    if not fit.inference.is_gaussian:
        return _wald_table(fit, kind, known)
    hypotheses = (_sequential, _type_two, _type_three)[kind - 1](fit)
    rows = {label: _row(known, hypothesis, fit.sigma) for label, hypothesis in hypotheses.items()}
    table = pd.DataFrame(list(rows.values()), index=list(rows), columns=list(COLUMNS), dtype=float)
    table.attrs["heading"] = f"Type {'I' * kind} analysis of variance table {known.how}"
    return with_smooths(fit, table)


def _of_responses(
    fit: Fitted,
    type: int | str,  # noqa: A002
    ddf: str,
    vcov: str | None,
    cluster: Cluster,
) -> pd.DataFrame:
    """The tables of all responses as one, terms named after their response as coefficients are."""
    import pandas as pd

    from lmmformula.inference.one_response import responses_of

    tables = []
    for own in responses_of(fit):
        if own.problem.recipe.smooths:
            raise PlanError(
                f"the formula of {own.name} has smooths, whose tests are those of a model of one response: fit it by itself, "
                "or test coefficients by hypothesis()."
            )
        table = terms_table(own.fitted, type, ddf, vcov, cluster)
        tables.append(table.set_axis([f"{own.name}:{label}" for label in table.index]))
    out = pd.DataFrame(pd.concat(tables))
    out.attrs |= tables[0].attrs
    return out


def _row(known: Uncertainty, hypothesis: Array, sigma: float) -> tuple[float, ...]:
    """A row of the table. Sums of squares do not carry the scale of Kenward-Roger's F (lmerTest's choice)."""
    if not len(hypothesis):
        return (np.nan,) * len(COLUMNS)
    test = known.joint(hypothesis)
    mean_square = test.f * sigma**2
    return (mean_square * test.q, mean_square, test.q, test.df, test.statistic, test.p_value)


def _wald_table(fit: Fitted, kind: int, known: Uncertainty) -> pd.DataFrame:
    """Wald's chi-square of each term."""
    import pandas as pd

    hypotheses = _type_three(fit) if kind == 3 else _restricted(fit, kind, known.covariance)
    rows = [_wald_row(known, hypothesis) for hypothesis in hypotheses.values()]
    table = pd.DataFrame(rows, index=list(hypotheses), columns=list(WALD_COLUMNS), dtype=float)
    table.attrs["heading"] = f"Type {'I' * kind} analysis of deviance table with Wald's chi-square tests"
    return with_smooths(fit, table)


def _wald_row(known: Uncertainty, hypothesis: Array) -> tuple[float, ...]:
    """Chi-square, df and p of L beta = 0."""
    if not len(hypothesis):
        return (np.nan,) * len(WALD_COLUMNS)
    test = known.joint(hypothesis)
    return test.f * test.q, test.q, test.p_value


def _restricted(fit: Fitted, kind: int, covariance: Array) -> dict[str, Array]:
    """Each term's coefficients where those of the later terms (`kind` 1) or of its relatives (2) are zero."""
    columns, labels = _columns(fit), list(_columns(fit))
    others = _relatives(fit) if kind == 2 else {a: labels[j + 1 :] for j, a in enumerate(labels)}
    eye, out = np.eye(fit.problem.p), {}
    for label, own in columns.items():
        zero = np.concatenate([np.zeros(0, dtype=np.intp), *(columns[other] for other in others[label])])
        weights = np.linalg.solve(covariance[np.ix_(zero, zero)], covariance[np.ix_(zero, own)])
        out[label] = eye[own] - weights.T @ eye[zero]
    return out


# -- smooths -----------------------------------------------------------------------------------------------------------


def with_smooths(fit: Fitted, table: pd.DataFrame) -> pd.DataFrame:
    """A table of terms in which each smooth has its own test in place of that of its unpenalised columns."""
    from lmmformula.inference.smooths.places import has_smooths
    from lmmformula.inference.smooths.tests import smooth_tests

    if not has_smooths(fit):
        return table
    import pandas as pd

    tests = smooth_tests(fit)
    rows = {label: _smooth_row(t, fit.sigma, table.columns) for label, t in tests.items()}
    own = pd.DataFrame.from_dict(rows, orient="index", columns=list(table.columns), dtype=float)
    out = pd.DataFrame(pd.concat([table[~table.index.isin(list(tests))], own]))
    out.insert(list(out.columns).index("Df" if "Df" in out else "NumDF"), "edf", np.nan)
    out.loc[list(tests), "edf"] = [t.edf for t in tests.values()]
    out.attrs |= table.attrs | {
        "note": "Smooths: edf and tests of Wood (2013), on reference degrees of freedom."
    }
    return out


def _smooth_row(test: SmoothTest, sigma: float, columns: pd.Index) -> list[float]:
    """F and its sums of squares, or chi-square, under the names of the columns."""
    f = test.statistic / test.ref_df if test.ref_df else np.nan
    values = {
        "Sum Sq": f * test.ref_df * sigma**2,
        "Mean Sq": f * sigma**2,
        "NumDF": test.ref_df,
        "DenDF": np.inf if test.df is None else test.df,
        "F value": f,
        "Chisq": test.statistic,
        "Df": test.ref_df,
    }
    return [values.get(str(name), test.p) for name in columns]


# -- hypotheses ----------------------------------------------------------------------------------------------------


def _columns(fit: Fitted) -> dict[str, NDArray[np.intp]]:
    """Positions of each term's columns."""
    assign = np.asarray(fit.problem.X.assign, dtype=int)
    return {label: np.flatnonzero(assign == j + 1) for j, label in enumerate(fit.problem.X.term_labels)}


def _sequential(fit: Fitted) -> dict[str, Array]:
    """Type I: what a column adds to those before it, the rows of R in X = QR (with unit diagonal: Doolittle)."""
    r = fit.inference.triangle()
    unit = r / np.diagonal(r)[:, None]
    return {label: unit[own] for label, own in _columns(fit).items()}


def _type_two(fit: Fitted) -> dict[str, Array]:
    """Type II: as type I with the term and its containers moved to the end."""
    columns, containers, r = _columns(fit), _containers(fit), fit.inference.triangle()
    if len(columns) == 1:
        return _sequential(fit)
    out: dict[str, Array] = {label: np.eye(len(r))[own] for label, own in columns.items()}
    for label, own in columns.items():
        if not containers[label]:
            continue
        last = np.sort(np.concatenate([own, *(columns[other] for other in containers[label])]))
        others = np.setdiff1d(np.arange(len(r)), last)
        order = np.concatenate([others, own, np.setdiff1d(last, own)]).astype(int)
        moved = np.empty_like(r)
        triangle = np.linalg.qr(r[:, order], mode="r")
        moved[:, order] = triangle / np.diagonal(triangle)[:, None]
        out[label] = moved[len(others) : len(others) + len(own)]
    return out


def _containers(fit: Fitted) -> dict[str, list[str]]:
    """Terms that contain each term in a linear mixed model: more factors and the same covariates (SAS's rule, lmerTest's).

    A covariate is a numeric variable of one column; several columns (``poly``, ``ns``) count as a factor does.
    """
    design: Design = fit.problem.recipe.fixed
    names = [{p.name for p in parts} for parts in design.terms]
    covariates = [{p.name for p in parts if _is_covariate(p)} for parts in design.terms]
    labels = design.term_labels
    return {
        label: [
            labels[j] for j in range(len(labels)) if names[i] < names[j] and covariates[i] == covariates[j]
        ]
        for i, label in enumerate(labels)
    }


def _is_covariate(part: FactorPart | NumericPart) -> bool:
    return isinstance(part, NumericPart) and part.suffixes == ("",)


def _relatives(fit: Fitted) -> dict[str, list[str]]:
    """Terms that contain each term in a generalised model: all of its variables and more, numeric or not (car's rule)."""
    design: Design = fit.problem.recipe.fixed
    names = [{p.name for p in parts} for parts in design.terms]
    labels = design.term_labels
    return {
        label: [labels[j] for j in range(len(labels)) if names[i] < names[j]]
        for i, label in enumerate(labels)
    }


def _type_three(fit: Fitted) -> dict[str, Array]:
    """Type III as SAS defines it: a term's estimable functions made orthogonal to those of its containers.

    With X_t the treatment-coded columns and D those of indicators for all levels, D = X_t B. The rows of B' are the
    estimable functions; in each term's columns they are replaced by their residual on the columns of its containers,
    the larger terms first.
    """
    columns, containers = _columns(fit), _containers(fit)
    if len(columns) == 1:
        return _sequential(fit)
    design: Design = fit.problem.recipe.fixed
    if not any(containers.values()) and _treatment_coded(design):
        return {label: np.eye(fit.problem.p)[own] for label, own in columns.items()}
    treated, indicators = _recoded(design, drop_first=True), _recoded(design, drop_first=False)
    x, x_t, d = _coded_rows(fit, (design, treated, indicators))
    kept = independent_columns(np.asarray(x_t, dtype=np.float64))
    x_t = x_t[:, kept]
    functions = _combinations(x_t, d).T
    assign = np.asarray(treated.assign)[kept]
    of_term = {label: np.flatnonzero(assign == j + 1) for j, label in enumerate(design.term_labels)}
    sizes = {label: len(parts) for label, parts in zip(design.term_labels, design.terms, strict=True)}
    for label in sorted(design.term_labels, key=lambda name: -sizes[name]):
        if containers[label]:
            rest = functions[:, np.concatenate([of_term[other] for other in containers[label]])]
            own = functions[:, of_term[label]]
            functions[:, of_term[label]] = own - rest @ _combinations(rest, own)
    place = {name: i for i, name in enumerate(indicators.names)}
    functions = functions[[place[treated.names[j]] for j in kept]]
    to_fit, size, size_t = _combinations(x_t, x), column_sizes([x]), column_sizes([x_t])
    functions = _without_noise(functions, size_t, size_t)
    out = {}
    for label, own in of_term.items():
        rows = _without_noise((functions[:, own].T @ to_fit).T, size, size_t[own]).T
        out[label] = rows if len(columns[label]) else np.zeros((0, x.shape[1]))
    return {label: rows[np.abs(rows).sum(axis=1) > 0.0] for label, rows in out.items()}


def _combinations(a: Array, b: Array) -> Array:
    """C with A C = B, without the noise of rounding, whatever the units of the columns."""
    size_a, size_b = column_sizes([a]), column_sizes([b])
    size_a, size_b = (np.where(s > 0.0, s, 1.0) for s in (size_a, size_b))
    found = np.linalg.lstsq(a / size_a, b / size_b, rcond=None)[0]
    return np.where(np.abs(found) > NOISE, found, 0.0) * (size_b / size_a[:, None])


def _without_noise(functions: Array, of_coefficients: Array, own: Array) -> Array:
    """Combinations of coefficients, one a column, with zeros that are zero; sizes are those of the columns of X of both."""
    parts = np.abs(functions) / of_coefficients[:, None] * own
    return np.where(parts > NOISE, functions, 0.0)


def _treatment_coded(design: Design) -> bool:
    """Whether every factor has indicator columns, of all levels or all but the first."""
    parts = [part for term in design.terms for part in term if isinstance(part, FactorPart)]
    return all(np.array_equal(p.matrix, np.eye(len(p.levels))[:, -p.matrix.shape[1] :]) for p in parts)


def _recoded(design: Design, *, drop_first: bool) -> Design:
    """`design` with treatment contrasts where it has contrasts (`drop_first`), or with indicators of all levels."""
    terms, names, assign = [], ["(Intercept)"] if design.intercept else [], [0] if design.intercept else []
    for j, parts in enumerate(design.terms):
        new = []
        for part in parts:
            if isinstance(part, FactorPart):
                first = int(drop_first and part.matrix.shape[1] < len(part.levels))
                eye = np.eye(len(part.levels))[:, first:]
                part = replace(part, matrix=eye, suffixes=part.levels[first:])
            new.append(part)
        labels = [""]
        for part in new:
            labels = [
                f"{a}:{part.name}{b}" if a else f"{part.name}{b}" for b in part.suffixes for a in labels
            ]
        terms.append(tuple(new))
        names += labels
        assign += [j + 1] * len(labels)
    return Design(design.intercept, tuple(terms), tuple(names), tuple(assign), design.term_labels)


def _coded_rows(fit: Fitted, designs: tuple[Design, ...]) -> list[Array]:
    """Columns of `designs` on common rows, the first design's restricted to the columns of the fit.

    How codings turn into each other does not depend on the rows while every combination of levels occurs, that is
    while no column was dropped: made-up rows then serve. Otherwise it takes the rows of the fit.
    """
    kept = list(fit.problem.recipe.kept)
    if len(kept) == len(designs[0].names):
        blocks = _made_up_rows(designs)
    else:
        if fit.recall.data is None:
            raise PlanError(
                f"type 3 tests of a model with {len(designs[0].names) - len(kept)} dropped columns need the rows of the "
                "data, and a loaded fit does not carry them: use type=1 or 2, or fit again."
            )
        recipes = [replace(fit.problem.recipe, fixed=d, kept=tuple(range(len(d.names)))) for d in designs]
        blocks = [np.asarray(r.replay(fit.recall.data, terms=()).X)[fit.problem.rows] for r in recipes]
    return [blocks[0][:, kept], *blocks[1:]]


def _made_up_rows(designs: tuple[Design, ...]) -> list[Array]:
    """Columns of `designs` on rows where every term sees all its combinations of levels and arbitrary numbers."""
    rng = np.random.default_rng(0)
    parts = {part.name: part for term in designs[0].terms for part in term}
    numbers = {tuple(p.name for p in term if not isinstance(p, FactorPart)) for term in designs[0].terms} - {
        ()
    }
    copies = 2 + sum(int(np.prod([len(parts[name].suffixes) for name in term])) for term in numbers)
    cells = []
    for term in designs[0].terms:
        grid = [range(len(p.levels)) for p in term if isinstance(p, FactorPart)]
        index = (
            np.indices([len(g) for g in grid]).reshape(len(grid), -1) if grid else np.zeros((0, 1), dtype=int)
        )
        cells.append((np.repeat(index, copies, axis=1), [p.name for p in term if isinstance(p, FactorPart)]))
    n = sum(index.shape[1] for index, _ in cells)
    values: dict[object, Value] = {}
    for name, part in parts.items():
        if isinstance(part, FactorPart):
            drawn = [rng.integers(0, len(part.levels), index.shape[1]) for index, _ in cells]
            chosen = [
                i[own.index(name)] if name in own else d for (i, own), d in zip(cells, drawn, strict=True)
            ]
            values[part.expr] = Factor(
                np.concatenate(chosen).astype(np.int32), np.array(part.levels, dtype=object)
            )
        else:
            block = rng.standard_normal((n, len(part.suffixes)))
            values[part.expr] = block[:, 0] if part.suffixes == ("",) else Basis(block, part.suffixes)
    return [design.matrix(values.__getitem__, n) for design in designs]
