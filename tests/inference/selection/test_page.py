"""The page on testing random effects prints what it says."""

from __future__ import annotations

import doctest
from pathlib import Path

import lmmformula.formula.reducing

PAGE = Path(__file__).parents[3] / "docs/selection.md"


def test_examples() -> None:
    found = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 15
    assert found.failed == 0


def test_docstring_examples() -> None:
    found = doctest.testmod(lmmformula.formula.reducing)
    assert found.attempted >= 2
    assert found.failed == 0
