"""Inbreeding and inverse relationships against the tabular method."""

from __future__ import annotations

import numpy as np
import pytest

from lmmformula.errors import DataError
from lmmformula.numerics.pedigree import Pedigree


def tabular(sire: np.ndarray, dam: np.ndarray) -> np.ndarray:
    """A of animals that come after their parents, by its definition (Emik & Terrill 1949)."""
    n = len(sire)
    a = np.eye(n)
    for i in range(n):
        known = [p for p in (sire[i], dam[i]) if p >= 0]
        a[i, :i] = sum((0.5 * a[p, :i] for p in known), np.zeros(i))
        a[:i, i] = a[i, :i]
        if len(known) == 2:
            a[i, i] = 1.0 + 0.5 * a[sire[i], dam[i]]
    return a


@pytest.mark.parametrize("n", [0, 1, 2, 5, 63, 64, 65, 300])
@pytest.mark.parametrize("near", [False, True])
def test_any_pedigree_in_any_order(n: int, near: bool) -> None:
    """Unknown parents, selfing, parents of both sexes, matings of relatives and across generations."""
    rng = np.random.default_rng(n)
    low = [max(-1, i - 8) if near else -1 for i in range(n)]
    sire, dam = (
        np.array([rng.integers(low[i], i) if i else -1 for i in range(n)], dtype=int) for _ in range(2)
    )
    sire[n // 2 : n // 2 + 2] = sire[: len(sire[n // 2 : n // 2 + 2])] if n > 2 else -1
    a = tabular(sire, dam)
    label, rows = rng.permutation(n), rng.permutation(n)
    sire, dam = (np.where(p >= 0, label[p], -1) if n else p for p in (sire, dam))
    found = Pedigree.of(label[rows], sire[rows], dam[rows])
    np.testing.assert_allclose(found.inbreeding[label], a.diagonal() - 1.0, atol=1e-12)
    inverse = found.precision().toarray()[np.ix_(label, label)]
    np.testing.assert_allclose(inverse @ a, np.eye(n), atol=1e-8 if near else 1e-10)
    assert found.log_det == pytest.approx(np.linalg.slogdet(a)[1], abs=1e-9)


def test_full_sibs_mated_for_generations() -> None:
    """F_t = (1 + 2 F_t-1 + F_t-2) / 4 (Wright 1921)."""
    sire = np.array([-1, -1, 0, 0, 2, 2, 4, 4, 6, 6])
    dam = np.array([-1, -1, 1, 1, 3, 3, 5, 5, 7, 7])
    found = Pedigree.of(np.arange(10), sire, dam).inbreeding
    np.testing.assert_allclose(found, [0, 0, 0, 0, 0.25, 0.25, 0.375, 0.375, 0.5, 0.5])


def test_parents_without_rows_are_founders() -> None:
    found = Pedigree.of(np.array([2]), np.array([0]), np.array([4]))
    np.testing.assert_allclose(found.deviations, [1.0, 1.0, 0.5, 1.0, 1.0])
    assert Pedigree.of(np.array([2]), np.array([0]), np.array([4]), n=7).precision().shape == (7, 7)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (([0, 1, 1], [-1, 0, 0], [-1, -1, -1]), "Bo has 2 rows"),
        (
            ([0, 1, 2], [-1, 2, 1], [-1, -1, -1]),
            r"Bo is its own ancestor, by way of Cy \(2 generations back\)",
        ),
        (([0, 1, 2], [0, 0, 1], [-1, -1, -1]), r"Al is its own ancestor \(1 generations back\)"),
        (
            ([0, 1, 3], [-1, 0, 0], [-1, -1, -1]),
            "codes of the animal are not from 0 to 2; the first is 3 in row 2",
        ),
        (([0, 1, 2], [-1, 0, -2], [-1, -1, -1]), "codes of the sire are not from -1 to 2"),
    ],
)
def test_what_is_no_pedigree_is_refused(rows: tuple[list[int], ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Pedigree.of(*(np.array(r) for r in rows), n=3, names=["Al", "Bo", "Cy"])
