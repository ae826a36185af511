"""Backward selection as lmerTest's ``step``: the random part by :mod:`ranova`, then the fixed part by :mod:`drop1`.

Random part: the piece with the largest p-value goes while that is above `alpha_random`, down to no random effects at all.
Fixed part: of the terms that no other contains the one with the largest p-value goes while that is above `alpha_fixed`. The
default of .1 for the random part is that of lmerTest and for its chi-square, whose p-value for a variance is about twice the
right one.

What is left was chosen by the same data: its p-values are too small and its intervals too short, as after any search of this
kind (Harrell 2015).

References
----------
Harrell (2015), Regression Modeling Strategies, 2nd ed.
Kuznetsova, Brockhoff & Christensen (2017), J. Stat. Software 82(13).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic

import numpy as np

from lmmformula.errors import DataError, PlanError
from lmmformula.formula import without_fixed
from lmmformula.inference.fitted import FittedT
from lmmformula.inference.selection.drop1 import drop1, droppable_labels, owners, usual_test
from lmmformula.inference.selection.ranova import by_distribution, random_table, removals
from lmmformula.inference.selection.refits import own_spec, refitted

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted

__all__ = ["Steps", "step"]


@dataclass(frozen=True, eq=False)
class Steps(Generic[FittedT]):
    """What went, in which order, and the model that is left.

    Attributes
    ----------
    random, fixed : DataFrame
        Tests in the order of the search: ``Eliminated`` is 1, 2, ... for what went and 0 for what stays.
    fit : Fit
        The model found.
    formula : str
        Its formula.
    """

    random: pd.DataFrame = field(repr=False)
    fixed: pd.DataFrame = field(repr=False)
    fit: FittedT = field(repr=False)

    @property
    def formula(self) -> str:
        return self.fit.formula

    @property
    def frame(self) -> pd.DataFrame:
        """Both tables as one: ``part, term, eliminated, statistic, df, p_value``."""
        import pandas as pd

        parts = []
        for part, table in (("random", self.random), ("fixed", self.fixed)):
            rows = table[table["Eliminated"].notna()]
            p = next((name for name in rows.columns if str(name).startswith("Pr(")), None)
            value = next((name for name in ("F value", "Chisq", "LRT") if name in rows), None)
            df = next((name for name in ("NumDF", "Df", "npar") if name in rows), None)
            if not len(rows) or p is None or value is None or df is None:
                continue
            parts.append(
                pd.DataFrame(
                    {
                        "part": part,
                        "term": rows.index.astype(str),
                        "eliminated": np.asarray(rows["Eliminated"], dtype=int),
                        "statistic": np.asarray(rows[value], dtype=float),
                        "df": np.asarray(rows[df], dtype=float),
                        "p_value": np.asarray(rows[p], dtype=float),
                    }
                )
            )
        columns = ["part", "term", "eliminated", "statistic", "df", "p_value"]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def step(
    fit: FittedT,
    direction: str = "backward",
    alpha_random: float = 0.1,
    alpha_fixed: float = 0.05,
    *,
    keep: tuple[str, ...] = (),
    method: str = "chisq",
    test: str | None = None,
    ddf: str = "satterthwaite",
    n: int | None = None,
    seed: int | np.random.Generator | None = None,
) -> Steps[FittedT]:
    """Reduce the random part, then the fixed part; see :meth:`lmmformula.Fit.step`."""
    fit.problem.refuse_responses(
        "step()", "Ask it of a fit of one response, or compare fits by anova(m1, m2), aic and bic."
    )
    if direction != "backward":
        raise PlanError(
            f"direction={direction!r}: terms are dropped, one at a time, and none is added, since a fit does not "
            "say which could be. Use direction='backward' from the largest model that makes sense."
        )
    _refuse_unknown(fit, keep)
    fit.inference.check("likelihood ratio")
    rng = np.random.default_rng(seed)
    random, left = _random_part(fit, alpha_random, method, n, rng)
    fixed, found = _fixed_part(left, alpha_fixed, keep, test, ddf, n, rng)
    return Steps(random, fixed, found)


def _refuse_unknown(fit: Fitted, keep: tuple[str, ...]) -> None:
    known = list(dict.fromkeys([*fit.problem.X.term_labels, *owners(fit, own_spec(fit))]))
    if unknown := [name for name in keep if name not in known]:
        raise DataError(
            f"keep={unknown[0]!r} is no term of the fixed part; it has {', '.join(known) or 'none'}."
        )


def _random_part(
    fit: FittedT, alpha: float, method: str, n: int | None, rng: np.random.Generator
) -> tuple[pd.DataFrame, FittedT]:
    """lmerTest's table of the random part, and the fit that is left."""
    import pandas as pd

    rows: list[pd.DataFrame] = [_numbered(random_table(fit, []).iloc[:1], np.nan)]
    now, gone = fit, 0
    while found := removals(now) if now.problem.terms else []:
        table = random_table(now, found).iloc[1:].copy()
        p = np.array([one.p_value for one in by_distribution(found, method, n, rng)])
        if method != "chisq":
            table["p_value"] = p
        at = int(np.argmax(np.where(np.isnan(p), -np.inf, p)))
        if not p[at] > alpha:
            rows.append(_numbered(table, 0))
            break
        gone += 1
        rows.append(_numbered(table.iloc[[at]], gone))
        now = found[at].small
    out = pd.concat(rows)
    out.attrs["heading"] = "Backward reduced random-effect table"
    return out, now


def _fixed_part(
    fit: FittedT,
    alpha: float,
    keep: tuple[str, ...],
    test: str | None,
    ddf: str,
    n: int | None,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, FittedT]:
    import pandas as pd

    kind = usual_test(fit) if test is None else test
    rows: list[pd.DataFrame] = []
    now, gone, refitted_by_ml = fit, 0, False
    while droppable_labels(now, spec := own_spec(now)):
        table = drop1(now, kind, ddf, n, rng)
        refitted_by_ml = "refitted" in table.attrs
        tests = table.loc[[name for name in table.index if name != "<none>"]]
        column = "p_value" if "p_value" in tests else str(tests.columns[-1])
        whose = owners(
            now, spec
        )  # a smooth with a ``by`` factor has several rows, and goes if all of them may
        terms = np.array([whose.get(name, name) for name in tests.index], dtype=object)
        open_ = tests[column].groupby(terms, sort=False).min()
        held = {whose.get(name, name) for name in keep}
        open_ = open_[[name for name in open_.index if name not in held]]
        if not len(open_) or not (open_ > alpha).any():
            rows.append(_numbered(tests, 0))
            break
        label = str(open_.idxmax())
        gone += 1
        rows.append(_numbered(tests[terms == label], gone))
        now = refitted(now, without_fixed(spec, label))
    out = pd.concat(rows) if rows else pd.DataFrame({"Eliminated": []})
    out.attrs["heading"] = "Backward reduced fixed-effect table"
    if refitted_by_ml:
        out.attrs["note"] = "Likelihood ratios are those of fits by maximum likelihood."
    return out, now


def _numbered(table: pd.DataFrame, eliminated: float) -> pd.DataFrame:
    out = table.copy()
    out.attrs = {}
    out.insert(0, "Eliminated", float(eliminated))
    return out
