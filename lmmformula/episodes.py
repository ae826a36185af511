r"""Times to events cut into episodes: a row for each piece of a follow-up, so that rates that differ between pieces are counts.

With a hazard lambda_j e^eta that is constant within (c_{j-1}, c_j], a row followed from s to t with the event d has the
likelihood

    prod_j (lambda_j e^eta)^(d_j) exp(-lambda_j e^eta E_j),      E_j = length of (s, t] within (c_{j-1}, c_j],

which is, but for a constant, that of independent Poisson counts d_j of means lambda_j E_j e^eta (Holford 1980; Laird & Olivier
1981). A piecewise-exponential model with random effects (frailties) is a Poisson model with the logarithm of the exposure as an
offset; as cut points come closer it becomes Cox's.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.arguments import checked
from lmmformula.arguments.kinds import anything, optional, text
from lmmformula.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.typing import Array, Data

__all__ = ["split_episodes"]


@checked(
    cut=anything("a list of times at which to cut, such as [30, 90]"),
    time=text("the name of a column of times"),
    status=text("the name of a column of events"),
    start=optional(text("the name of a column of times")),
    episode=text("the name of a new column"),
    exposure=text("the name of a new column"),
)
def split_episodes(
    data: Data,
    cut: Data,
    *,
    time: str = "time",
    status: str = "status",
    start: str | None = None,
    episode: str = "episode",
    exposure: str = "exposure",
) -> pd.DataFrame:
    """Cut follow-up times at given points, as survival's ``survSplit`` and Epi's ``Lexis`` do.

    Parameters
    ----------
    data : frame or dict of columns
        One row for each follow-up.
    cut : sequence of float
        Times at which the hazard may change, in units of `time`.
    time, status : str
        Columns with the end of each follow-up and whether it ended with the event (1 or True) or not.
    start : str, optional
        Column with the beginning of each follow-up; by default all begin at 0.
    episode, exposure : str
        Names of the columns that are added.

    Returns
    -------
    DataFrame
        A row for each follow-up and each of its pieces, those of a follow-up together: all columns of `data`, of which `time`
        now holds the end of a piece, `start` (by default a new column ``"start"``) its beginning and `status` whether the event
        was at its end; `episode`, the interval as an ordered factor, ``(30, 90]``; and `exposure`, the length of the piece.

    Raises
    ------
    DataError
        For columns that are not there or taken, missing values, follow-ups that end before they begin, events other than 0, 1.

    Notes
    -----
    O(rows x (cuts + 1)). An interval is closed on the right: an event at a cut belongs to the piece before it.

    Examples
    --------
    >>> from lmmformula import split_episodes
    >>> split_episodes({"time": [50.0, 20.0], "status": [1, 0], "x": [1.5, 0.5]}, [30])
       time  status    x  start    episode  exposure
    0  30.0       0  1.5    0.0    (0, 30]      30.0
    1  50.0       1  1.5   30.0  (30, inf]      20.0
    2  20.0       0  0.5    0.0    (0, 30]      20.0
    """
    import pandas as pd

    frame, points = _frame(data), _points(cut)
    begin = "start" if start is None else start
    _check_names(
        frame, (time, status, *(() if start is None else (start,))), (begin, episode, exposure), start
    )
    end = _numbers(frame, time)
    first = np.zeros(len(frame)) if start is None else _numbers(frame, start)
    event = _numbers(frame, status)
    _check_values(first, end, event, time, status)
    edges = np.concatenate([[-np.inf], points, [np.inf]])
    low = np.maximum(first[:, None], edges[:-1])
    high = np.minimum(end[:, None], edges[1:])
    row, piece = np.nonzero(high > low)
    out = frame.iloc[row].reset_index(drop=True)
    low, high = low[row, piece], high[row, piece]
    kind = event.dtype if frame[status].dtype.kind == "f" else np.int64
    out[time], out[begin] = high, low
    out[status] = np.where(high == end[row], event[row], 0.0).astype(kind)
    labels = _labels(points, float(first.min()))
    out[episode] = pd.Categorical.from_codes(piece, labels, ordered=True)
    out[exposure] = high - low
    return out


def _frame(data: Data) -> pd.DataFrame:
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        return data
    if isinstance(data, Mapping):
        try:
            return pd.DataFrame(data)
        except ValueError as error:
            raise DataError(f"data must be columns of one length ({error}).") from None
    import narwhals as nw

    try:
        return nw.from_native(data, eager_only=True).to_pandas()
    except TypeError:
        raise DataError(
            f"data={data!r} must be a frame in memory or a dict of columns; read files first."
        ) from None


def _points(cut: Data) -> Array:
    try:
        points = np.atleast_1d(np.asarray(cut))
    except ValueError:  # of several lengths
        points = np.zeros(0)
    if points.ndim != 1 or not len(points) or points.dtype.kind not in "iuf" or not np.isfinite(points).all():
        raise DataError(f"cut={cut!r} must be times at which to cut, such as [30, 90].")
    return np.unique(points.astype(float))


def _check_names(
    frame: pd.DataFrame, old: tuple[str, ...], new: tuple[str, str, str], start: str | None
) -> None:
    if absent := [name for name in old if name not in frame]:
        listed = ", ".join(f"`{name}`" for name in absent)
        raise DataError(f"the data have no column {listed}; they have {', '.join(map(str, frame.columns))}.")
    begin, *others = new
    taken = [name for name in ([*others] if start is not None else [begin, *others]) if name in frame]
    if taken or len({*old, *new}) < len(old) + len(new) - (start is not None):
        raise DataError(
            f"the new columns {', '.join(f'`{name}`' for name in new)} need names that the data and each other do not have"
            f"{f' (`{taken[0]}` is a column of the data)' if taken else ''}: give others, start=, episode= or exposure=."
        )


def _numbers(frame: pd.DataFrame, name: str) -> Array:
    try:
        found = frame[name].to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError):
        raise DataError(f"the column `{name}` must hold numbers.") from None
    if missing := int((~np.isfinite(found)).sum()):
        raise DataError(
            f"the column `{name}` is missing or infinite in {missing:,} of {len(found):,} rows; leave these rows out."
        )
    return found


def _check_values(first: Array, end: Array, event: Array, time: str, status: str) -> None:
    if len(end) == 0:
        raise DataError("the table has no rows")
    if bad := int((end <= first).sum()):
        row = int(np.flatnonzero(end <= first)[0])
        raise DataError(
            f"{bad:,} of {len(end):,} follow-ups end before or where they begin (first: row {row + 1}, from {first[row]:g} to "
            f"{end[row]:g} of `{time}`)."
        )
    if bad := int((~np.isin(event, (0.0, 1.0))).sum()):
        raise DataError(
            f"`{status}` must be 1 for an event and 0 for none, and is neither in {bad:,} of {len(event):,} rows (e.g. "
            f"{event[~np.isin(event, (0.0, 1.0))][0]:g}); of survival's 1 and 2 subtract 1."
        )


def _labels(points: Array, first: float) -> list[str]:
    ends = [f"{min(first, 0.0):g}" if first < points[0] else "-inf", *(f"{p:g}" for p in points), "inf"]
    return [f"({a}, {b}]" for a, b in pairwise(ends)]
