"""``m.conditional_effects()``: expected responses over the variables of a model, as tables and as plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lmmformula.errors import DataError
from lmmformula.inference.conditional_effects import ConditionalEffect, conditional_effect, effects_of
from lmmformula.reporting.exhibits import Drawing, Exhibit
from lmmformula.reporting.frames import Table, printed
from lmmformula.reporting.numbers import significant
from lmmformula.reporting.response import expected_response

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.fitted import Fitted
    from lmmformula.typing import Arguments, Drawn

__all__ = ["ConditionalEffects", "conditional_effects"]

MOST = 12
"""Rows of an effect that are shown."""


@dataclass(frozen=True, eq=False, repr=False)
class ConditionalEffects:
    """Effects by name: ``ce["x"]`` is a frame, ``ce.plot("x:f")`` draws one.

    Attributes
    ----------
    effects : tuple of ConditionalEffect
    response : str
        What is expected, in words.
    """

    effects: tuple[ConditionalEffect, ...]
    response: str

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(e.name for e in self.effects)

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self._one(name).frame

    def plot(self, effect: str | None = None, ax: Drawn = None) -> Drawn:
        """Draw one effect; the first by default. Returns its Axes."""
        from lmmformula.reporting.plots.marginal import draw_effect

        return draw_effect(self.effects[0] if effect is None else self._one(effect), self.response, ax)

    def _one(self, name: str) -> ConditionalEffect:
        for effect in self.effects:
            if effect.name == name:
                return effect
        raise DataError(f"there is no effect {name!r} here; there are {', '.join(self.names)}.")

    @property
    def frame(self) -> pd.DataFrame:
        """All of them, one below the other, under their names: ``effect``, the variables, ``estimate, se, lower, upper``."""
        import pandas as pd

        return pd.concat(
            [e.frame.assign(effect=e.name).set_index("effect").reset_index() for e in self.effects]
        )

    def exhibit(self) -> Exhibit:
        """What a report shows of it: a table and a plot for each effect."""
        found = Exhibit("Conditional effects")
        for e in self.effects:
            table = self._table(e).exhibit()
            picture = Drawing(e.name, str(e.name), (4.6, 3.2), partial(self.plot, e.name))
            found = found.above(table).drawn(picture)
        return found

    def _table(self, effect: ConditionalEffect) -> Table:
        """At most `MOST` rows, evenly spaced."""
        held = ", ".join(
            f"{k} = {v:.4g}" if isinstance(v, float) else f"{k} = {v}" for k, v in effect.held.items()
        )
        own = effect.frame
        at = np.linspace(0, len(own) - 1, min(len(own), MOST)).round().astype(int)
        values = own.iloc[at, 0]
        is_number = values.dtype.kind == "f"
        labels = significant(values) if is_number else [str(v) for v in values]
        out = printed(own.iloc[at].drop(columns=own.columns[0]).set_axis(labels, axis=0))
        out.attrs["heading"] = f"{self.response} over {effect.name}" + (f" at {held}" if held else "")
        if len(own) > len(out):
            out.attrs["note"] = f"{len(out)} of {len(own):,} rows; ce[{effect.name!r}] has all."
        return out

    def __repr__(self) -> str:
        return "\n\n".join(repr(self._table(e)) for e in self.effects)

    def _repr_html_(self) -> str:
        return "".join(str(self._table(e)._repr_html_()) for e in self.effects)


def conditional_effects(
    fit: Fitted,
    effects: str | Sequence[str] | None = None,
    conditions: Arguments | None = None,
    level: float = 0.95,
    points: int = 50,
    kind: str = "response",
) -> ConditionalEffects:
    """See :meth:`lmmformula.verbs.MeansVerbs.conditional_effects`."""
    wanted = (
        effects_of(fit) if effects is None else (effects,) if isinstance(effects, str) else tuple(effects)
    )
    if not wanted:
        raise DataError("the fixed part names no variable, so there is no effect to show over one.")
    found = tuple(conditional_effect(fit, e, conditions, level, points, kind) for e in wanted)
    return ConditionalEffects(found, expected_response(fit) if kind == "response" else kind)
