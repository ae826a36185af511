"""Parameters of a distribution besides its mean: where they live, what they are, how they are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lmmformula.typing import Numbers

__all__ = ["DISPERSION", "ZEROS", "Auxiliary", "Range", "Role"]

Range = Literal["real", "positive", "above one", "unit"]
"""Where an auxiliary parameter lives: a, e^a, 1 + e^a or 1 / (1 + e^-a) of its predictor a; the last between its `ends`."""

Role = Literal["dispersion", "scale", "shape", "zeros"]
"""What an auxiliary parameter is.

"dispersion": sigma of an exponential dispersion model, whose score and expected information are proportional to
sigma^-2, so that it cancels from working responses and scales their variance. "scale": another parameter that R
calls sigma. "shape": neither. "zeros": the probability of a structural zero.
"""

DISPERSION, ZEROS = "disp", "zi"
"""broom.mixed's words for the predictors of a dispersion and of structural zeros; the latter is brms' name of the parameter."""


@dataclass(frozen=True, slots=True)
class Auxiliary:
    """A parameter besides the mean, estimated on an unbounded scale.

    Attributes
    ----------
    name : str
        As shown to the user.
    meaning : str
        Its place in the variance, in a few words.
    value : callable
        Linear predictor a -> the user's value.
    predictor : callable
        The user's value -> a.
    role : {"dispersion", "scale", "shape", "zeros"}
    range : {"real", "positive", "above one", "unit"}
        What `value` does.
    ends : tuple of float
        Of the range "unit": the value is ``low + (high - low) / (1 + e^-a)``, and a prior is that of its place between them.
    link : {"identity", "log", "logm1", "logit"}
        brms' name of the link from the value to `a`; "logm1" is log(value - 1).
    prior : str
        Default prior, brms' where brms has the parameter. A scale of a response on the real line has a default in units of
        the response instead.
    aliases : tuple of str
        Other names under which a prior may be given.
    title : str
        What a table of its predictor is called; by default a dispersion, or the name.
    table : str
        Where several parameters are of one kind, such as thresholds, that kind: they share a table.
    intercept : bool
        Whether its predictor may have a constant; other parameters take the place of one that may not.
    power : float
        r of ``sigma -> c^r sigma`` where the response is multiplied by c, see :attr:`Distribution.scales`.
    typical : float
        Predictor of an ordinary value, for responses of ordinary size: what :meth:`Distribution.start_aux` says if nothing else
        is written.
    """

    name: str
    meaning: str
    value: Callable[[Numbers], Numbers] = np.exp
    predictor: Callable[[Numbers], Numbers] = np.log
    role: Role = "scale"
    range: Range = "positive"
    ends: tuple[float, float] = (0.0, 1.0)
    link: Literal["identity", "log", "logm1", "logit"] = "log"
    prior: str = "half_student_t(3, 0, 2.5)"
    aliases: tuple[str, ...] = ()
    power: float = 0.0
    title: str = ""
    typical: float = 0.0
    table: str = ""
    intercept: bool = True

    @property
    def is_scale(self) -> bool:
        """Whether it is what R calls sigma."""
        return self.role in ("dispersion", "scale")

    @property
    def component(self) -> str:
        """broom.mixed's word for its predictor, or what it shares a table with."""
        if self.table:
            return self.table
        return {"zeros": ZEROS, "shape": self.name}.get(self.role, DISPERSION)

    def linked(self, name: str) -> str:
        """The link as mathematics: ``log(sigma)``, ``log(df - 1)``."""
        if self.link == "identity":
            return name
        if self.link == "logm1":
            return f"log({name} - 1)"
        low, high = self.ends
        if low != 0.0:
            name = f"{name} - {low:g}"
        return f"{self.link}({name})" if high - low == 1.0 else f"{self.link}(({name}) / {high - low:g})"
