"""Many fits of one structure: bootstrap, power, permutations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lmmformula.arguments import checked_methods
from lmmformula.arguments.kinds import optional, text
from lmmformula.verbs.base import Verbs

if TYPE_CHECKING:
    import numpy as np

    from lmmformula.reporting.many.fits import ManyFits
    from lmmformula.reporting.many.permuted import PermutationTest
    from lmmformula.reporting.many.power import PowerCurve
    from lmmformula.typing import Data

__all__ = ["ReplicationVerbs"]

POWER_TEST = text("'t', 'z' or 'lr'")
TERM = text("the name of a term or a coefficient")
CLUSTER = optional(text("the name of a grouping factor"))
HOW = text("'auto', 'within', 'between' or 'rows'")


@checked_methods(
    kinds={"power": {"test": POWER_TEST}, "permutation_test": {"term": TERM, "how": HOW, "cluster": CLUSTER}}
)
class ReplicationVerbs(Verbs):
    """Many fits of one structure: bootstrap, power, permutations."""

    def refit_many(self, responses: Data, *, moderated: bool = False) -> ManyFits:
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

    def power(
        self,
        effect: Mapping[str, float],
        vary: Mapping[str, Sequence[Data]] | None = None,
        n: int = 1_000,
        *,
        within: str | Sequence[str] | None = None,
        design: Data = None,
        alpha: float = 0.05,
        test: str = "t",
        seed: int | np.random.Generator | None = None,
        level: float = 0.95,
    ) -> PowerCurve:
        """Power of a test of fixed effects by simulation (simr's powerSim and powerCurve).

        Parameters
        ----------
        effect : mapping
            Coefficients that are tested, and what they are in truth: ``{"Days": 5}``. Other coefficients and the variances are
            those of the fit.
        vary : mapping, optional
            One thing with several values. A grouping factor and numbers of its levels, ``{"Subject": [10, 20, 40]}``: new
            levels have the rows of old ones; levels nested in them are new too, those of crossed factors stay.
            ``{"rows": [5, 20]}``: rows within each level, again copies. A coefficient and its values, ``{"Days": [2, 5, 10]}``.
            A variable and lists of values that each unit is observed at, ``{"Days": [range(5), range(10)]}``.
        n : int
            Draws for each point.
        within : str or list of str, optional
            Grouping factors whose levels (or combinations of levels) have the rows that ``vary={"rows": ...}`` counts; by
            default all of the model.
        design : table, or mapping from names to tables, optional
            The rows themselves, with the columns that the formula reads besides the response; several tables are points of a
            curve. Levels that the fit does not have are new ones.
        alpha : float
            Level of the test.
        test : {"t", "z", "lr"}
            Satterthwaite's t (of other than Gaussian models Wald's z), Wald's z, or the likelihood ratio (by ML), which tests
            several coefficients together.
        seed : int or Generator, optional
        level : float
            Of the intervals of the simulation.

        Returns
        -------
        PowerCurve
            ``.frame`` has ``power, lower, upper`` (Clopper & Pearson) for each point; ``.plot()``; ``.found.pvalues``.

        Raises
        ------
        DataError, PlanError

        Notes
        -----
        Gaussian draws are refitted together. Power at the effect that was estimated says no more than its p-value (Hoenig &
        Heisey 2001): give an effect that would matter.

        References
        ----------
        Green & MacLeod (2016), Methods Ecol. Evol. 7, 493-498; Clopper & Pearson (1934), Biometrika 26, 404-413.
        """
        from lmmformula.reporting.many.power import power

        return power(
            self._fit,
            effect,
            vary,
            n,
            within=within,
            design=design,
            alpha=alpha,
            test=test,
            seed=seed,
            level=level,
        )

    def permutation_test(
        self,
        term: str,
        n: int = 999,
        *,
        how: str = "auto",
        cluster: str | None = None,
        seed: int | np.random.Generator | None = None,
    ) -> PermutationTest:
        """Permutation test of a fixed effect of a Gaussian model, by the residuals without it (Freedman & Lane 1983).

        Parameters
        ----------
        term : str
            A term (``"recipe"``: all of its coefficients) or one coefficient.
        n : int
            Permutations.
        how : {"auto", "within", "between", "rows"}
            "within" exchanges rows within each cluster, "between" whole clusters of one size; "auto" is "between" where the
            term is constant within clusters, else "within". "rows" exchanges rows freely, as without random effects.
        cluster : str, optional
            Which grouping factor; needed if the model has several.
        seed : int or Generator, optional

        Returns
        -------
        PermutationTest
            ``.p_value``, ``.statistic``, ``.found.drawn``, ``.plot()``.

        Raises
        ------
        DataError
            For a term or a cluster that the model does not have, or where nothing can be exchanged.
        PlanError
            For other families.

        References
        ----------
        Freedman & Lane (1983), J. Bus. Econ. Stat. 1, 292-298; Winkler et al. (2014), NeuroImage 92, 381-397; Phipson & Smyth
        (2010), Stat. Appl. Genet. Mol. Biol. 9(1), 39.
        """
        from lmmformula.inference.many.permuting import permutations
        from lmmformula.reporting.many.permuted import PermutationTest

        return PermutationTest(permutations(self._fit, term, n, how, cluster, seed))
