"""Many fits of one structure, as one tidy frame that prints what matters and draws."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lmmformula.arguments import checked_methods
from lmmformula.errors import DataError
from lmmformula.inference.many.adjusting import adjusted
from lmmformula.inference.many.moderation import Moderated
from lmmformula.inference.many.placing import Estimates
from lmmformula.inference.student import two_sided
from lmmformula.reporting.exhibits import Drawing, Exhibit
from lmmformula.reporting.frames import Table, printed
from lmmformula.reporting.numbers import general
from lmmformula.typing import Array, Drawn, Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ManyFits"]

SHARE = 0.05


@checked_methods()
@dataclass(frozen=True, eq=False, repr=False)
class ManyFits:
    """Fits of many responses on one design.

    Attributes
    ----------
    formula : str
    method : str
    responses : tuple of str
    rows : (B,) array
        Observations of each response.
    estimates : Estimates
        The numbers as arrays, (B, p) and so on.
    prior : Moderated or None
        Prior of the residual variances, where they are moderated.
    reasons : dict from responses to text
        Why those that could not be fitted could not.
    """

    formula: str
    method: str
    responses: tuple[str, ...]
    rows: NDArray[np.int64]
    estimates: Estimates
    prior: Moderated | None
    reasons: dict[str, str]

    @cached_property
    def _tests(self) -> tuple[Array, Array, Array]:
        """Standard errors, degrees of freedom and t, (B, p)."""
        own = self.estimates
        errors, df = own.errors, own.degrees
        if self.prior is not None:
            errors = errors * (np.sqrt(self.prior.variances) / own.sigma)[:, None]
            df = np.minimum(df + self.prior.df, self.prior.most)
        with np.errstate(divide="ignore", invalid="ignore"):
            return errors, df, own.beta / errors

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row for each fixed effect of each response.

        ``response, term, estimate, std_error, df, statistic, p_value, p_adjusted, sigma, sd_..., cor_..., llf, nobs, converged,
        singular``; p_adjusted by Benjamini & Hochberg (1995) over the responses, term by term. With moderated variances
        ``std_error``, ``df`` and what follows from them are the moderated ones, and ``sigma_moderated`` stands beside sigma.
        """
        own, (errors, df, t) = self.estimates, self._tests
        p = two_sided(t, df)
        size, terms = own.beta.shape
        columns: Record = {
            "response": np.repeat(np.array(self.responses, dtype=object), terms),
            "term": np.tile(np.array(own.names, dtype=object), size),
            "estimate": own.beta.ravel(),
            "std_error": errors.ravel(),
            "df": df.ravel(),
            "statistic": t.ravel(),
            "p_value": p.ravel(),
            "p_adjusted": np.stack([adjusted(p[:, j]) for j in range(terms)], axis=1).ravel()
            if terms
            else p.ravel(),
            "sigma": np.repeat(own.sigma, terms),
        }
        if self.prior is not None:
            columns["sigma_moderated"] = np.repeat(np.sqrt(self.prior.variances), terms)
        spreads = [name for name in own.parameters if name not in own.names and name != "sigma"]
        columns |= {name: np.repeat(own.parameters[name], terms) for name in spreads}
        columns |= {
            "llf": np.repeat(own.llf, terms),
            "nobs": np.repeat(self.rows, terms),
            "converged": np.repeat(own.converged, terms),
            "singular": np.repeat(own.singular, terms),
        }
        return pd.DataFrame(columns)

    def tidy(self) -> Table:
        """:attr:`frame`, as it prints."""
        return printed(self.frame)

    def wide(self, column: str = "estimate") -> pd.DataFrame:
        """One column of the frame with a row for each response and a column for each term."""
        if column not in self.frame:
            raise DataError(f"column={column!r} is none of {', '.join(map(str, self.frame.columns))}.")
        values = self.frame[column].to_numpy().reshape(len(self.responses), -1)
        index = pd.Index(self.responses, name="response")
        return pd.DataFrame(values, index=index, columns=list(self.estimates.names))

    def top(self, term: str | None = None, n: int = 10) -> Table:
        """The n responses with the smallest p-values of a term (by default the last), as limma's topTable."""
        shown = (
            self._of(term)
            .sort_values("p_value", kind="stable")
            .head(n)
            .set_index("response")
            .drop(columns="term")
        )
        return printed(shown)

    def plot(self, term: str | None = None, ax: Drawn = None) -> Drawn:
        """Volcano plot of a term (by default the last): estimates against -log10 p, those below 5% adjusted in colour."""
        from lmmformula.reporting.plots.canvas import COLOURS, GREY, new_axes

        own = self._of(term)
        ax = new_axes(ax, (5.0, 4.0))
        estimate, p, adjusted_p = own[["estimate", "p_value", "p_adjusted"]].to_numpy(dtype=float).T
        height, found = -np.log10(np.maximum(p, 1e-300)), adjusted_p < SHARE
        for some, colour in ((~found, GREY), (found, COLOURS[0])):
            ax.plot(estimate[some], height[some], ".", color=colour, ms=4)
        ax.set_xlabel(f"estimate of {own['term'].iloc[0]}")
        ax.set_ylabel("-log10 p")
        ax.set_title(f"{int(found.sum()):,} of {len(own):,} below 5% adjusted", loc="left")
        return ax

    def _of(self, term: str | None) -> pd.DataFrame:
        """The rows of a term, by default the last."""
        names = self.estimates.names
        if term is not None and term not in names:
            raise DataError(f"term={term!r} is none of {', '.join(names)}.")
        j = len(names) - 1 if term is None else names.index(term)
        return self.frame.iloc[j :: len(names)]

    @cached_property
    def overview(self) -> Table:
        """A row for each term: quartiles of the estimates, and how many responses have it."""
        found = []
        for j, name in enumerate(self.estimates.names):
            own = self.frame.iloc[j :: len(self.estimates.names)]
            low, middle, high = own["estimate"].quantile([0.25, 0.5, 0.75])
            counts = {
                "p < .05": int((own["p_value"] < SHARE).sum()),
                "adjusted p < .05": int((own["p_adjusted"] < SHARE).sum()),
            }
            found.append({"term": name, "25 %": low, "median": middle, "75 %": high, **counts})
        out = pd.DataFrame(found).set_index("term")
        out.index.name = None
        out.attrs["heading"], out.attrs["note"] = self._heading(), self._note()
        return printed(out)

    def _heading(self) -> str:
        rows = (
            f"{self.rows.min():,}"
            if self.rows.min() == self.rows.max()
            else f"{self.rows.min():,}-{self.rows.max():,}"
        )
        count = len(self.responses)
        return (
            f"{count:,} fit{'' if count == 1 else 's'} by {self.method} of {self.formula}, {rows} rows each"
        )

    def _note(self) -> str:
        own = self.estimates
        failed = int(np.isnan(own.llf).sum())
        parts = [f"{int(own.singular.sum()):,} singular"]
        if stopped := int((~own.converged).sum()) - failed:
            parts.append(f"{stopped:,} not converged")
        if failed:
            parts.append(f"{failed:,} not fitted")
        if self.prior is not None:
            parts.append(
                f"variances moderated towards {general(self.prior.variance)} with {general(self.prior.df)} degrees of freedom"
            )
        return "; ".join(parts) + ". All numbers are in .frame."

    def exhibit(self) -> Exhibit:
        """What a report shows of it: the overview, and of the last term the smallest p-values and a volcano."""
        term, top = self.estimates.names[-1], self.top()
        top.attrs["heading"] = f"Smallest p-values of {term}"
        picture = Drawing(
            "Volcano", f"Estimates of {term} and their p-values.", (5.2, 4.2), partial(self.plot, None)
        )
        return self.overview.exhibit().titled("Many responses").above(top.exhibit()).drawn(picture)

    def __len__(self) -> int:
        return len(self.responses)

    def __repr__(self) -> str:
        return repr(self.overview)

    def _repr_html_(self) -> str | None:
        return self.overview._repr_html_()
