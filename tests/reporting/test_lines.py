"""Lines are broken between terms, names abbreviated as R does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmmformula.reporting.lines import WIDTH, abbreviated, wrapped

NAMES = (
    "(Intercept)",
    "Days",
    "btypescold",
    "btypeshout",
    "situself",
    "GenderM",
    "Anger",
    "recipeB:temperature^4",
)
NAMES += ("poly(x, 2)1", "poly(x, 2)2", "a_predictor_with_a_name", "FoodTreatmentSatiated", "SexParentMale")
NAMES += ("FoodTreatmentSatiated:SexParentMale", "minedno", "sppPR", "sppDES-L")


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (
            6,
            "(Intr)|Days|btypsc|btypsh|sitslf|GendrM|Anger|rcB:^4|p(,2)1|p(,2)2|a_p___|FdTrtS|SxPrnM|FTS:SP|minedn|sppPR|sDES-L",
        ),
        (
            11,
            "(Intercept)|Days|btypescold|btypeshout|situself|GenderM|Anger|rcpB:tmpr^4|poly(x, 2)1|poly(x, 2)2|a_prdctr___|"
            "FdTrtmntStt|SexParentMl|FdTrtmS:SPM|minedno|sppPR|sppDES-L",
        ),
    ],
)
def test_abbreviations_are_those_of_r(length: int, expected: str) -> None:
    """R 4.2: abbreviate(names, 6), abbreviate(names, 11)."""
    assert abbreviated(NAMES, length) == expected.split("|")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("abcdeXYZ(): _", min_size=1, max_size=15), min_size=1, max_size=8, unique=True))
def test_abbreviations_are_no_longer_and_keep_names_apart(names: list[str]) -> None:
    found = abbreviated(names, 4)
    assert all(len(short) <= len(name) for short, name in zip(found, names, strict=True))
    squeezed = {"".join(name.split()) for name in names}
    if len(squeezed) == len(names):
        assert len(set(found)) == len(names)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["x", "poly(x, 3)", "(1 + x | g)", "`a b c`", "(x + z)^2"]), min_size=1, max_size=60
    )
)
def test_terms_stay_whole(terms: list[str]) -> None:
    lines = wrapped("y ~ " + " + ".join(terms), "Formula: ", " " * 9)
    assert " ".join(line.strip() for line in lines) == "Formula: y ~ " + " + ".join(terms)
    assert all(len(line) <= WIDTH for line in lines)
    for line in lines:
        assert line.count("(") == line.count(")")
        assert line.count("`") % 2 == 0


def test_a_term_longer_than_a_line_is_one_line() -> None:
    term = "(1 + " + " + ".join(f"a_long_name_{j}" for j in range(12)) + " | g)"
    assert wrapped(f"y ~ x + {term}") == ["y ~ x +", f"  {term}"]
