"""One formula, many responses."""

from __future__ import annotations

import warnings

import numpy as np

from lmmformula.api import FITTING, fit
from lmmformula.arguments import checked
from lmmformula.errors import DataError, FitError, LmmformulaWarning, warn
from lmmformula.families import resolve
from lmmformula.formula import model_spec
from lmmformula.frame import open_table
from lmmformula.frame.columns import Column
from lmmformula.frame.table import Table
from lmmformula.inference.many.estimates import estimates
from lmmformula.inference.many.moderation import moderated as moderate
from lmmformula.inference.many.placing import Estimates, placed
from lmmformula.inference.many.responses import Responses, of_table, patterns
from lmmformula.reporting.many.fits import ManyFits
from lmmformula.result import Fit
from lmmformula.typing import Argument, Data, Index

__all__ = ["fit_many"]

FEW_ROWS = 2


@checked(rest=FITTING)
def fit_many(
    formula: str,
    data: Data,
    responses: Data,
    *,
    method: str = "auto",
    moderated: bool = False,
    **arguments: Argument,
) -> ManyFits:
    """Fit one model to many responses: genes, voxels, electrodes, questionnaire items.

    Parameters
    ----------
    formula : str
        ``"~ treatment + age + (1 | donor)"``; each of the responses stands on its left side, in the place of any that is there.
    data : table
        As in :func:`fit`: a row for each observation.
    responses : frame, array (rows, B), dict of columns, or names of columns of the data
        A column for each response. A pandas frame with labels is matched to the data by its index. Missing values are left out
        response by response; responses that miss the same rows share a design.
    method : str
        As in :func:`fit`.
    moderated : bool
        Moderate the residual variances by empirical Bayes (limma's eBayes, Smyth 2004), which helps where a response has few
        rows: see :mod:`lmmformula.inference.many.moderation`.
    **arguments
        As in :func:`fit`: ``family``, ``weights``, ``offset``, ``contrasts`` and others.

    Returns
    -------
    ManyFits
        ``.frame`` has a row for each fixed effect of each response, ``.top(term)`` the smallest p-values, ``.plot(term)`` a
        volcano; printing it shows an overview.

    Raises
    ------
    FormulaError, DataError, PlanError
        As :func:`fit` does, and for responses that do not fit to the data.

    Notes
    -----
    Gaussian responses share Z'Z, Z'X and X'X; their searches move together, in array operations over responses
    (:mod:`lmmformula.backends.batched`): estimates, standard errors and Satterthwaite's degrees of freedom are those of single
    fits. With a level structure of one factor an evaluation costs O(levels) a response. Where that cannot be (other families,
    correlation structures, hundreds of crossed levels) each is refitted from the first one's design, without formula and plan.

    References
    ----------
    Smyth (2004), Stat. Appl. Genet. Mol. Biol. 3(1), 3; Hoffman & Roussos (2021), Bioinformatics 37, 192-201 (dream);
    Benjamini & Hochberg (1995), J. R. Stat. Soc. B 57, 289-300.

    Examples
    --------
    >>> from lmmformula import fit_many, load_dataset
    >>> found = fit_many("~ Days + (1 | Subject)", load_dataset("sleepstudy"), ["Reaction"])
    >>> found.frame["estimate"].round(4).tolist()
    [251.4051, 10.4673]
    """
    model_spec(formula)
    right = formula.partition("~")[2].strip()
    table = open_table(data)
    given = of_table(responses, table)
    name = _free_name(table)
    text = f"{name} ~ {right}"
    parts, places, reasons, shown = [], [], {}, ""
    rows = np.zeros(len(given.names), dtype=np.int64)
    for present, which in patterns(given.values):
        try:
            base = _base(text, table, name, given, present, which, method, arguments)
            own = given.values[base.problem.rows][:, which]
            parts.append(estimates(base, own))
        except (DataError, FitError) as error:
            if len(which) == len(given.names):
                raise
            reasons |= dict.fromkeys((given.names[j] for j in which), str(error))
            continue
        places.append(which)
        rows[which] = base.problem.n
        shown = shown or base.method
    if not parts:
        raise DataError(
            f"none of the responses could be fitted; of the first: {next(iter(reasons.values()))}"
        )
    found = placed(parts, places, len(given.names))
    prior = moderate(found.sigma**2, found.residual_df) if moderated else None
    _announce(found, reasons)
    return ManyFits(f"~ {right}", shown, tuple(given.names), rows, found, prior, reasons)


def _base(
    text: str,
    table: Table,
    name: str,
    given: Responses,
    present: Index,
    which: Index,
    method: str,
    arguments: dict[str, Argument],
) -> Fit:
    """The fit whose design the responses `which` share.

    A linear design is the same for any response: that of noise, which no covariate explains.
    """
    if len(present) < FEW_ROWS:
        raise DataError(f"{len(present)} rows are present, too few for a fit.")
    family = arguments.get("family", "gaussian")
    values = np.full(table.n_rows, np.nan)
    values[present] = given.values[present, which[0]]
    if resolve(family).is_linear:
        values[present] = np.random.default_rng(1).standard_normal(len(present))
    column = Column(values, np.isnan(values) if len(present) < table.n_rows else None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LmmformulaWarning)
        return fit(text, table.with_column(name, column), method=method, progress=False, **arguments)


def _free_name(table: Table) -> str:
    name = "response"
    while name in table.names:
        name += "_"
    return name


def _announce(found: Estimates, reasons: dict[str, str]) -> None:
    if reasons:
        first = next(iter(reasons))
        warn(
            f"{len(reasons):,} of {found.n:,} responses could not be fitted and are missing in the frame; `{first}`: "
            f"{reasons[first]}",
            LmmformulaWarning,
        )
    stopped = int((~found.converged & np.isfinite(found.llf)).sum())
    if stopped:
        warn(
            f"the search of {stopped:,} of {found.n:,} responses ended before it met its tolerance (column `converged`): look "
            "at their data, or fit them one by one.",
            LmmformulaWarning,
        )
