"""Mixed models from one formula.

    >>> from lmmformula import fit, load_dataset
    >>> m = fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))

Names are imported when first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lmmformula.version import __version__ as __version__

if TYPE_CHECKING:
    from lmmformula.api import build as build
    from lmmformula.api import fit as fit
    from lmmformula.api import plan as plan
    from lmmformula.api import prior as prior
    from lmmformula.api import prior_predictive as prior_predictive
    from lmmformula.comparing import compare_methods as compare_methods
    from lmmformula.datasets import dataset_names as dataset_names
    from lmmformula.datasets import load_dataset as load_dataset
    from lmmformula.episodes import split_episodes as split_episodes
    from lmmformula.errors import ArgumentError as ArgumentError
    from lmmformula.errors import BoundaryWarning as BoundaryWarning
    from lmmformula.errors import ConvergenceWarning as ConvergenceWarning
    from lmmformula.errors import DataDroppedWarning as DataDroppedWarning
    from lmmformula.errors import DataError as DataError
    from lmmformula.errors import FitError as FitError
    from lmmformula.errors import FormulaError as FormulaError
    from lmmformula.errors import LmmformulaError as LmmformulaError
    from lmmformula.errors import PlanError as PlanError
    from lmmformula.errors import RankDeficientWarning as RankDeficientWarning
    from lmmformula.errors import SeparationWarning as SeparationWarning
    from lmmformula.errors import SingularFitWarning as SingularFitWarning
    from lmmformula.interfaces.polars import to_polars as to_polars
    from lmmformula.keeping.loading import load as load
    from lmmformula.many import fit_many as fit_many
    from lmmformula.reporting.comparison import MethodComparison as MethodComparison
    from lmmformula.reporting.elpd import loo_compare as loo_compare
    from lmmformula.reporting.frames import anova as anova
    from lmmformula.reporting.html_report import report as report
    from lmmformula.reporting.many.pooled import pool as pool
    from lmmformula.reporting.many.power import power as power
    from lmmformula.reporting.paper import to_latex as to_latex
    from lmmformula.reporting.paper import to_markdown as to_markdown
    from lmmformula.reporting.selection import model_selection as model_selection
    from lmmformula.result import Fit as Fit


_HOME = {
    "ArgumentError": ("errors", "ArgumentError"),
    "BoundaryWarning": ("errors", "BoundaryWarning"),
    "ConvergenceWarning": ("errors", "ConvergenceWarning"),
    "DataDroppedWarning": ("errors", "DataDroppedWarning"),
    "DataError": ("errors", "DataError"),
    "Fit": ("result", "Fit"),
    "FitError": ("errors", "FitError"),
    "FormulaError": ("errors", "FormulaError"),
    "LmmformulaError": ("errors", "LmmformulaError"),
    "MethodComparison": ("reporting.comparison", "MethodComparison"),
    "PlanError": ("errors", "PlanError"),
    "RankDeficientWarning": ("errors", "RankDeficientWarning"),
    "SeparationWarning": ("errors", "SeparationWarning"),
    "SingularFitWarning": ("errors", "SingularFitWarning"),
    "anova": ("reporting.frames", "anova"),
    "build": ("api", "build"),
    "compare_methods": ("comparing", "compare_methods"),
    "dataset_names": ("datasets", "dataset_names"),
    "fit": ("api", "fit"),
    "fit_many": ("many", "fit_many"),
    "load": ("keeping.loading", "load"),
    "load_dataset": ("datasets", "load_dataset"),
    "loo_compare": ("reporting.elpd", "loo_compare"),
    "model_selection": ("reporting.selection", "model_selection"),
    "plan": ("api", "plan"),
    "pool": ("reporting.many.pooled", "pool"),
    "power": ("reporting.many.power", "power"),
    "prior": ("api", "prior"),
    "prior_predictive": ("api", "prior_predictive"),
    "report": ("reporting.html_report", "report"),
    "split_episodes": ("episodes", "split_episodes"),
    "to_latex": ("reporting.paper", "to_latex"),
    "to_markdown": ("reporting.paper", "to_markdown"),
    "to_polars": ("interfaces.polars", "to_polars"),
}

__all__ = [
    "ArgumentError",
    "BoundaryWarning",
    "ConvergenceWarning",
    "DataDroppedWarning",
    "DataError",
    "Fit",
    "FitError",
    "FormulaError",
    "LmmformulaError",
    "MethodComparison",
    "PlanError",
    "RankDeficientWarning",
    "SeparationWarning",
    "SingularFitWarning",
    "anova",
    "build",
    "compare_methods",
    "dataset_names",
    "fit",
    "fit_many",
    "load",
    "load_dataset",
    "loo_compare",
    "model_selection",
    "plan",
    "pool",
    "power",
    "prior",
    "prior_predictive",
    "report",
    "split_episodes",
    "to_latex",
    "to_markdown",
    "to_polars",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lmmformula' has no attribute {name!r}{_here(name)}")
    module, attribute = _HOME[name]
    value = getattr(import_module(f"lmmformula.{module}"), attribute)
    globals()[name] = value
    return value


def _here(name: str) -> str:
    """What answers a name that the package does not have, asked of it or of a fit."""
    if name.startswith("_"):
        return ""
    from lmmformula.arguments.elsewhere import function_here
    from lmmformula.verbs import VERBS

    found = function_here(name, VERBS)
    return f"; here it is {found}" if found else ""


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
