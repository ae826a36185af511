"""The pages on many fits print what they say."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import lmmformula.many

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("page", ["bootstrap.md", "many.md"])
def test_examples(page: str) -> None:
    found = doctest.testfile(
        str(DOCS / page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert found.attempted > 5
    assert found.failed == 0


def test_docstring_examples() -> None:
    found = doctest.testmod(lmmformula.many)
    assert found.attempted >= 3
    assert found.failed == 0
