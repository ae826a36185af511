"""What the classes of verbs have in common: the fit that they are methods of."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lmmformula.arguments import ResultBase

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["Verbs"]


class Verbs(ResultBase):
    """Methods of a fit."""

    @property
    def _fit(self) -> Fitted:
        return cast("Fitted", self)
