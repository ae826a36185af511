"""Every formula of the cookbook is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lmmformula.formula import model_spec

PAGE = Path(__file__).parents[2] / "docs" / "cookbook.md"
ROWS = [line for line in PAGE.read_text(encoding="utf-8").split("\n") if line.startswith("| ")]
FORMULAS = [code.replace("\\|", "|") for row in ROWS for code in re.findall(r"`([^`\"]*~[^`]*)`", row)]


def test_there_are_formulas() -> None:
    assert len(FORMULAS) > 25


@pytest.mark.parametrize("formula", FORMULAS)
def test_it_is_read(formula: str) -> None:
    assert model_spec(formula)
