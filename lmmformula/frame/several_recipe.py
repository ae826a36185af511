"""What the frame learned of several responses: a recipe for each, and which of their terms are one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from lmmformula.errors import PlanError
from lmmformula.formula.spec import Expr
from lmmformula.frame.design import Design
from lmmformula.frame.recipe import ColumnRecord, NewDesign, NewTerm, Recipe
from lmmformula.frame.smooths.record import SmoothRecord
from lmmformula.frame.table import open_table
from lmmformula.frame.term_recipe import JoinedTerm, TermRecipe
from lmmformula.frame.values import Value
from lmmformula.typing import Data, Entries

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SeveralRecipe", "long_labels"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SeveralRecipe:
    """Codings, bases, levels and states of a fit of several responses.

    Attributes
    ----------
    text : str
    names : tuple of str
        Of the responses.
    parts : tuple of Recipe
        One for each response, its terms those of the mean and then of its auxiliary predictors.
    members : tuple of tuples of (response, term)
        What each term of the model is made of.
    """

    text: str
    names: tuple[str, ...]
    parts: tuple[Recipe, ...]
    members: tuple[tuple[tuple[int, int], ...], ...]
    smooths: tuple[SmoothRecord, ...] = ()
    memory: tuple[tuple[Expr, Value], ...] = field(repr=False, default=())

    @property
    def terms(self) -> tuple[JoinedTerm, ...]:
        return tuple(JoinedTerm(tuple(self._member(j, i) for j, i in own)) for own in self.members)

    def _member(self, j: int, i: int) -> TermRecipe:
        term = self.parts[j].terms[i]
        assert isinstance(term, TermRecipe)
        return term

    def with_cells(self, place: int, cells: tuple[NDArray[np.object_], ...]) -> SeveralRecipe:
        """The same with other levels of a term, which all its members share."""
        parts = list(self.parts)
        for j, i in self.members[place]:
            parts[j] = parts[j].with_cells(i, cells)
        return replace(self, parts=tuple(parts))

    @property
    def columns(self) -> tuple[ColumnRecord, ...]:
        """Types of the columns."""
        found: dict[str, ColumnRecord] = {}
        for record in (record for own in self.parts for record in own.columns):
            if record.name not in found or record.levels:
                found[record.name] = record
        return tuple(found.values())

    @property
    def context(self) -> tuple[tuple[str, object], ...]:
        return tuple(dict(entry for own in self.parts for entry in own.context).items())

    def with_context(self, context: Sequence[tuple[str, object]]) -> SeveralRecipe:
        """The same with other entries of these names."""
        known = dict(context)
        parts = (replace(p, context=tuple((n, known[n]) for n, _ in p.context)) for p in self.parts)
        return replace(self, parts=tuple(parts))

    @property
    def offset_array(self) -> bool:
        return any(own.offset_array for own in self.parts)

    @property
    def offset_column(self) -> str | None:
        return self.parts[0].offset_column

    @property
    def offsets(self) -> tuple[Expr, ...]:
        return tuple(dict.fromkeys(e for own in self.parts for e in own.offsets))

    @property
    def aux_terms(self) -> tuple[tuple[TermRecipe, ...], ...]:
        return ()

    @property
    def needed(self) -> tuple[str, ...]:
        """Columns that rows of another design need: all but those of the responses alone."""
        return tuple(dict.fromkeys(name for own in self.parts for name in own.needed))

    @property
    def levels_known(self) -> dict[Expr, Entries]:
        return {e: levels for own in self.parts for e, levels in own.levels_known.items()}

    def groups_only(self) -> set[str]:
        """Columns that say the level of a row and nothing else, in every formula that has them."""
        elsewhere = {n for own in self.parts for n in own.needed if n not in own.groups_only()}
        return {n for own in self.parts for n in own.groups_only()} - elsewhere

    # -- what is of one design --------------------------------------------------------------------------------------

    @property
    def fixed(self) -> Design:
        """Refused: each response has one.

        Raises
        ------
        PlanError
        """
        self._refuse()

    @property
    def kept(self) -> tuple[int, ...]:
        """Refused, likewise."""
        self._refuse()

    @property
    def aux(self) -> tuple[tuple[Design, tuple[int, ...]], ...]:
        """Refused, likewise."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise PlanError(
            "what is asked for reads the terms of one formula, and this model has one for each of its responses "
            f"({', '.join(self.names)}). Use predict(newdata) with the rows to compare, hypothesis() or wald tests of the "
            "coefficients by name, or a fit of one response."
        )

    def row_weights(self, newdata: Data) -> tuple[Array | None, str]:
        """Prior weights of new rows, those of each response one after the other."""
        each = [own.row_weights(newdata) for own in self.parts]
        if all(values is None for values, _ in each):
            return None, next((reason for _, reason in each if reason), "")
        n = open_table(newdata).n_rows
        return np.concatenate([np.ones(n) if values is None else values for values, _ in each]), ""

    def replay(
        self,
        newdata: Data,
        *,
        fixed: bool = True,
        aux: bool = False,
        aux_terms: bool = True,
        terms: Iterable[int] | None = None,
        missing: Literal["keep", "raise"] = "keep",
        places: dict[int, pd.Index] | None = None,
    ) -> NewDesign:
        """The columns of new data, see :meth:`Recipe.replay`; rows are those of each response one after the other."""
        del aux_terms, places
        table = open_table(newdata)
        chosen = [self.members[t] for t in (range(len(self.members)) if terms is None else terms)]
        found: list[NewDesign] = []
        for j, own in enumerate(self.parts):
            wanted = [i for members in chosen for r, i in members if r == j]
            found.append(own.replay(table, fixed=fixed, aux=aux, terms=wanted, missing=missing))
        n = table.n_rows
        taken, out = [0] * len(self.parts), []
        for members in chosen:
            pieces = []
            for j, _ in members:
                pieces.append((j, found[j].terms[taken[j]]))
                taken[j] += 1
            out.append(_stacked_term(pieces, n, len(self.parts)))
        offset = None
        if fixed and any(own.offset is not None for own in found):
            offset = np.concatenate([np.zeros(n) if own.offset is None else own.offset for own in found])
        return NewDesign(
            _diagonal([np.asarray(own.X) for own in found]) if fixed else None,
            offset,
            tuple(out),
            np.concatenate([own.complete for own in found]),
            any(own.offset_missing for own in found),
            tuple(_padded(a, j, n, len(self.parts)) for j, own in enumerate(found) for a in own.aux),
            (),
            long_labels(self.names, table.index, n),
        )

    def sigma_columns(self, newdata: Data) -> Array:
        """Columns of log sigma of new rows of Gaussian responses."""
        return _diagonal([own.replay(newdata, terms=(), fixed=False, aux=True).aux[0] for own in self.parts])


