"""A cumulative model of 5,000 ratings, two crossed factors, beside ordinal::clmm on the same machine, in processor time.

python -m benchmarks.ordinal_speed [ROWS] [LINK]

One thread each. The second of two fits in one process counts, since the first one loads or compiles kernels; it is shown too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from time import process_time

import numpy as np

__all__ = ["compare", "rows_of"]


def rows_of(n: int, seed: int = 20261127) -> dict[str, np.ndarray]:
    """Ratings from 1 to 5 of n / 25 persons on 50 items, incompletely crossed."""
    rng = np.random.default_rng(seed)
    persons, items = n // 25, 50
    person, item = rng.integers(persons, size=n), rng.integers(items, size=n)
    x, f = rng.normal(size=n), rng.choice(["u", "v", "w"], n)
    effects = 0.8 * rng.normal(size=persons)[person] + 0.6 * rng.normal(size=items)[item]
    latent = 0.6 * x + 0.4 * (f == "v") - 0.3 * (f == "w") + effects + rng.logistic(size=n)
    y = np.digitize(latent, [-2.0, -0.6, 0.7, 2.2]) + 1
    return {"y": y, "x": x, "f": f, "person": person, "item": item}


def compare(n: int = 5_000, link: str = "logit") -> dict[str, float]:
    """Seconds of both, and log likelihoods."""
    import pandas as pd

    from lmmformula import fit

    rows = pd.DataFrame(rows_of(n))
    formula, family = "y ~ x + f + (1 | person) + (1 | item)", f"cumulative(link='{link}')"
    seconds, llf = [], float("nan")
    for _ in range(2):
        start = process_time()
        llf = fit(formula, rows, family=family).llf
        seconds.append(process_time() - start)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        rows.to_csv(path, index=False)
        script = Path(__file__).with_suffix(".R")
        told = subprocess.run(
            ["Rscript", str(script), str(path), link], capture_output=True, text=True, check=True
        )
    theirs = json.loads(told.stdout.splitlines()[-1])
    return {
        "rows": n,
        "seconds": seconds[1],
        "seconds_first": seconds[0],
        "seconds_clmm": theirs["cpu"],
        "ratio": seconds[1] / theirs["cpu"],
        "logLik": llf,
        "logLik_clmm": theirs["logLik"],
    }


if __name__ == "__main__":
    given = sys.argv[1:]
    print(
        json.dumps(
            compare(int(given[0]) if given else 5_000, given[1] if len(given) > 1 else "logit"), indent=1
        )
    )
