"""Other responses for the rows of a fit, as the parts of a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmmformula.inference.many.estimates import estimates
from lmmformula.inference.many.moderation import Moderated
from lmmformula.inference.many.moderation import moderated as moderate
from lmmformula.inference.many.placing import Estimates
from lmmformula.inference.many.responses import of_fit
from lmmformula.typing import Data

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted

__all__ = ["refits"]

Parts = tuple[str, str, tuple[str, ...], NDArray[np.int64], Estimates, Moderated | None, dict[str, str]]


def refits(fit: Fitted, responses: Data, moderated: bool) -> Parts:
    """Formula, method, names, rows, estimates, prior and reasons; see :class:`lmmformula.reporting.many.fits.ManyFits`."""
    fit.inference.check("many fits")
    fit.problem.refuse_elsewhere("another response")
    given = of_fit(responses, fit)
    found = estimates(fit, given.values, start=True)
    prior = moderate(found.sigma**2, found.residual_df) if moderated else None
    rows = np.full(found.n, fit.problem.n, dtype=np.int64)
    return fit.formula, fit.method, tuple(given.names), rows, found, prior, {}