def long_labels(names: Sequence[str], index: pd.Index | None, n: int) -> pd.MultiIndex:
    """Labels of rows with the response before those of the observation."""
    import pandas as pd

    own = pd.RangeIndex(n) if index is None else index
    codes = np.repeat(np.arange(len(names)), n)
    return pd.MultiIndex.from_arrays(
        [np.asarray(names, dtype=object)[codes], own.take(np.tile(np.arange(n), len(names)))],
        names=["response", own.name],
    )


def _diagonal(parts: Sequence[Array]) -> Array:
    """Columns of each response in its rows; incomplete rows, which hold NaN, hold it throughout."""
    n, p, at = len(parts[0]), sum(a.shape[1] for a in parts), 0
    out = np.zeros((n * len(parts), p))
    for j, own in enumerate(parts):
        rows = slice(j * n, (j + 1) * n)
        out[rows, at : at + own.shape[1]] = own
        out[rows][np.isnan(own).any(axis=1)] = np.nan
        at += own.shape[1]
    return out


def _padded(columns: Array, j: int, n: int, count: int) -> Array:
    out = np.zeros((n * count, columns.shape[1]))
    out[j * n : (j + 1) * n] = columns
    return out


def _stacked_term(
    pieces: Sequence[tuple[int, tuple[NewTerm, ...]]], n: int, count: int
) -> tuple[NewTerm, ...]:
    """A term on the rows of all responses, for each of the levels that a row has."""
    widths = [1 if own[0].basis is None else own[0].basis.shape[1] for _, own in pieces]
    ends = np.concatenate([[0], np.cumsum(widths)])
    out = []
    for part in range(len(pieces[0][1])):
        new = tuple(dict.fromkeys(label for _, own in pieces for label in own[part].new_levels))
        codes: NDArray[np.int32] = np.full(n * count, -1, dtype=np.int32)
        new_codes: NDArray[np.int32] = np.full(n * count, -1, dtype=np.int32)
        basis = np.zeros((n * count, int(ends[-1])))
        for k, (j, own) in enumerate(pieces):
            term, rows = own[part], slice(j * n, (j + 1) * n)
            codes[rows] = term.codes
            place = np.array([new.index(label) for label in term.new_levels] + [-1], dtype=np.int32)
            new_codes[rows] = place[term.new_codes]
            basis[rows, ends[k] : ends[k + 1]] = 1.0 if term.basis is None else term.basis
        out.append(NewTerm(codes, basis, new, new_codes))
    return tuple(out)
