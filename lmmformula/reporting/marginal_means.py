"""Marginal means, contrasts and trends as the user has them: they print themselves, and make contrasts of each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.arguments import checked_methods, shown
from lmmformula.arguments.kinds import anything, flag, names, optional, word
from lmmformula.arguments.table import ARGUMENTS
from lmmformula.errors import DataError
from lmmformula.inference.means.comparisons import METHODS
from lmmformula.inference.means.joint import joint_rows_of_means
from lmmformula.inference.means.letters import letters as letters_of
from lmmformula.inference.means.record import Means, contrasted, interactions, regridded
from lmmformula.inference.means.specs import names_in
from lmmformula.inference.means.tables import assessed, side_of
from lmmformula.reporting.exhibits import Drawing, Exhibit
from lmmformula.reporting.frames import Table, printed
from lmmformula.reporting.grids import Grid
from lmmformula.reporting.html import inline_table, small
from lmmformula.reporting.lines import wrapped
from lmmformula.reporting.marginal_tables import joint_table, labelled, r_table, tidy_table, usual
from lmmformula.reporting.numbers import aligned
from lmmformula.typing import Argument, Array, Data, Drawn, Record

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MarginalMeans"]


_WITHIN = optional(names("names of variables", blank=True))
_LEVEL = optional(ARGUMENTS["level"])


@checked_methods(
    kinds={
        "contrast": {"by": _WITHIN, "method": anything("the name of contrasts, a mapping, or a matrix")},
        "pairs": {"by": _WITHIN},
        "joint_tests": {"by": _WITHIN},
        "test": {"joint": flag()},
        "tidy": {"level": _LEVEL},
        "plot": {"level": _LEVEL},
        "confint": {"level": _LEVEL, "interval": word("hpd", "quantile")},
        "shown_as": {"kind": word("link", "response")},
    }
)
@dataclass(frozen=True, eq=False, repr=False)
class MarginalMeans:
    """Means, contrasts or trends with their uncertainty. Printing shows emmeans' table.

    Attributes
    ----------
    own : Means
        Labels and estimates.
    contrasts : MarginalMeans or None
        Those that ``emmeans("pairwise ~ a")`` asked for besides the means.
    """

    own: Means
    contrasts: MarginalMeans | None = None

    # -- tables ---------------------------------------------------------------------------------------------------

    @property
    def table(self) -> Table:
        """emmeans' columns: means and trends with intervals, contrasts with tests."""
        show = ("test",) if self.own.are_contrasts else ("interval",)
        adjust = usual(self.own, None) if self.own.are_contrasts else "none"
        return printed(r_table(self.own, show=show, level=self.own.level, adjust=adjust))

    @property
    def frame(self) -> Table:
        """broom's columns: ``estimate, std_error, df, statistic, p_value, conf_low, conf_high``."""
        return self.tidy()

    def tidy(self, level: float | None = None, adjust: str | None = None) -> Table:
        """broom's columns, p-values and intervals of contrasts adjusted.

        Returns
        -------
        DataFrame
            Labels, then ``estimate, std_error, df, statistic, p_value, conf_low, conf_high``; of a posterior ``probability`` in
            place of the tests.
        """
        return printed(tidy_table(self.own, level=level or self.own.level, adjust=usual(self.own, adjust)))

    @property
    def draws(self) -> Array | None:
        """Draws of a posterior on the scale that is shown, (S, r); None for other fits."""
        own = self.own.estimates.draws
        return None if own is None else self.own.shown.value(own)

    @property
    def cov(self) -> pd.DataFrame:
        """Covariance matrix of the estimates on the scale on which they are made."""
        import pandas as pd

        own = self.own.estimates
        names = [" ".join(map(str, row)) for row in labelled(self.own).to_numpy().tolist()]
        return pd.DataFrame(own.rows @ own.known.covariance @ own.rows.T, index=names, columns=names)

    def confint(
        self,
        level: float | None = None,
        adjust: str | None = None,
        side: str | int = "two-sided",
        interval: str = "hpd",
    ) -> Table:
        """Intervals: of contrasts simultaneous ones, by the adjustment of their p-values unless `adjust` is another.

        Parameters
        ----------
        level : float, optional
        adjust : str, optional
            See :mod:`lmmformula.inference.multiplicity`; methods without a quantile (holm, fdr) have Bonferroni's intervals.
        side : {"two-sided", "less", "greater"}
            "less" has an upper end only, "greater" a lower one.
        interval : {"hpd", "quantile"}
            Of a posterior.

        Returns
        -------
        DataFrame
        """
        table = r_table(
            self.own,
            show=("interval",),
            level=level or self.own.level,
            adjust=usual(self.own, adjust) if self.own.are_contrasts or adjust else "none",
            side=side_of(side),
            interval=interval,
        )
        return printed(table)

    def test(
        self,
        null: float = 0.0,
        *,
        side: str | int = "two-sided",
        delta: float = 0.0,
        adjust: str | None = None,
        joint: bool = False,
    ) -> Table:
        """Tests that the estimates are `null`, or by how much they differ from it.

        Parameters
        ----------
        null : float
            On the scale on which estimates are made: a logarithm for ratios.
        side : {"two-sided", "less", "greater"}
            The alternative.
        delta : float
            A threshold above 0 turns the question round: is the estimate within delta of `null` (two-sided: equivalence), not
            below ``null - delta`` ("greater": non-inferiority), or not above ``null + delta`` ("less": non-superiority)?
        adjust : str, optional
            Another adjustment of the p-values.
        joint : bool
            One F or chi-square test of all estimates of a group in place of one each.

        Returns
        -------
        DataFrame
            Of a posterior the probability that the statement holds.
        """
        if joint:
            return self._joint(null)
        table = r_table(
            self.own,
            show=("test",),
            level=self.own.level,
            adjust=usual(self.own, adjust),
            null=null,
            side=side_of(side),
            delta=delta,
        )
        return printed(table)

    def _joint(self, null: float) -> Table:
        import pandas as pd

        self._refuse_draws("test(joint=True)")
        rows = []
        for group, positions in self.own.groups().items():
            found, lost = self.own.estimates.taken(positions).joint(null)
            if found is None:
                rows.append((*group, 0, np.nan, np.nan, np.nan, lost))
            else:
                rows.append((*group, found.q, found.df, found.statistic, found.p_value, lost))
        names = [*self.own.by, "df1", "df2", "F.ratio", "p.value", "lost"]
        return printed(pd.DataFrame(rows, columns=names).drop(columns="lost"))

    def joint_tests(self, by: str | Iterable[str] | None = None) -> Table:
        """F tests of each factor of these means and of their interactions, within each combination of `by`.

        Returns
        -------
        DataFrame
            ``model term, [by,] df1, df2, F.ratio, p.value``; with df2 infinite df1 times F is chi-square.
        """
        self._refuse_draws("joint_tests()")
        within = self.own.by if by is None else names_in(by)
        return printed(joint_table(joint_rows_of_means(self.own, within), within))

    def _refuse_draws(self, what: str) -> None:
        if self.own.estimates.draws is not None:
            raise DataError(
                f"{what} tests, and a posterior has no tests: look at contrast() and its probabilities."
            )

    # -- others made of these -------------------------------------------------------------------------------------

    def contrast(
        self,
        method: Argument = "pairwise",
        *,
        by: str | Iterable[str] | None = None,
        simple: str | Iterable[str] | None = None,
        interaction: Argument = None,
        adjust: str | None = None,
        ref: Argument = None,
    ) -> MarginalMeans:
        """Contrasts of the means within each combination of `by`.

        Parameters
        ----------
        method : str, mapping or matrix
            "pairwise", "revpairwise", "trt.vs.ctrl" ("dunnett"), "trt.vs.ctrlk", "consec", "poly", "eff", "del.eff", "helmert",
            "mean_chg" or "identity"; a mapping from names to coefficients, ``{"a - b": {"a": 1, "b": -1}}`` or
            ``{"a - b": [1, -1, 0]}``; or a matrix with a row for each contrast.
        by : str or list, optional
            Columns within which means are compared; by default those of the means. ``by=[]`` for none.
        simple : str or list, optional
            The other way round: the columns whose levels are compared, within all others.
        interaction : str, list or mapping, optional
            Contrasts of contrasts: a method for all factors, one for each, or factor -> method.
        adjust : str, optional
            Of p-values and intervals, instead of the usual one (tukey for pairs, dunnettx for comparisons with a reference, mvt
            for consecutive ones, fdr for effects, none for the others): see :mod:`lmmformula.inference.multiplicity`.
        ref : str, int or tuple, optional
            The level (or its place from 0) that "trt.vs.ctrl" compares with.

        Returns
        -------
        MarginalMeans
            Where means are shown on the scale of the response, differences on a log or logit scale are shown as ratios or odds
            ratios; those of other links stay on the scale of the link. :meth:`regrid` first has differences of responses.
        """
        within = self._within(by, simple)
        if interaction is not None:
            return MarginalMeans(interactions(self.own, self._methods(interaction, within), within, adjust))
        return MarginalMeans(contrasted(self.own, method, by=within, adjust=adjust, ref=ref))

    def _within(
        self, by: str | Iterable[str] | None, simple: str | Iterable[str] | None
    ) -> tuple[str, ...] | None:
        if simple is None:
            return None if by is None else names_in(by)
        if by is not None:
            raise DataError("by= and simple= say the same in two ways: give one of them.")
        compared = names_in(simple)
        for name in compared:
            if name not in self.own.labels:
                raise DataError(
                    f"simple={name!r} is no column of these means; they have {', '.join(self.own.labels)}."
                )
        return tuple(name for name in self.own.labels if name not in compared)

    def _methods(self, interaction: Argument, within: tuple[str, ...] | None) -> dict[str, str]:
        by = self.own.by if within is None else within
        own = [name for name in self.own.labels if name not in by]
        chosen = _by_factor(interaction, own)
        for factor, method in chosen.items():
            if factor not in own or not (isinstance(method, str) and method in METHODS):
                raise DataError(
                    f"interaction={shown(interaction)} must name contrasts ({', '.join(map(repr, METHODS))}) of the factors "
                    f"{', '.join(own)}: one for all, one for each, or factor -> name."
                )
        return chosen

    def pairs(
        self, *, by: str | Iterable[str] | None = None, reverse: bool = False, adjust: str | None = None
    ) -> MarginalMeans:
        """All differences: ``contrast("pairwise")``, or "revpairwise" if `reverse`."""
        return self.contrast("revpairwise" if reverse else "pairwise", by=by, adjust=adjust)

    def letters(
        self, alpha: float = 0.05, *, adjust: str | None = None, reverse: bool = False, delta: float = 0.0
    ) -> Table:
        """Compact letter display: means that share a letter do not differ at `alpha` (Piepho 2004).

        Parameters
        ----------
        alpha : float
        adjust : str, optional
            Of the pairwise tests; tukey by default.
        reverse : bool
            "a" with the largest mean instead of the smallest.
        delta : float
            With a threshold means share a letter where they are shown to be equivalent.

        Returns
        -------
        DataFrame
            :attr:`table` with a column ``letters``, in ascending order (descending, if `reverse`) within each group.
        """
        self._refuse_draws("letters()")
        pairs = contrasted(self.own, "pairwise", adjust=adjust)
        p = assessed(pairs, 0.0, 0, delta, usual(pairs, None)).p_value
        table, marks, start = self.table, np.full(len(self.own.estimates), "", dtype=object), 0
        order: list[int] = []
        value = self.own.estimates.value
        for positions in self.own.groups().values():
            k = len(positions)
            named = [(i, j) for i in range(k) for j in range(i + 1, k)]
            own = p[start : start + len(named)]
            start += len(named)
            apart = (own >= alpha) if delta else (own < alpha)
            differ = [pair for pair, yes in zip(named, apart, strict=True) if yes]
            marks[positions] = letters_of(value[positions], differ, reverse=reverse)
            order += [positions[i] for i in np.argsort(-value[positions] if reverse else value[positions])]
        table["letters"] = marks
        out = table.iloc[order].reset_index(drop=True)
        said = "are equivalent" if delta else "do not differ"
        out.attrs["note"] = f"Means that share a letter {said} at {alpha:g} ({usual(pairs, None)})."
        return printed(out)

    def regrid(self) -> MarginalMeans:
        """The same on the scale of the response, of which contrasts are differences and no ratios."""
        return MarginalMeans(regridded(self.own))

    def shown_as(self, kind: str) -> MarginalMeans:
        """The same shown on the scale of the "link" or the "response"."""
        return MarginalMeans(replace(self.own, kind=kind))

    def plot(
        self, ax: Drawn = None, *, comparisons: bool = False, alpha: float = 0.05, level: float | None = None
    ) -> Drawn:
        """Estimates with their intervals, one a line.

        Parameters
        ----------
        ax : Axes, optional
        comparisons : bool
            Draw arrows too, which overlap where two means do not differ at `alpha` (tukey).
        alpha, level : float

        Returns
        -------
        Axes
        """
        from lmmformula.reporting.plots.means import plot_means

        return plot_means(self.own, ax, comparisons=comparisons, alpha=alpha, level=level)

    def exhibit(self) -> Exhibit:
        """What a report shows of it: a table for each group, the notes, the plot; contrasts below the means."""
        table, own = self.table, self.own
        left = tuple(range(len(own.own)))
        grids = tuple(
            Grid(title.rstrip(":"), tuple(header), tuple(map(tuple, rows)), left)
            for title, header, rows in _blocks(table, own)
        )
        what = (
            "Contrasts"
            if own.are_contrasts
            else "Trends"
            if own.name.endswith(".trend")
            else "Marginal means"
        )
        of = ", ".join(own.own) or "all rows"
        size = (5.6, 1.2 + 0.32 * min(len(own.estimates), 40))
        picture = Drawing(what, f"{what} with {100 * own.level:g}% intervals.", size, self.plot)
        said = (str(table.attrs["note"]),) if table.attrs.get("note") else ()
        title = what if own.are_contrasts else f"{what} of {of}"
        found = Exhibit(title, grids, said, drawings=(picture,))
        return found if self.contrasts is None else found.above(self.contrasts.exhibit())

    # -- text -----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.own.estimates)

    def __str__(self) -> str:
        lines, table = [], self.table
        for title, header, rows in _blocks(table, self.own):
            lines += [title] if title else []
            lines += [*aligned(header, rows, left=range(len(self.own.own))), ""]
        lines += wrapped(str(table.attrs["note"])) if table.attrs.get("note") else []
        text = "\n".join(lines).rstrip()
        return text if self.contrasts is None else f"{text}\n\n{self.contrasts}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        table = self.table
        parts = [
            inline_table(title, header, rows, left=range(len(self.own.own)))
            for title, header, rows in _blocks(table, self.own)
        ]
        html = "".join(parts) + small([str(table.attrs["note"])] if table.attrs.get("note") else [])
        return html if self.contrasts is None else html + self.contrasts._repr_html_()


def _by_factor(interaction: Argument, own: list[str]) -> Record:
    """Factor -> what was asked for."""
    if isinstance(interaction, Mapping):
        return dict(interaction)
    if isinstance(interaction, str):
        return dict.fromkeys(own, interaction)
    if isinstance(interaction, list | tuple) and len(interaction) == len(own):
        return dict(zip(own, interaction, strict=True))
    return {"": interaction}


def _blocks(table: Table, means: Means) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, header and rows of each group; numbers have decimals in common over all of them."""
    header, rows = table.cells()
    hidden = [header.index(name) for name in means.by]
    kept = [j for j in range(len(header)) if j not in hidden]
    out = []
    for group, positions in means.groups().items():
        title = ", ".join(f"{n} = {_text(v)}" for n, v in zip(means.by, group, strict=True))
        own = [[rows[i][j] for j in kept] for i in positions]
        out.append((f"{title}:" if title else "", [header[j] for j in kept], own))
    return out


def _text(value: Data) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
