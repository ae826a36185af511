"""The examples of the README and of the documentation print what they say."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import lmmformula.api

ROOT = Path(__file__).parent.parent
PAGES = (
    ROOT / "README.md",
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if ">>> " in page.read_text(encoding="utf-8")),
)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_examples(page: Path) -> None:
    result = doctest.testfile(str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 5
    assert result.failed == 0


def test_docstring_examples() -> None:
    result = doctest.testmod(lmmformula.api)
    assert result.attempted >= 5
    assert result.failed == 0
