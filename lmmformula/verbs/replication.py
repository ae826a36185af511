"""Many fits of one structure: bootstrap, power, permutations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmmformula.arguments import checked_methods
from lmmformula.verbs.base import Verbs

if TYPE_CHECKING:
    from lmmformula.reporting.many.fits import ManyFits

__all__ = ["ReplicationVerbs"]


@checked_methods()
class ReplicationVerbs(Verbs):
    """Many fits of one structure: bootstrap, power, permutations."""

    def refit_many(self, responses: Any, *, moderated: bool = False) -> ManyFits:
        """The same model on other responses of the same rows: those of ``m.simulate(1000)``, genes, voxels.

        Parameters
        ----------
        responses : frame, dict of columns or array (rows, B)
            A column for each response; rows are those of the fit, or of its data. No value may be missing; see
            :func:`lmmformula.fit_many`.
        moderated : bool
            Moderate the residual variances by empirical Bayes.

        Returns
        -------
        ManyFits
            ``.frame`` has a row for each fixed effect of each response.

        Raises
        ------
        DataError, PlanError

        Notes
        -----
        Gaussian responses are fitted together, see :func:`lmmformula.fit_many`; others one after the other, each from the
        estimates of this fit.
        """
        from lmmformula.inference.many.refits import refits
        from lmmformula.reporting.many.fits import ManyFits

        return ManyFits(*refits(self._fit, responses, moderated))
