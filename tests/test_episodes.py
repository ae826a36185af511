"""Follow-ups cut into episodes: the rows of survival's survSplit, and the fit that they give R's glm."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lmmformula import DataError, fit, split_episodes

FOLLOWED = pd.DataFrame(
    {
        "id": range(1, 9),
        "time": [2.5, 7, 10, 12.3, 4, 9.9, 20, 1],
        "status": [1, 0, 1, 1, 0, 1, 0, 1],
        "entry": [0.0, 1, 0, 5, 0, 0, 3, 0],
    }
)
# survival 3.5, survSplit(Surv(time, status) ~ ., d, c(4, 10)) and Surv(entry, time, status): id, start, end, event, piece
FROM_ZERO = """1 0 2.5 1 1;2 0 4 0 1;2 4 7 0 2;3 0 4 0 1;3 4 10 1 2;4 0 4 0 1;4 4 10 0 2;4 10 12.3 1 3;5 0 4 0 1;6 0 4 0 1;
6 4 9.9 1 2;7 0 4 0 1;7 4 10 0 2;7 10 20 0 3;8 0 1 1 1"""
DELAYED = """1 0 2.5 1 1;2 1 4 0 1;2 4 7 0 2;3 0 4 0 1;3 4 10 1 2;4 5 10 0 2;4 10 12.3 1 3;5 0 4 0 1;6 0 4 0 1;
6 4 9.9 1 2;7 3 4 0 1;7 4 10 0 2;7 10 20 0 3;8 0 1 1 1"""


def rows(text: str) -> np.ndarray:
    return np.array([[float(x) for x in line.split()] for line in text.replace("\n", "").split(";")])


@pytest.mark.parametrize(("start", "expected"), [(None, FROM_ZERO), ("entry", DELAYED)])
def test_the_rows_of_survsplit(start: str | None, expected: str) -> None:
    found = split_episodes(FOLLOWED, [10, 4], start=start)
    begin = "start" if start is None else start
    own = np.column_stack(
        [found["id"], found[begin], found["time"], found["status"], found["episode"].cat.codes + 1]
    )
    np.testing.assert_array_equal(own, rows(expected))
    np.testing.assert_allclose(found["exposure"], found["time"] - found[begin])
    assert found["episode"].cat.categories.tolist() == ["(0, 4]", "(4, 10]", "(10, inf]"]


def test_exposure_and_events_are_kept() -> None:
    found = split_episodes(FOLLOWED, np.linspace(0.5, 19.5, 39), start="entry")
    followed = np.asarray(FOLLOWED["time"] - FOLLOWED["entry"])
    assert np.sum(found["exposure"].to_numpy()) == pytest.approx(np.sum(followed))
    assert np.sum(found["status"].to_numpy()) == np.sum(FOLLOWED["status"].to_numpy())
    assert list(found.columns) == ["id", "time", "status", "entry", "episode", "exposure"]


def test_a_constant_hazard_is_the_exponential_distribution() -> None:
    """Whatever the cuts: events / exposure is the estimate, and cuts change the likelihood by nothing."""
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"time": rng.exponential(3.0, 60).round(3) + 0.001, "x": rng.normal(size=60)})
    data["status"] = (data["time"] < 4.0).astype(int)
    data["time"] = data["time"].clip(upper=4.0)
    logliks, slopes = [], []
    for cut in ([1.0], [0.5, 1.0, 2.0, 3.0]):
        rows = split_episodes(data, cut)
        m = fit("status ~ x + offset(log(exposure))", rows, family="poisson")
        # the Poisson likelihood has exposure^events more than the exponential one
        logliks.append(m.llf - float(np.sum(rows["status"].to_numpy() * np.log(rows["exposure"].to_numpy()))))
        slopes.append(m.params["x"])
    assert logliks[0] == pytest.approx(logliks[1], abs=1e-8)
    assert slopes[0] == pytest.approx(slopes[1], abs=1e-7)


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        ({"time": [2.5, 7, 10, 12.3, 4, 9.9, 20, 0]}, {}, "1 of 8 follow-ups end before or where they begin"),
        ({"status": [2, 1, 1, 1, 1, 1, 1, 1]}, {}, "neither in 1 of 8 rows"),
        ({"time": [np.nan, 7, 10, 12.3, 4, 9.9, 20, 1]}, {}, "missing or infinite in 1 of 8 rows"),
        ({}, {"episode": "id"}, "`id` is a column of the data"),
        ({}, {"exposure": "episode"}, "need names"),
        ({}, {"time": "when"}, "no column `when`"),
    ],
)
def test_what_cannot_be_cut_is_refused(change: dict, arguments: dict, said: str) -> None:
    with pytest.raises(DataError, match=said):
        split_episodes(FOLLOWED.assign(**change), [4], **arguments)
