"""Tables of marginal means and contrasts: R's columns, broom's columns, and what is said below them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.inference.means.tables import assessed, limits, standard_errors
from lmmformula.inference.multiplicity import method_named
from lmmformula.typing import Array, Record

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.means.joint import JointRow
    from lmmformula.inference.means.record import Means

__all__ = ["joint_table", "labelled", "r_table", "tidy_table"]


def labelled(means: Means) -> pd.DataFrame:
    """The labels as columns: numbers as numbers, levels as text."""
    import pandas as pd

    columns: Record = {}
    for name, values in means.labels.items():
        texts = any(isinstance(v, str) for v in values)
        columns[name] = np.array(list(values), dtype=object if texts else float)
    return pd.DataFrame(columns, index=pd.RangeIndex(len(means.estimates)))


def r_table(
    means: Means,
    *,
    show: Sequence[str],
    level: float,
    adjust: str,
    null: float = 0.0,
    side: int = 0,
    delta: float = 0.0,
    interval: str = "hpd",
) -> pd.DataFrame:
    """The columns that emmeans has.

    Parameters
    ----------
    show : sequence of {"interval", "test"}
    """
    out, own, scale = labelled(means), means.estimates, means.shown
    drawn, df = own.draws is not None, own.df()
    # a mean goes by its own name; on the scale of the response by that of the scale
    name = means.name if scale.is_identity else scale.response
    out[name], out["SE"] = _values(means), standard_errors(means)
    if not drawn:
        out["df"] = df
    notes = [f"Averaged over {', '.join(means.averaged)}."] if means.averaged else []
    normal = bool(np.isinf(df[np.isfinite(own.value)]).all()) if len(df) else True
    if not drawn and (not normal or means.errors not in ("Wald", "")):
        notes.append(f"Standard errors and degrees of freedom: {means.errors}.")
    if "interval" in show:
        notes += _with_limits(out, means, level, adjust, side, interval, normal)
    if "test" in show:
        notes += _with_tests(out, means, null, side, delta, adjust, normal)
    out.attrs["note"] = " ".join([*notes, *_scale_words(means, "test" in show), *means.notes, *_lost(means)])
    return out


def _values(means: Means) -> Array:
    """Estimates on the scale that is shown; of draws the median there."""
    own, scale = means.estimates, means.shown
    if own.draws is None or scale.is_identity:
        return scale.value(own.value)
    return np.where(own.estimable, np.median(scale.value(own.draws), axis=0), np.nan)


def _with_limits(
    out: pd.DataFrame, means: Means, level: float, adjust: str, side: int, interval: str, normal: bool
) -> list[str]:
    found = limits(means, level, adjust, side, interval)
    drawn = means.estimates.draws is not None
    names = (
        (("lower.HPD", "upper.HPD") if interval == "hpd" else ("lower.CI", "upper.CI"))
        if drawn
        else ("asymp.LCL", "asymp.UCL")
        if normal
        else ("lower.CL", "upper.CL")
    )
    out[names[0]], out[names[1]] = found.low, found.high
    kind = {True: "Highest-density" if interval == "hpd" else "Quantile", False: "Confidence"}[drawn]
    said = [f"{kind} level {level:g}."]
    if found.adjust != "none":
        said = [f"Confidence level {level:g}, adjusted by {found.adjust}{_of_family(means, found.adjust)}."]
    return said


def _with_tests(
    out: pd.DataFrame, means: Means, null: float, side: int, delta: float, adjust: str, normal: bool
) -> list[str]:
    found = assessed(means, null, side, delta, adjust)
    if means.estimates.draws is not None:
        out["probability"] = found.p_value
        return [_probability_words(null, side, delta)]
    scale = means.shown
    if null or not scale.is_identity:
        out["null"] = scale.value(np.full(len(out), float(null)))
    out["z.ratio" if normal else "t.ratio"] = found.statistic
    out["p.value"] = found.p_value
    said = []
    if delta:
        kind = {0: "equivalence", 1: "noninferiority", -1: "nonsuperiority"}[side]
        said.append(f"Tests of {kind} with a threshold of {delta:g}.")
    elif side:
        said.append(f"P-values are {'right' if side > 0 else 'left'}-tailed.")
    if found.adjust != "none":
        said.append(f"P-values adjusted by {found.adjust}{_of_family(means, found.adjust)}.")
    if means.kind == "response" and not means.scale.is_identity:
        said.append(f"Tests are made on the {means.scale.name} scale.")
    return said


def _of_family(means: Means, method: str) -> str:
    """How many tests a family has."""
    sizes = {len(positions) for positions in means.groups().values()}
    if method == "tukey":
        return f" for the differences of {means.pairs_of} means"
    return f" for {sizes.pop()} comparisons" if len(sizes) == 1 else ""


def _probability_words(null: float, side: int, delta: float) -> str:
    if delta:
        return (
            f"Probability that the value is within {delta:g} of {null:g}."
            if side == 0
            else (
                f"Probability that the value is {'above' if side > 0 else 'below'} {null - side * delta:g}."
            )
        )
    if side:
        return f"Probability that the value is {'above' if side > 0 else 'below'} {null:g}."
    return f"Probability of the direction: that the value lies on its side of {null:g}."


def _scale_words(means: Means, tested: bool) -> list[str]:
    if means.scale.is_identity or (tested and means.kind == "response"):
        return []
    if means.kind == "link":
        return [f"Results are on the {means.scale.name} scale, not that of the response."]
    biased = ", adjusted for bias" if means.scale.bias else ""
    return [f"Back-transformed from the {means.scale.name} scale{biased}."]


def _lost(means: Means) -> list[str]:
    count = int((~means.estimates.estimable).sum())
    if not count:
        return []
    return [
        f"{count} of {len(means.estimates)} are not estimable: the data have no rows that determine them (weights='flat' "
        "leaves empty cells out of averages)."
    ]


def tidy_table(means: Means, *, level: float, adjust: str, interval: str = "hpd") -> pd.DataFrame:
    """broom's columns: everything at once, p-values adjusted."""
    out, own = labelled(means), means.estimates
    ends = limits(means, level, adjust if means.are_contrasts else "none", 0, interval)
    found = assessed(means, 0.0, 0, 0.0, adjust)
    out["estimate"], out["std_error"] = _values(means), standard_errors(means)
    if own.draws is None:
        out["df"], out["statistic"], out["p_value"] = own.df(), found.statistic, found.p_value
    else:
        out["probability"] = found.p_value
    out["conf_low"], out["conf_high"] = ends.low, ends.high
    return out


def joint_table(rows: Sequence[JointRow], by: Sequence[str]) -> pd.DataFrame:
    """One row a test: ``model term, df1, df2, F.ratio, p.value``; chi-square over df1 where df2 is infinite."""
    import pandas as pd

    records = []
    for row in rows:
        test = row.test
        numbers = (
            (0, np.nan, np.nan, np.nan) if test is None else (test.q, test.df, test.statistic, test.p_value)
        )
        records.append((row.term, *row.by, *numbers))
    names = ["model term", *by, "df1", "df2", "F.ratio", "p.value"]
    out = pd.DataFrame(records, columns=names).astype({"df1": int})
    if short := [row.term for row in rows if row.lost]:
        out.attrs["note"] = (
            f"df1 is smaller than it would be without empty cells: {', '.join(dict.fromkeys(short))}."
        )
    return out


def usual(means: Means, adjust: str | None) -> str:
    """The adjustment that is used unless another is asked for."""
    return method_named(means.adjust if adjust is None else adjust)
