"""The examples of docstrings print what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = {"api": 5, "many": 3, "formula.reducing": 2}


@pytest.mark.parametrize(("name", "least"), MODULES.items())
def test_docstring_examples(name: str, least: int) -> None:
    result = doctest.testmod(importlib.import_module(f"lmmformula.{name}"))
    assert result.attempted >= least
    assert result.failed == 0
