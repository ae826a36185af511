"""Many fits of one structure against single fits in a loop, here and by a peer: ``python -m benchmarks.many``.

Each task is run once unmeasured and then as often as asked; the least time counts. Loops are timed over fewer fits than the
task has and scaled up, since all their fits cost the same. ``glmm`` takes part where it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import warnings
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from lmmformula import Fit, fit, fit_many, load_dataset

__all__ = ["main"]

LOOPED = 40


def _least(repeats: int, run: Callable[[], Any]) -> float:
    run()
    times = []
    for _ in range(repeats):
        begun = perf_counter()
        run()
        times.append(perf_counter() - begun)
    return min(times)


def _crossed(rows: int = 2_000) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    g, h, x = rng.integers(0, 50, rows), rng.integers(0, 30, rows), rng.normal(size=rows)
    y = 1.0 + x + rng.normal(size=50)[g] + 0.5 * rng.normal(size=30)[h] + rng.normal(size=rows)
    return pd.DataFrame({"y": y, "x": x, "g": g.astype(str), "h": h.astype(str)})


def _genes(count: int = 10_000, rows: int = 300) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(2)
    data = pd.DataFrame(rng.normal(size=(rows, 3)), columns=["a", "b", "c"]).assign(
        donor=rng.integers(0, 30, rows).astype(str)
    )
    own = rng.normal(size=(30, count)) * rng.gamma(2.0, 0.4, count)
    y = own[data["donor"].astype(int)] + rng.normal(size=(rows, count)) * rng.gamma(5.0, 0.2, count)
    return data, y


def _looped(formula: str, data: pd.DataFrame, responses: np.ndarray, count: int) -> dict[str, float]:
    """Seconds of `count` single fits, scaled up from the first few, by each package."""
    name = formula.partition("~")[0].strip()
    some = [data.assign(**{name: y}) for y in responses.T[:LOOPED]]

    def ours() -> None:
        for own in some:
            fit(formula, own).bse  # noqa: B018 - computed when read

    out = {"single fits": _least(1, ours) * count / len(some)}
    if importlib.util.find_spec("glmm") is not None:
        import glmm  # pyright: ignore[reportMissingImports]

        def theirs() -> None:
            for own in some:
                glmm.fit(own, formula, "gaussian", reml=True, satterthwaite=False, anova_test="Wald")

        out["glmm"] = _least(1, theirs) * count / len(some)
    return out


def _refits(m: Fit, data: pd.DataFrame, repeats: int, count: int = 1_000) -> dict[str, float]:
    seconds = _least(repeats, lambda: m.bootstrap(count, seed=1))
    drawn = m.simulate(LOOPED, seed=1).to_numpy()
    return {"together": seconds, **_looped(m.formula, data, drawn, count)}


def _tasks(repeats: int) -> dict[str, Callable[[], dict[str, float]]]:
    sleep, crossed = load_dataset("sleepstudy"), _crossed()
    slopes = fit("Reaction ~ Days + (Days | Subject)", sleep)

    def many() -> dict[str, float]:
        data, y = _genes()
        formula = "y ~ a + b + c + (1 | donor)"
        seconds = _least(repeats, lambda: fit_many(formula, data, y).frame)
        return {"together": seconds, **_looped(formula, data, y, y.shape[1])}

    def power() -> dict[str, float]:
        sizes = {"Subject": [6, 10, 15, 20, 40]}
        return {"together": _least(repeats, lambda: slopes.power({"Days": 5.0}, sizes, seed=1))}

    return {
        "bootstrap of sleepstudy, 1,000": lambda: _refits(slopes, sleep, repeats),
        "crossed 50 x 30, 2,000 rows, 1,000 refits": lambda: _refits(
            fit("y ~ x + (1 | g) + (1 | h)", crossed), crossed, repeats
        ),
        "10,000 responses x 300 rows, 30 donors": many,
        "power of sleepstudy, 5 x 1,000": power,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, task in _tasks(arguments.repeats).items():
            rows.append({"task": name, **task()})
    table = pd.DataFrame(rows).set_index("task")
    for loop in table.columns[1:]:
        table[f"{loop} / together"] = table[loop] / table["together"]
    print(table.round(3).to_string(na_rep=""))


if __name__ == "__main__":
    main()
