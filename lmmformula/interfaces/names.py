"""What other packages call the parts of a fit, and how they read one; :class:`lmmformula.Fit` inherits all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmmformula.arguments import checked_methods
from lmmformula.inference.calls import KINDS
from lmmformula.interfaces import maketables as _maketables
from lmmformula.interfaces import statsmodels as _statsmodels
from lmmformula.verbs.base import Verbs

if TYPE_CHECKING:
    import pandas as pd

    from lmmformula.inference.records import Cluster
    from lmmformula.typing import Data, Record

__all__ = ["OtherNames"]


@checked_methods(kinds=KINDS)
class OtherNames(Verbs):
    """statsmodels' names, and the ways to marginaleffects and maketables; each a line that asks for ours."""

    if TYPE_CHECKING:  # what a fit has

        @property
        def params(self) -> pd.Series: ...
        @property
        def bse(self) -> pd.Series: ...
        @property
        def sigma(self) -> float: ...

        def residuals(self, kind: str = "response") -> pd.Series: ...

    @property
    def fe_params(self) -> pd.Series:
        """statsmodels' name of :attr:`params`."""
        return self.params

    @property
    def bse_fe(self) -> pd.Series:
        """statsmodels' name of :attr:`bse`."""
        return self.bse

    @property
    def random_effects(self) -> dict[str, pd.DataFrame]:
        """Conditional modes by grouping factor, a row a level; statsmodels has a dict of levels instead."""
        return _statsmodels.random_effects(self._fit)

    @property
    def cov_re(self) -> dict[str, pd.DataFrame]:
        """Covariance matrix of the random effects by grouping factor; statsmodels has the one matrix of its one factor."""
        return _statsmodels.cov_re(self._fit)

    @property
    def scale(self) -> float:
        """statsmodels' name of :attr:`sigma` squared."""
        return self.sigma**2

    @property
    def resid(self) -> pd.Series:
        """statsmodels' name of ``residuals()``."""
        return self.residuals()

    @property
    def resid_pearson(self) -> pd.Series:
        """statsmodels' name of ``residuals("pearson")``."""
        return self.residuals("pearson")

    def to_marginaleffects(self, data: Data = None, kind: str = "response") -> Any:
        """The fit for the package marginaleffects, at the level of the population.

        See :class:`lmmformula.interfaces.marginaleffects.PopulationModel`.
        """
        from lmmformula.interfaces.marginaleffects import PopulationModel

        return PopulationModel(self._fit, data, kind)

    def to_maketables(self, vcov: str | None = None, cluster: Cluster = None) -> _maketables.ProtocolOnly:
        """The fit for the package maketables: ``maketables.ETable([m1.to_maketables(), m2.to_maketables(vcov="CR2")])``."""
        return _maketables.ProtocolOnly(self._fit, vcov, cluster)

    @property
    def __maketables_coef_table__(self) -> pd.DataFrame:
        return _maketables.coef_table(self._fit)

    def __maketables_stat__(self, key: str) -> object:
        return _maketables.stat(self._fit, key)

    @property
    def __maketables_depvar__(self) -> str:
        return _maketables.response_name(self._fit)

    @property
    def __maketables_stat_labels__(self) -> dict[str, str]:
        return dict(_maketables.LABELS)

    @property
    def __maketables_default_stat_keys__(self) -> list[str]:
        return _maketables.default_stat_keys(self._fit)

    @property
    def __maketables_vcov_info__(self) -> Record:
        return dict(_maketables.MODEL_BASED)
