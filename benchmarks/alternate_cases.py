"""Cases that are timed before and after a change of lmmformula: a model, its data, and how often it is fitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CASES", "Case"]

Data = Callable[[bool], "pd.DataFrame"]


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table.

    Attributes
    ----------
    name : str
        Name on the command line.
    formula : str
        The model.
    data : callable
        Makes the frame, the same one each time; its argument asks for a small one.
    options : mapping
        Further arguments of ``fit``.
    repeats : int
        Fits in a process of which the fastest counts.
    warm : {"small", "same", "no"}
        What is fitted first, without counting: sleepstudy; the model itself, whose programs are compiled then; nothing.
    large : bool
        Whether it is left out unless large cases are asked for: minutes, or gigabytes.
    """

    name: str
    formula: str
    data: Data
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    repeats: int = 1
    warm: Literal["small", "same", "no"] = "small"
    large: bool = False


def _problem(name: str, *, few: int | None = None) -> Data:
    """Data of :data:`benchmarks.problems.PROBLEMS`; of a large one, its first rows stand for a small one."""

    def make(small: bool) -> pd.DataFrame:
        from benchmarks.problems import PROBLEMS

        frame = PROBLEMS[name].data()
        return frame.head(few).copy() if small and few else frame

    return make


def _formula(name: str) -> str:
    from benchmarks.problems import PROBLEMS

    return PROBLEMS[name].formula


def _crossed_logit(design: Literal["sparse_cells", "retail"], rows: int, few: int) -> Data:
    def make(small: bool) -> pd.DataFrame:
        import benchmarks.crossed_logit as designs

        return getattr(designs, design)(few if small else rows, seed=1).frame

    return make


def _crossed_krylov(family: str, rows: int) -> Data:
    """Two factors of rows / 20 levels each."""

    def make(small: bool) -> pd.DataFrame:
        from benchmarks.krylov_data import Setting, frame

        n = 20_000 if small else rows
        return frame(Setting(family, n, (n // 20, n // 20)).arrays())

    return make


def _bayes(name: str, *, few: int | None = None) -> Data:
    def make(small: bool) -> pd.DataFrame:
        from benchmarks.bayes_data import MODELS

        frame = MODELS[name].make()
        return frame.head(few).copy() if small and few else frame

    return make


def _chains(sampler: str, draws: int, warmup: int) -> dict[str, Any]:
    return {
        "method": "hmc",
        "sampler": sampler,
        "chains": 1,
        "draws": draws,
        "warmup": warmup,
        "seed": 1,
        "progress": False,
    }


_XS = " + ".join(f"x{k}" for k in range(1, 8))
_LOGIT = f"y ~ 1 + {_XS} + (1 | g) + (1 | h)"
_KRYLOV = "y ~ x1 + x2 + x3 + x4 + x5 + (1 | g) + (1 | h)"
_RETAIL = (
    "y ~ match + chest + age + price + client_edgy * item_edgy + client_boho * item_boho + material + fit + season "
    "+ (1 | client) + (1 | item)"
)
_REML, _ML, _LAPLACE = {"method": "reml"}, {"method": "ml"}, {"method": "laplace", "family": "binomial"}

CASES = {
    case.name: case
    for case in (
        Case("import", "", _problem("sleepstudy"), warm="no"),
        Case("first", _formula("sleepstudy"), _problem("sleepstudy"), _REML, warm="no"),
        Case("sleepstudy", _formula("sleepstudy"), _problem("sleepstudy"), _REML, repeats=100),
        Case("penicillin", _formula("penicillin"), _problem("penicillin"), _REML, repeats=100),
        Case("nested", _formula("nested"), _problem("nested", few=2_400), _ML, repeats=20),
        Case("crossed500", _formula("crossed10k"), _problem("crossed10k", few=2_000), _ML, repeats=10),
        Case("insteval", _formula("insteval"), _problem("insteval", few=4_000), _ML, repeats=3),
        Case("verbagg", _formula("verbagg"), _problem("verbagg"), _LAPLACE, repeats=10),
        Case("binary113k", _LOGIT, _crossed_logit("sparse_cells", 100_000, 5_000), _LAPLACE, repeats=3),
        *(
            Case(
                f"krylov-{family}-{name}",
                _KRYLOV,
                _crossed_krylov(family, rows),
                {"method": "krylov", "family": family},
                repeats=2,
                large=rows > 100_000,
            )
            for name, rows in (("1e5", 100_000), ("1e6", 1_000_000))
            for family in ("gaussian", "binomial")
        ),
        Case(
            "pql5e6",
            _RETAIL,
            _crossed_logit("retail", 5_000_000, 20_000),
            {"method": "pql", "family": "binomial"},
            large=True,
        ),
        *(
            Case(
                f"pupil-{sampler}",
                "y ~ x + (1 + x | subj)",
                _bayes("pupil"),
                _chains(sampler, 1_000, 100),
                repeats=2,
                warm="same",
            )
            for sampler in ("nuts", "importance")
        ),
        Case(
            "insteval-nuts",
            "y ~ service + (1 | s) + (1 | d) + (1 | dept)",
            _bayes("insteval", few=4_000),
            _chains("nuts", 50, 60),
            warm="same",
            large=True,
        ),
    )
}
"""Every case, in the order of the table."""
