"""One case in a fresh interpreter, with the lmmformula of a checkout: ``python -P alternate_process.py CHECKOUT REQUEST``.

Run as a file, so that it is the same for every checkout, whatever that has in its own `benchmarks`; for the same reason it
imports nothing from there. The last line of the output is JSON: seconds of every fit that counts, and the last log-likelihood.
"""

from __future__ import annotations

import gc
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

MARK = "measurement: "


def main(checkout: str, text: str) -> None:
    request = json.loads(text)
    warnings.simplefilter("ignore")
    found = _import() if not request["formula"] else _fits(request)
    home = Path(sys.modules["lmmformula"].__file__ or "").resolve()
    if not home.is_relative_to(Path(checkout).resolve()):
        raise SystemExit(f"lmmformula was imported from {home}, not from {checkout}")
    print(MARK + json.dumps(found), flush=True)


def _import() -> dict[str, Any]:
    start = time.perf_counter()
    from lmmformula import fit  # noqa: F401 - names are looked up when they are asked for

    return {"seconds": [time.perf_counter() - start], "loglik": None}


def _fits(request: dict[str, Any]) -> dict[str, Any]:
    import pandas as pd

    import lmmformula

    frame = pd.read_parquet(request["data"])
    formula, options = request["formula"], request["options"]
    if request["warm"] == "small":
        small = pd.read_parquet(request["small"])
        lmmformula.fit("Reaction ~ Days + (Days | Subject)", small)
    elif request["warm"] == "same":
        lmmformula.fit(formula, frame, **options)
    seconds, model = [], None
    for _ in range(request["repeats"]):
        del model
        gc.collect()
        start = time.perf_counter()
        model = lmmformula.fit(formula, frame, **options)
        seconds.append(time.perf_counter() - start)
    sampled = options.get("method") == "hmc"
    return {"seconds": seconds, "loglik": None if sampled or model is None else float(model.llf)}


if __name__ == "__main__":
    main(*sys.argv[1:])
