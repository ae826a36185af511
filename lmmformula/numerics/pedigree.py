r"""Inbreeding and the inverse of the relationship matrix of a pedigree.

The additive effects u of animals with sires s and dams d are those of their parents and a Mendelian deviation::

    u_i = (u_s + u_d) / 2 + m_i,      Var(m_i) = D_i = 1/2 - (F_s + F_d) / 4        in units of the additive variance

where an unknown parent is one that is not related to anyone, and has F = -1 in D_i. So A = T D T', T^-1 = I - P / 2 with the
parents in P, A^-1 = T^-T D^-1 T^-1 (Henderson 1976; with inbreeding, Quaas 1976), log|A| = sum log D_i, and

    F_i = A_ii - 1 = sum over ancestors j, i among them, of T_ij^2 D_j - 1,

where row i of T follows from halving what each ancestor passes on to its parents, from the youngest to the oldest (Meuwissen &
Luo 1992). A row is formed once per pair of parents; only animals with offspring are looked at, 64 at a time.

References
----------
Henderson (1976), A simple method for computing the inverse of a numerator relationship matrix, Biometrics 32, 69-83.
Quaas (1976), Computing the diagonal elements and inverse of a large numerator relationship matrix, Biometrics 32, 949-953.
Meuwissen & Luo (1992), Computing inbreeding coefficients in large populations, Genet. Sel. Evol. 24, 305-313.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.numerics.compiled import compiled
from lmmformula.typing import Array, Index

if TYPE_CHECKING:
    from scipy.sparse import csc_matrix

__all__ = ["Pedigree"]


@dataclass(frozen=True, slots=True, eq=False)
class Pedigree:
    """Who descends from whom, and how closely.

    Attributes
    ----------
    sire, dam : (n,) array
        Of each animal, -1 where unknown.
    inbreeding : (n,) array
        F of each animal.
    deviations : (n,) array
        D of each animal.
    """

    sire: Index
    dam: Index
    inbreeding: Array
    deviations: Array

    @classmethod
    def of(
        cls,
        animal: Index,
        sire: Index,
        dam: Index,
        n: int | None = None,
        names: Sequence[object] | None = None,
    ) -> Pedigree:
        """Order animals by descent and compute their inbreeding.

        Parameters
        ----------
        animal, sire, dam : (rows,) integer arrays
            Codes from 0 on, -1 for an unknown parent; rows in any order. Animals without a row of their own are founders. The
            sire of one animal may be the dam of another, or its own mate.
        n : int, optional
            Number of animals; one more than the largest code if not given.
        names : sequence, optional
            What messages call the animals.

        Raises
        ------
        DataError
            For a code out of range, an animal with two rows, or one that descends from itself.
        """
        animal, sire, dam = (np.asarray(x, dtype=np.int64) for x in (animal, sire, dam))
        largest = max((int(x.max(initial=-1)) for x in (animal, sire, dam)), default=-1)
        n = largest + 1 if n is None else n
        called = names if names is not None else range(n)
        _check_codes(animal, sire, dam, n, called)
        parents = np.full((2, n), -1, dtype=np.int64)
        parents[:, animal] = sire, dam
        order = _by_descent(parents, called)
        rank = np.empty(n + 1, dtype=np.int64)
        rank[order], rank[n] = np.arange(n), -1
        first, second = (rank[p[order]] for p in parents)
        inbreeding, deviations = np.empty(n), np.empty(n)
        _, pair = np.unique(first * (n + 1) + second, return_inverse=True)
        blocks = np.zeros(n // 64 + 1, dtype=np.bool_)
        _inbreeding(first, second, pair, inbreeding, deviations, np.full(n, np.nan), np.zeros(n), blocks)
        place = rank[:n]
        return cls(parents[0], parents[1], inbreeding[place], deviations[place])

    @property
    def log_det(self) -> float:
        """log|A|."""
        return float(np.log(self.deviations).sum())

    def precision(self) -> csc_matrix:
        """A^-1, both triangles, rows increasing within columns."""
        from scipy.sparse import csc_matrix

        n = len(self.sire)
        every = np.arange(n)
        rows: list[Index] = [every]
        columns: list[Index] = [every]
        values = [np.ones(n)]
        for parent in (self.sire, self.dam):
            known = np.flatnonzero(parent >= 0)
            rows.append(known)
            columns.append(parent[known])
            values.append(np.full(len(known), -0.5))
        entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
        root = csc_matrix(entries, shape=(n, n))  # T^-1; entries of an animal that is both parents add up
        weighted = root.copy()
        weighted.data /= self.deviations[weighted.indices]
        out = csc_matrix(root.T @ weighted)
        out.sort_indices()
        return out


def _check_codes(animal: Index, sire: Index, dam: Index, n: int, names: Sequence[object]) -> None:
    """Codes in range, and one row for each animal."""
    for what, codes, least in (("animal", animal, 0), ("sire", sire, -1), ("dam", dam, -1)):
        wrong = np.flatnonzero((codes < least) | (codes >= n))
        if wrong.size:
            raise DataError(
                f"pedigree: {wrong.size} of {codes.size} codes of the {what} are not from {least} to {n - 1}; the first is "
                f"{codes[wrong[0]]} in row {wrong[0]}"
            )
    counts = np.bincount(animal, minlength=n)
    if np.any(counts > 1):
        twice = np.flatnonzero(counts > 1)
        raise DataError(
            f"pedigree: {names[twice[0]]} has {counts[twice[0]]} rows, as {twice.size - 1} other animals have more than one. "
            "Keep one row for each animal"
        )


def _by_descent(parents: Index, names: Sequence[object]) -> Index:
    """Animals after their parents, those with offspring first where both can be."""
    n = parents.shape[1]
    order, work = np.empty(n, dtype=np.int64), np.zeros((5, n), dtype=np.int64)
    work[:3] = -1
    placed = _placed(parents, order, work)
    if placed == n:
        return order
    i = int(np.argmax(work[3] > 0))
    seen: dict[int, int] = {}
    while i not in seen:  # an animal that could not be placed has a parent that could not
        seen[i] = len(seen)
        i = next(int(p) for p in parents[:, i] if p >= 0 and work[3, p] > 0)
    loop = list(seen)[seen[i] :]
    through = f", by way of {names[loop[1]]}" if len(loop) > 1 else ""
    raise DataError(
        f"pedigree: {names[i]} is its own ancestor{through} ({len(loop)} generations back). "
        "Correct the parents of one of these animals"
    )


@compiled()
def _placed(parents, order, work):
    """Write animals to `order` once their parents are there; how many could be placed."""
    n = parents.shape[1]
    first, after_sire, after_dam, missing, has = work[0], work[1], work[2], work[3], work[4]
    for i in range(n):  # the lists of offspring: entry 2 i is by the sire of i, 2 i + 1 by its dam
        for side in range(2):
            p = parents[side, i]
            if p >= 0:
                missing[i] += 1
                has[p] = 1
                if side == 0:
                    after_sire[i] = first[p]
                else:
                    after_dam[i] = first[p]
                first[p] = 2 * i + side
    count = 0
    for i in range(n):
        if missing[i] == 0 and has[i] == 1:
            order[count] = i
            count += 1
    read = 0
    while read < count:
        entry = first[order[read]]
        read += 1
        while entry != -1:
            i = entry // 2
            entry = after_sire[i] if entry % 2 == 0 else after_dam[i]
            missing[i] -= 1
            if missing[i] == 0 and has[i] == 1:
                order[count] = i
                count += 1
    placed = count
    for i in range(n):
        if has[i] == 0 and missing[i] == 0:
            order[placed] = i
            placed += 1
    return placed


@compiled()
def _inbreeding(sire, dam, pair, inbreeding, deviations, known, share, blocks):
    """F and D of animals that come after their parents; `known` holds F of each pair of parents once it is there."""
    for i in range(len(pair)):
        s, d = sire[i], dam[i]
        deviations[i] = 0.5 - 0.25 * (
            (inbreeding[s] if s >= 0 else -1.0) + (inbreeding[d] if d >= 0 else -1.0)
        )
        if s < 0 or d < 0:
            inbreeding[i] = 0.0
            continue
        if not np.isnan(known[pair[i]]):
            inbreeding[i] = known[pair[i]]
            continue
        total = deviations[i] - 1.0
        share[s] += 0.5
        share[d] += 0.5
        blocks[s // 64] = True
        blocks[d // 64] = True
        for b in range(max(s, d) // 64, -1, -1):
            if not blocks[b]:
                continue
            blocks[b] = False
            for j in range(min(64 * b + 63, len(share) - 1), 64 * b - 1, -1):
                x = share[j]
                if x == 0.0:
                    continue
                share[j] = 0.0
                total += x * x * deviations[j]
                x *= 0.5
                p, q = sire[j], dam[j]
                if p >= 0:
                    share[p] += x
                    blocks[p // 64] = blocks[p // 64] or p < 64 * b
                if q >= 0:
                    share[q] += x
                    blocks[q // 64] = blocks[q // 64] or q < 64 * b
        inbreeding[i] = known[pair[i]] = total
