"""One thread for each worker: small matrices gain nothing from more, and workers share the cores."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# Programs of JAX run for milliseconds here and are compiled for seconds; numbers differ by rounding. Those that sample say
# themselves how far they are optimised.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

sys.path.insert(0, str(Path(__file__).parent))


def pytest_collection_finish() -> None:
    """Thousands of tests and the modules that they import live as long as the process: collections need not visit them."""
    gc.collect()
    gc.freeze()
