"""Memory of a pass stays with the process."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

LOOK = """
import resource, numpy as np
from contextlib import nullcontext
from lmmformula.numerics.allocation import memory_stays
def faults(block):
    with block:
        np.zeros(40_000) + 1.0
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(200):
            np.ones(40_000) + 1.0
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults(nullcontext()), faults(memory_stays()), faults(nullcontext()))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc")
def test_temporaries_are_not_mapped_again_and_again() -> None:
    """Where the environment asks for eager trimming, within the block alone."""
    given = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}
    out = subprocess.run([sys.executable, "-c", LOOK], env=given, capture_output=True, text=True, check=True)
    before, within, after = map(int, out.stdout.split())
    assert before > 5_000
    assert within < before / 10
    assert after > 5_000
