"""What the page of benchmarks says of kinds of work: its loops exist, and what they move is counted from their arguments."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from benchmarks import share_kinds
from lmmformula.numerics.compiled import Kernel

ROOMS = ("krylov", "lean", "count", "row", "pattern", "cycle", "family", "alike", "level")


def test_every_loop_that_has_a_kind_exists() -> None:
    rooms = [importlib.import_module(f"lmmformula.numerics.{room}_kernels") for room in ROOMS]
    known = {name for room in rooms for name, thing in vars(room).items() if isinstance(thing, Kernel)}
    named = {name for names in share_kinds._LOOPS.values() for name in names}
    assert named <= known
    assert set(share_kinds._COUNTS) <= named


@pytest.mark.parametrize(("kind", "lines"), [(np.float64, "lines"), (np.float32, "halves")])
def test_a_product_moves_a_line_for_each_pair_and_eight_columns(kind: type, lines: str) -> None:
    ptr, cols, data = np.array([0, 2, 5]), np.zeros(5, np.int32), np.ones(5, kind)
    x, out = np.ones((4, 16), kind), np.ones((2, 10), kind)
    moved = share_kinds.moved_by("csr_times", (1, 2, ptr, cols, data, x, out))
    assert getattr(moved, lines) == 2 * 3
    assert moved.stream == 2 * 3 * (4 + data.itemsize) + 10 * data.itemsize
    assert share_kinds.moved_by("turn", ()) == share_kinds.Moved()


def test_functions_have_the_kind_of_their_room() -> None:
    assert "set-up" in share_kinds.kind_of_function("/a/lmmformula/frame/build.py", "build")
    assert (
        share_kinds.kind_of_function("/a/lmmformula/krylov/schur_pattern.py", "_of_intercepts") == "writing N"
    )
    assert share_kinds.kind_of_function("/elsewhere.py", "f") == share_kinds.REST
