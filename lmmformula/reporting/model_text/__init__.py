"""What was fitted, as mathematics and as a program of another package."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lmmformula.reporting.model_text.mathematics import mathematics_of
from lmmformula.reporting.model_text.numpyro import numpyro_of
from lmmformula.typing import Array

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["ModelText", "model_text"]


@dataclass(frozen=True, slots=True, eq=False)
class ModelText:
    """A fit's model; prints as its mathematics and code.

    Attributes
    ----------
    mathematics : str
        The response, linear predictors, random effects, priors, what was integrated out, or the criterion.
    code : str
        A NumPyro program that runs on its own: ``exec(text.code)`` defines ``model``, of which ``text.data`` are the arguments.
        Empty for a fit without draws, or a model that NumPyro has no distributions for, which `mathematics` then says.
    data : dict of arrays
    """

    mathematics: str
    code: str
    data: dict[str, Array] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.mathematics}\n\n{self.code}".rstrip() + "\n"

    __repr__ = __str__


def model_text(fit: Fitted) -> ModelText:
    """See :meth:`lmmformula.verbs.BayesianVerbs.model_text`."""
    mathematics = mathematics_of(fit)
    if not fit.inference.sampler:
        return ModelText(mathematics, "", {})
    code, data, lacks = numpyro_of(fit)
    if lacks:
        mathematics += f"\n\nNo program: {lacks}."
    return ModelText(mathematics, code, data)
