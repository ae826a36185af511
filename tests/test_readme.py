"""The README's examples print what they say."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import lmmformula.api

README = Path(__file__).parent.parent / "README.md"


PAGES = [README, README.parent / "docs" / "influence.md"]
PAGES += [README.parent / "docs" / page for page in ("robust.md", "hypotheses.md", "means.md")]
PAGES += [
    README.parent / "docs" / page
    for page in (
        "checking.md",
        "scale.md",
        "time_space.md",
        "areal.md",
        "meta.md",
        "censoring.md",
        "residuals.md",
        "distributional.md",
        "ordinal.md",
        "multivariate.md",
        "relationships.md",
        "smooths.md",
        "monotonic.md",
    )
]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_examples(page: Path) -> None:
    result = doctest.testfile(str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 5
    assert result.failed == 0


def test_docstring_examples() -> None:
    result = doctest.testmod(lmmformula.api)
    assert result.attempted >= 5
    assert result.failed == 0
