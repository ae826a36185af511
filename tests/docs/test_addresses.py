"""Every class of error and warning has its section of troubleshooting, and says where it is."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from lmmformula import errors
from lmmformula.errors import DataError, FormulaError, LmmformulaWarning, SingularFitWarning, address, warn

PAGE = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_the_page_has_a_section(kind: type[Exception]) -> None:
    assert f"\n## {kind.__name__}\n" in PAGE
    assert address(kind) == f"troubleshooting.md#{kind.__name__.lower()}"


def test_an_error_has_it_as_a_note_and_keeps_its_text() -> None:
    error = FormulaError("odd", "y ~ (", (4, 5), "close it")
    assert str(error).startswith("odd\n")
    assert error.__notes__ == ["docs: troubleshooting.md#formulaerror"]
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.__notes__) == (str(error), error.__notes__)
    assert str(DataError("no column")) == "no column"


def test_a_warning_has_it_once_at_its_end() -> None:
    with pytest.warns(SingularFitWarning) as seen:
        warn("flat", SingularFitWarning)
    text = str(seen[0].message)
    assert text == "flat [docs: troubleshooting.md#singularfitwarning]"
    with pytest.warns(LmmformulaWarning) as seen:
        warn(text, SingularFitWarning)
    assert str(seen[0].message) == text
