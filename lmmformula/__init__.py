"""Mixed models from one formula.

    >>> from lmmformula import fit, load_dataset
    >>> m = fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))

Names are imported when first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmmformula.api import build as build
    from lmmformula.api import fit as fit
    from lmmformula.api import plan as plan
    from lmmformula.datasets import dataset_names as dataset_names
    from lmmformula.datasets import load_dataset as load_dataset
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
    from lmmformula.inference.compare import compare as anova
    from lmmformula.result import Fit as Fit
    from lmmformula.result import load as load

__version__ = "0.1.0"

_HOME = {
    "ConvergenceWarning": ("errors", "ConvergenceWarning"),
    "DataDroppedWarning": ("errors", "DataDroppedWarning"),
    "DataError": ("errors", "DataError"),
    "Fit": ("result", "Fit"),
    "FitError": ("errors", "FitError"),
    "FormulaError": ("errors", "FormulaError"),
    "LmmformulaError": ("errors", "LmmformulaError"),
    "PlanError": ("errors", "PlanError"),
    "RankDeficientWarning": ("errors", "RankDeficientWarning"),
    "SeparationWarning": ("errors", "SeparationWarning"),
    "SingularFitWarning": ("errors", "SingularFitWarning"),
    "anova": ("inference.compare", "compare"),
    "build": ("api", "build"),
    "dataset_names": ("datasets", "dataset_names"),
    "fit": ("api", "fit"),
    "load": ("result", "load"),
    "load_dataset": ("datasets", "load_dataset"),
    "plan": ("api", "plan"),
}

__all__ = [
    "ConvergenceWarning",
    "DataDroppedWarning",
    "DataError",
    "Fit",
    "FitError",
    "FormulaError",
    "LmmformulaError",
    "PlanError",
    "RankDeficientWarning",
    "SeparationWarning",
    "SingularFitWarning",
    "anova",
    "build",
    "dataset_names",
    "fit",
    "load",
    "load_dataset",
    "plan",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lmmformula' has no attribute {name!r}")
    module, attribute = _HOME[name]
    value = getattr(import_module(f"lmmformula.{module}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
