"""Which group the iterative engine eliminates, and where the nonzeros of what is left stand; symbols as in
:mod:`lmmformula.engines.krylov.schur`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmmformula.engines.base import Across
from lmmformula.engines.elimination import Elimination, choose_chain
from lmmformula.engines.krylov.compressed import Compressed
from lmmformula.engines.krylov.cycles import cycles_of
from lmmformula.engines.krylov.schur import SchurComplement, are_compiled
from lmmformula.engines.krylov.within import Within, largest_blockwise
from lmmformula.engines.scaled import cross, scaled, scaled_coupling, scaled_diagonal
from lmmformula.errors import FitError
from lmmformula.ir.blocks import Gram
from lmmformula.ir.groups import Group
from lmmformula.ir.levels import Levels
from lmmformula.numerics.batched import cholesky, lower_inverse, matmul, segment_sum, transpose
from lmmformula.numerics.threads import in_parts
from lmmformula.typing import Array, Index

__all__ = ["SchurPattern", "are_alike", "indefinite"]


class SchurPattern:
    """Which group is eliminated, and where the nonzeros of N and H stand; depends on neither W nor theta.

    Attributes
    ----------
    plan : Elimination
        A chain of one group, all others dense.
    by_row, by_column : Compressed
        N by rows, ordered (level of A, column of the level), from ragged values; N by columns, from values by rows.
    h : Compressed
        H by rows, from diagonal blocks and both triangles of the pairs, one after another.
    place : (q_D,) int64 array
        Position of each effect within its level.
    levels : tuple of (nnz_j,) arrays
        Level of dense group j for each pair with A.
    """

    kind = "schur"
    goes_to_devices = True

    def __init__(self, blocks: Levels) -> None:
        chain = (largest_blockwise(blocks),)
        self.blocks = blocks
        usual = choose_chain(blocks) == chain
        self.plan = blocks.once(Elimination) if usual else Elimination(blocks, chain)
        self.k = blocks.groups[self.plan.chain[0]].k
        self.q = self.plan.q_dense
        if not self.plan.dense:
            return
        self.by_row = self._rows()
        self.by_column = self._columns()
        self.place = np.concatenate([np.tile(np.arange(g.k), g.m) for g in self.dense_groups])
        coupling = self.plan.couplings[0]
        self.levels = tuple(
            (coupling.ragged.cols[place[:, 0]] - start) // g.k
            for place, start, g in zip(coupling.places, self.plan.offsets, self.dense_groups, strict=True)
        )
        self.within = [w for j in self.plan.dense if (w := Within.of(blocks, j)) is not None]
        self.h = self._own_and_pairs()

    @property
    def dense_groups(self) -> list[Group]:
        return [self.blocks.groups[j] for j in self.plan.dense]

    @cached_property
    def alike(self) -> bool:
        """Whether rows of N, N' and H come in groups of one pattern, of as many as a compiled product takes at a time."""
        return are_alike(self.blocks.groups)

    @property
    def rows(self) -> int:
        """Rows of N, the effects of A."""
        return self.blocks.groups[self.plan.chain[0]].q

    @cached_property
    def owners(self) -> tuple[Index, ...]:
        """Level of A for each pair with a dense group, (nnz_j,) for each."""
        coupling = self.plan.couplings[0]
        of_entries = coupling.ragged.levels()
        return tuple(of_entries[place[:, 0]] for place in coupling.places)

    @cached_property
    def pairs(self) -> float:
        """Multiplications to form K."""
        return self.plan.couplings[0].ragged.pairs if self.plan.dense else 0.0

    @cached_property
    def cycles(self) -> Index | None:
        """Cycles of levels that meet, of two factors of one column with few of them, see :func:`cycles_of`."""
        groups = [self.k, *(g.k for g in self.dense_groups)]
        if groups != [1, 1] or self.within:
            return None
        return cycles_of(self.by_row, self.by_column, self.q)

    @property
    def parts(self) -> NDArray[np.int32]:
        """Connected part of the design that each effect lies in, (q,)."""
        return self._parts

    @cached_property
    def _parts(self) -> NDArray[np.int32]:
        """Connected part of the design that each effect of D lies in, (q_D,)."""
        alone = sum(g.m * g.k**2 for g in self.dense_groups)
        if are_compiled(len(self.by_row.cols)) and len(self.h.cols) == alone:
            from lmmformula.numerics.lean_kernels import united

            out, ragged = np.empty(self.q, dtype=np.int32), self.plan.couplings[0].ragged
            united(ragged.ptr, ragged.cols, out)
            return out
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import connected_components

        rows, n, h = self.rows, self.by_row, self.h
        cols = np.concatenate([n.cols + np.int32(rows), h.cols + np.int32(rows)])
        ptr = np.concatenate([n.ptr, h.ptr[1:] + n.ptr[-1]])
        graph = csr_array((np.ones(len(cols), dtype=np.int8), cols, ptr), shape=(rows + self.q,) * 2)
        return connected_components(graph, directed=False)[1][rows:]

    def _rows(self) -> Compressed:
        ragged = self.plan.couplings[0].ragged
        if self.k == 1:
            return Compressed(ragged.ptr, ragged.cols, slice(None))
        total, counts = len(ragged.cols), np.repeat(np.diff(ragged.ptr), self.k)
        ptr = np.zeros(len(counts) + 1, dtype=np.int64)
        np.cumsum(counts, out=ptr[1:])
        at = np.arange(ptr[-1]) + np.repeat(np.repeat(ragged.ptr[:-1], self.k) - ptr[:-1], counts)
        row = np.repeat(np.tile(np.arange(self.k), ragged.m), counts)
        return Compressed(ptr, ragged.cols[at], row * total + at)

    @cached_property
    def _by_column_from(self) -> Index:
        """Where each entry of N by columns stands among ragged values."""
        places = self.by_row.source
        if isinstance(places, slice):
            return np.asarray(self.by_column.source)
        return places[self.by_column.source].astype(np.int32 if len(places) < 2**31 else np.int64)

    def _columns(self) -> Compressed:
        """N by columns, rows increasing in each; scipy, which would do it too, takes a fresh process .2 s to import."""
        n, count = self.by_row, len(self.by_row.cols)
        ptr = np.zeros(self.q + 1, dtype=np.int64)
        np.cumsum(np.bincount(n.cols, minlength=self.q), out=ptr[1:])
        kind = np.int32 if count < 2**31 else np.int64
        if not are_compiled(count):
            source = np.argsort(n.cols, kind="stable").astype(kind)
            rows = np.repeat(np.arange(len(n.ptr) - 1, dtype=np.int32), np.diff(n.ptr))
            return Compressed(ptr, rows[source], source)
        from lmmformula.numerics.pattern_kernels import sort_rows

        source, rows = np.empty(count, dtype=kind), np.empty(count, dtype=np.int32)
        sort_rows(np.arange(count, dtype=kind), n.ptr, n.cols, ptr, source, rows)
        return Compressed(ptr, rows, source)

    def _own_and_pairs(self) -> Compressed:
        plan, groups = self.plan, self.blocks.groups
        rows, cols = [], []
        for j, start in zip(plan.dense, plan.offsets, strict=True):
            own = start + (np.arange(groups[j].m) * groups[j].k)[:, None] + np.arange(groups[j].k)
            square = (groups[j].m, groups[j].k, groups[j].k)
            rows.append(np.broadcast_to(own[:, :, None], square).ravel())
            cols.append(np.broadcast_to(own[:, None, :], square).ravel())
        for x, (a, first) in enumerate(zip(plan.dense, plan.offsets, strict=True)):
            for b, second in zip(plan.dense[x + 1 :], plan.offsets[x + 1 :], strict=True):
                pattern, ka, kb = self.blocks.pattern(a, b), groups[a].k, groups[b].k
                i = first + (pattern.rows() * ka)[:, None] + np.arange(ka)
                j = second + (pattern.indices.astype(np.int64) * kb)[:, None] + np.arange(kb)
                shape = (pattern.nnz, ka, kb)
                i, j = (np.broadcast_to(v, shape).ravel() for v in (i[:, :, None], j[:, None, :]))
                rows += [i, j]
                cols += [j, i]
        for pair in self.within:
            first, k = plan.offsets[plan.dense.index(pair.group)], groups[pair.group].k
            i = first + (pair.low * k)[:, None] + np.arange(k)
            j = first + (pair.high * k)[:, None] + np.arange(k)
            shape = (len(pair.low), k, k)
            i, j = (np.broadcast_to(v, shape).ravel() for v in (i[:, :, None], j[:, None, :]))
            rows += [i, j]
            cols += [j, i]
        row, col = np.concatenate(rows), np.concatenate(cols)
        order = np.lexsort((col, row))
        ptr = np.zeros(self.q + 1, dtype=np.int64)
        np.cumsum(np.bincount(row, minlength=self.q), out=ptr[1:])
        return Compressed(ptr, col[order].astype(np.int32), order)

    def complement(self, gram: Gram, factors: Sequence[Array], across: Across = ()) -> SchurComplement:
        """(1) and (2) for Gram blocks `gram`, relative Cholesky factors L_a and precisions Q_a.

        Raises
        ------
        FitError
            If a block of S is not positive definite in floating point.
        """
        try:
            return self._complement(gram, factors, across)
        except np.linalg.LinAlgError as error:
            raise FitError(indefinite(factors)) from error

    def _complement(self, gram: Gram, factors: Sequence[Array], across: Across) -> SchurComplement:
        plan, a = self.plan, self.plan.chain[0]
        inv = lower_inverse(cholesky(scaled_diagonal(gram.diag[a], factors[a])))
        logdet = -2.0 * float(np.log(np.einsum("mii->mi", inv)).sum())
        if not plan.dense:
            empty = np.zeros(0)
            return SchurComplement(self, inv, (), empty, empty, empty, logdet)
        if are_compiled(len(self.by_row.cols)) and self.k == 1 and all(g.k == 1 for g in self.dense_groups):
            return self._of_intercepts(gram, factors, across, inv, logdet)
        t = plan.per_level(0, inv, scaled_coupling(plan, gram, factors, 0))
        if are_compiled(len(self.by_row.cols)):
            return self._by_columns(gram, factors, across, inv, t, logdet)
        c_inverses, own = [], []
        for j, place, level in zip(plan.dense, plan.couplings[0].places, self.levels, strict=True):
            block, part = self._diagonal(gram, factors, across, j), t[:, place]
            share = segment_sum(level, np.einsum("anj,anl->njl", part, part), len(block))
            c = lower_inverse(cholesky(block - share))
            logdet -= 2.0 * float(np.log(np.einsum("mii->mi", c)).sum())
            t[:, place] = np.einsum("anj,nlj->anl", part, c[level]) if c.shape[1] > 1 else part * c[level, 0]
            c_inverses.append(c)
            own.append(matmul(matmul(c, block), transpose(c)).ravel())
        n = t.ravel()[self.by_row.source]
        h = np.concatenate(own + self._pairs(gram, factors, across, c_inverses))[self.h.source]
        return SchurComplement(self, inv, tuple(c_inverses), n, n[self.by_column.source], h, logdet)

    def _by_columns(
        self, gram: Gram, factors: Sequence[Array], across: Across, inv: Array, t: Array, logdet: float
    ) -> SchurComplement:
        """The same in compiled passes over the columns of T, level by level."""
        turned, c_inverses, own = self.by_column, [], []
        values, n = t.ravel()[self._by_column_from], np.empty(t.size)
        for j, head in zip(self.plan.dense, self.plan.offsets, strict=True):
            block = self._diagonal(gram, factors, across, j)
            m, k, _ = block.shape
            c = lower_inverse(cholesky(block - turned.level_products(head, m, k, values, values)))
            turned.scale_levels(head, c, values)
            logdet -= 2.0 * float(np.log(np.einsum("mii->mi", c)).sum())
            c_inverses.append(c)
            own.append(matmul(matmul(c, block), transpose(c)).ravel())
        n[turned.source] = values
        h = np.concatenate(own + self._pairs(gram, factors, across, c_inverses))[self.h.source]
        return SchurComplement(self, inv, tuple(c_inverses), n, values, h, logdet)

    @staticmethod
    def _diagonal(gram: Gram, factors: Sequence[Array], across: Across, j: int) -> Array:
        """Blocks of M within the levels of group j."""
        q = across[j] if across else None
        return scaled_diagonal(gram.diag[j], factors[j], 1.0 if q is None else q.diagonal[:, None])

    def _of_intercepts(
        self, gram: Gram, factors: Sequence[Array], across: Across, inv: Array, logdet: float
    ) -> SchurComplement:
        """The same for groups of one column each, in a compiled pass over the nonzeros by columns and one by rows."""
        from lmmformula.numerics.krylov_kernels import scaled_columns, scaled_rows

        plan, turned, by_row = self.plan, self.by_column, self.by_row
        coupling = plan.couplings[0]
        values = [
            cross(gram, plan.chain[0], j)[stored, 0, 0]
            for j, stored in zip(plan.dense, coupling.stored, strict=True)
        ]
        raw = np.ascontiguousarray(values[0])
        if len(values) > 1:
            raw = np.empty(len(by_row.cols))
            for place, own in zip(coupling.places, values, strict=True):
                raw[place[:, 0]] = own
        left = inv[:, 0, 0] * factors[plan.chain[0]][0, 0]
        right = np.repeat([factors[j][0, 0] for j in plan.dense], [g.q for g in self.dense_groups])
        block = np.concatenate([self._diagonal(gram, factors, across, j).ravel() for j in plan.dense])
        c, n, n_turned = np.empty(self.q), np.empty(len(raw)), np.empty(len(raw))
        columns = (turned.ptr, turned.cols, turned.source, raw, left, right, block, c, n_turned)
        in_parts(lambda i, j: scaled_columns(i, j, *columns), turned.cuts)
        if not np.isfinite(c).all():
            raise np.linalg.LinAlgError("a diagonal block is not positive")
        scale = right * c
        in_parts(lambda i, j: scaled_rows(i, j, by_row.ptr, by_row.cols, raw, left, scale, n), by_row.cuts)
        stacks = tuple(v[:, None, None] for v in np.split(c, plan.offsets[1:]))
        own = [c * block * c, *self._pairs(gram, factors, across, stacks)]
        logdet -= 2.0 * float(np.log(c).sum())
        return SchurComplement(self, inv, stacks, n, n_turned, np.concatenate(own)[self.h.source], logdet)

    def _pairs(self, gram: Gram, factors: Sequence[Array], across: Across, c: Sequence[Array]) -> list[Array]:
        """Values of H between dense groups, and between levels of one, each pair twice."""
        plan, out = self.plan, []
        for x, a in enumerate(plan.dense):
            for y in range(x + 1, len(plan.dense)):
                b = plan.dense[y]
                pattern = self.blocks.pattern(a, b)
                values = scaled(factors[a], gram.cross[a, b], factors[b])
                values = matmul(matmul(c[x][pattern.rows()], values), transpose(c[y][pattern.indices]))
                out += [values.ravel(), values.ravel()]
        for pair in self.within:
            own = c[plan.dense.index(pair.group)]
            values = pair.values(gram, factors, across)
            values = matmul(matmul(own[pair.low], values), transpose(own[pair.high]))
            out += [values.ravel(), values.ravel()]
        return out


def are_alike(groups: Sequence[Group]) -> bool:
    """Whether groups have as many columns as a compiled product takes rows of one pattern at a time, or a multiple."""
    from lmmformula.numerics.alike_kernels import HEIGHT

    return all(g.k % HEIGHT == 0 for g in groups)


def indefinite(factors: Sequence[Array]) -> str:
    """What to say of a block of S that is not positive definite in floating point."""
    largest = max(float(np.abs(f).max()) for f in factors)
    return (
        f"a block of the mixed-model matrix is not positive definite in floating point at theta up to {largest:.3g}. "
        "The likely cause is a column or weight whose scale differs from the others by many orders of "
        "magnitude; rescale it (for example divide by its standard deviation)."
    )
