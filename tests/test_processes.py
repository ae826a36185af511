"""Fits in processes that are forked."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

CHILD = """
import os, signal, sys, warnings
warnings.filterwarnings("ignore", message=".*fork")
import lmmformula
from lmmformula import fit
{before}
data = lmmformula.load_dataset({data!r})
def call():
    return lmmformula.fit({formula!r}, data, **{options!r})
{parent}
child = os.fork()
if child == 0:
    signal.alarm(60)
    try:
        found = call().llf
        os._exit(0 if found == expected else 4)
    except lmmformula.LmmformulaError as error:
        print(error, flush=True)
        os._exit(5)
print("status", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def forked(
    formula: str, data: str, *, before: str = "", parent: str = "expected = call().llf", **options: object
) -> str:
    """What a process and its fork print; the fork exits with 0 if it finds the same likelihood."""
    code = CHILD.format(before=before, data=data, formula=formula, options=options, parent=parent)
    environment = {
        **os.environ,
        "NUMBA_NUM_THREADS": "2",
        "OMP_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "2",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout


def test_a_fork_after_compiled_loops_fits() -> None:
    """Loops in a pool of OpenMP would end the child."""
    before = (
        "from lmmformula.numerics.ragged import Ragged\n"
        "Ragged.way = lambda _: 'compiled'\n"
        "from lmmformula.numerics import threads\n"
        "threads.worker_threads = lambda: 2\n"
    )
    out = forked("strength ~ 1 + (1 | batch) + (1 | cask)", "Pastes", before=before)
    assert out == "status 0\n"


def test_a_fork_after_jax_fits_and_refuses_by_name_what_would_hang() -> None:
    """JAX's threads stay with the parent; other methods need none of them."""
    parent = (
        "import jax; jax.numpy.zeros(1) + 1; expected = call().llf; ours = call\n"
        "def call():\n"
        "    assert ours().llf == expected\n"
        "    return lmmformula.fit('Yield ~ 1 + (1 | Batch)', data, method='hmc', marginalize='none')\n"
    )
    out = forked("Yield ~ 1 + (1 | Batch)", "Dyestuff", parent=parent)
    assert "in which JAX had started" in out
    assert "multiprocessing.get_context('spawn')" in out
    assert out.endswith("status 5\n")
