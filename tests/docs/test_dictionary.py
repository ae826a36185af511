"""The dictionaries: our lines give the numbers of theirs, and the pages are the tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.site.dictionary import PACKAGES, our_numbers, page, table, their_numbers
from benchmarks.site.entries import Package

DOCS = Path(__file__).parents[2] / "docs"
DRAWN = {"bambi", "brms"}
"""Their numbers and ours are means of draws, whose last digit depends on the machine."""


@pytest.mark.parametrize("package", PACKAGES.values(), ids=lambda p: p.name)
def test_numbers_agree(package: Package) -> None:
    ours = our_numbers(package)
    seen = 0
    for entry, theirs, own in zip(package.entries, their_numbers(package), ours, strict=True):
        assert (theirs is None) == (own is None), entry.about
        if theirs is not None:
            assert own == pytest.approx(theirs, rel=entry.rtol), entry.ours
            seen += 1
    assert seen >= 4
    text = page(package, DOCS).read_text(encoding="utf-8")
    if package.name in DRAWN:
        assert all(f"| {entry.about} |" in text or entry.mine for entry in package.entries)
    else:
        assert table(package, ours) in text
