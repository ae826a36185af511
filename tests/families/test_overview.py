"""The page on families is the registry's table."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmmformula.families import FAMILIES, OUTCOMES
from lmmformula.families.overview import overview

PAGE = Path(__file__).parents[2] / "docs" / "families.md"


def test_the_page_has_the_table_of_the_registry() -> None:
    assert overview() in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FAMILIES | OUTCOMES)
def test_every_family_is_named_once(name: str) -> None:
    assert overview().count(f"\n| `{name}` |") == 1
