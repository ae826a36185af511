"""Every public function and every public method is called with every kind of wrong value: each is refused by name.

The test has its own idea of what may be right (:data:`RIGHT`); whatever else is given must end in an error of this package that
names the argument. A function or a parameter that is added later is called too, and fails here until it is checked.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lmmformula
from lmmformula import Fit, LmmformulaError, MethodComparison, compare_methods, fit, load_dataset
from lmmformula.arguments import contract_of
from lmmformula.reporting.marginal_means import MarginalMeans
from lmmformula.reporting.plots import Plots

FORMULA = "Yield ~ 1 + (1 | Batch)"


class Strange:
    """An object of a class that nobody knows."""

    def __repr__(self) -> str:
        return "<strange object at 0x7f>"


WRONG: dict[str, Any] = {
    "none": None,
    "true": True,
    "zero": 0,
    "one": 1,
    "negative": -1,
    "fraction": 1.5,
    "nan": float("nan"),
    "infinite": float("inf"),
    "minus infinity": -np.inf,
    "complex": 1j,
    "huge": 10**400,
    "numpy nan": np.float64("nan"),
    "numpy flag": np.bool_(True),
    "word": "no such word",
    "empty word": "",
    "bytes": b"x",
    "list": [1.0, 2.0],
    "empty list": [],
    "list of lists": [["a"], ["b", "c"]],
    "empty dict": {},
    "dict": {1: 2},
    "object": Strange(),
    "class": int,
    "function": len,
    "array": np.array([1.0, np.nan]),
    "complex array": np.array([1j, 2.0]),
    "matrix": np.ones((2, 2)),
    "frame": pd.DataFrame({"a": [1.0]}),
    "model": fit,
}

NUMBER = {"zero", "one", "fraction"}
FLAG = {"true", "numpy flag"}
TEXT = {"word", "empty word"}
NOTHING = {"none"}
CALLED = {"function", "model"}
RIGHT: dict[str, set[str]] = {
    "level": set(),
    "seed": NOTHING | {"zero", "one"},
    "progress": NOTHING | FLAG | CALLED,
    "tolerance": {"one"},
    "max_evaluations": {"one"},
    "max_outer": {"one"},
    "max_inner": {"one"},
    "max_steps": {"one"},
    "max_depth": {"one"},
    "chains": {"one"},
    "nagq": {"zero", "one"},
    "accuracy": {"one", "fraction"},
    "memory_limit": NOTHING | {"one", "fraction"},
    "warmup": NOTHING,
    "start": NOTHING | NUMBER | {"negative"},
    "weights": NOTHING,
    "offset": NOTHING,
    "rescor": NOTHING,
    "contrasts": NOTHING | {"empty dict"},
    "context": NOTHING | {"empty dict"},
    "data2": NOTHING | {"empty dict"},
    "priors": NOTHING | {"empty dict"},
    "ziformula": NOTHING,
    "dispformula": NOTHING,
    "repeats": {"one"},
    "n": {"one"},
    "workers": {"one"},
    "statistic": NOTHING | CALLED,
    "newdata": NOTHING,
    "re_form": NOTHING,
    "interval": NOTHING,
    "uncertainty": NOTHING,
    "correlation": NOTHING | FLAG,
    "parameters": NOTHING,
    "parameter": set(),
    "method": NOTHING,
    "ddf": NOTHING,
    "vcov": NOTHING,
    "r_matrix": {"frame"},
    "cluster": NOTHING,
    "title": NOTHING | TEXT,
    "date": TEXT,
    "label": TEXT,
    "index": TEXT,
    "path": {"word"},
    "out": NOTHING,
    "sample": NOTHING | {"one"},
    "checkpoint": NOTHING | {"word"},
    "ax": NOTHING,
    "group": NOTHING,
    "column": NOTHING,
    "bins": NOTHING | {"one"},
    "reference": NOTHING,
    "responses": {"word", "empty word", "dict", "matrix", "frame"},
    "term": NOTHING,
    "test": NOTHING,
    "keep": NOTHING,
    "alpha_random": set(),
    "alpha_fixed": set(),
    "vary": NOTHING | {"empty dict"},
    "within": NOTHING,
    "results": {"frame"},
    "sections": NOTHING | {"frame"},
    "design": NOTHING,
    "effect": {"empty dict"},
    "alpha": set(),
    "dfcom": NOTHING | {"one", "fraction"},
    "profiles": NOTHING | FLAG,
    "rows": NOTHING | {"zero", "one", "negative", "huge", "empty list"},
    "table": {"empty dict", "frame"},
    "at": NOTHING | {"empty dict"},
    "nesting": NOTHING | {"empty dict"},
    "bias_adjust": FLAG | {"one", "fraction"},
    "adjust": NOTHING,
    "simple": NOTHING,
    "interaction": NOTHING,
    "ref": NOTHING | NUMBER | {"true", "negative", "numpy flag"},
    "side": {"zero", "one", "negative"},
    "null": NUMBER | {"negative"},
    "delta": NUMBER,
    "time": NOTHING,
    "coords": NOTHING,
    "by_group": NOTHING,
    **dict.fromkeys(
        (
            "se",
            "condsd",
            "conf_int",
            "predictive",
            "log_likelihood",
            "plots",
            "naivete",
            "intercept",
            "spread",
            "refit",
            "reduce",
            "conditional",
            "regrid",
            "reverse",
            "comparisons",
            "moderated",
            "moment_match",
            "reloo",
        ),
        FLAG,
    ),
}
"""Argument -> kinds of values that it may have, or that only a model can judge; nothing for arguments that are not listed."""

OWN: dict[tuple[str, str], set[str]] = {
    ("fit", "method"): set(),
    ("plan", "method"): set(),
    ("compare_methods", "method"): NOTHING,
    ("prior_predictive", "draws"): {"one"},
    **{("prior", name): {"word"} for name in ("text", "class_")},
    **{("prior", name): NOTHING | {"word"} for name in ("coef", "group", "dpar")},
    ("anova", "type"): NOTHING | {"one", "true"},
    ("Fit.anova", "type"): {"one"},
    ("Fit.bootstrap", "type"): NOTHING,
    ("Fit.conf_int", "type"): NOTHING,
    ("Fit.cov_params", "kind"): NOTHING,
    ("Fit.bayes_r2", "draws"): FLAG,
    ("Fit.conditional_effects", "effects"): NOTHING,
    ("Fit.conditional_effects", "conditions"): NOTHING | {"empty dict"},
    ("Fit.pp_check", "kind"): NOTHING,
    ("Fit.heterogeneity", "newdata"): NOTHING | {"word", "dict", "frame"},
    ("Fit.impute", "newdata"): {"word", "dict", "frame"},
    ("Fit.impute", "n"): {"one"},
    ("Fit.smooth", "name"): {"word"},
    ("Fit.smooth", "newdata"): NOTHING | {"word", "dict", "frame"},
    ("Fit.smooth", "points"): NOTHING,
    ("Fit.pp_check", "stat"): NOTHING | CALLED | {"class"},
    ("Fit.pp_check", "n"): NOTHING | {"one"},
    ("Fit.prior_sensitivity", "priors"): NOTHING,
    ("Fit.cross_validate", "by"): NOTHING,
    ("Fit.cross_validate", "folds"): NOTHING,
    ("Fit.cross_validate", "score"): NOTHING,
    ("Fit.ranova", "n"): NOTHING | {"one"},
    ("Fit.drop1", "n"): NOTHING | {"one"},
    ("Fit.drop1", "ddf"): set(),
    ("Fit.step", "n"): NOTHING | {"one"},
    ("Fit.step", "ddf"): set(),
    ("Fit.step", "method"): set(),
    **{(f"Fit.{verb}", "data"): NOTHING | {"frame", "dict"} for verb in ("emmeans", "joint_tests")},
    ("Fit.emtrends", "data"): NOTHING,
    ("Fit.predict_population", "newdata"): NOTHING | {"frame", "dict"},
    ("Fit.emmeans", "offset"): NOTHING | NUMBER | {"negative"},
    **{(f"Fit.{verb}", "by"): NOTHING for verb in ("emmeans", "emtrends", "joint_tests")},
    ("Fit.emmeans", "kind"): NOTHING,
    ("Fit.emmeans", "component"): NOTHING,
    ("Fit.emtrends", "kind"): NOTHING,
    ("Fit.predict_population", "interval"): FLAG,
    ("Plots.means", "kind"): NOTHING,
    **{
        (f"MarginalMeans.{verb}", "by"): NOTHING | {"empty list"}
        for verb in ("contrast", "pairs", "joint_tests")
    },
    **{(f"MarginalMeans.{verb}", "level"): NOTHING for verb in ("tidy", "confint", "plot")},
    ("MarginalMeans.confint", "interval"): set(),
    ("MarginalMeans.test", "joint"): FLAG,
    ("MarginalMeans.contrast", "method"): set(),
    ("Fit.update", "formula"): NOTHING,
    ("Fit.update", "data"): NOTHING,
    ("Fit.update", "method"): set(),
    ("Fit.permutation_test", "term"): set(),
    ("Fit.permutation_test", "cluster"): NOTHING,
    ("Fit.to_marginaleffects", "data"): NOTHING | {"frame", "dict"},
    ("Plots.residuals", "kind"): NOTHING,
    ("split_episodes", "cut"): NUMBER | {"negative", "list"},
    ("split_episodes", "start"): NOTHING,
    ("split_episodes", "time"): set(),
    ("split_episodes", "episode"): {"word"},
    ("split_episodes", "exposure"): {"word"},
}
"""The same for one function's argument, where it differs."""


JUDGED = {
    ("ziformula", "word"): "needs a count family",
    ("responses", "dict"): "one length",
    ("effect", "empty dict"): "is empty",
    ("vary", "empty dict"): "0 things",
    ("responses", "matrix"): "2 rows",
    ("responses", "frame"): "1 rows",
    ("parameter", "word"): "has no draws",
    ("group", "word"): "draws from a posterior",
    ("priors", "word"): "draws from a posterior",
    ("effects", "word"): "names no variable",
    ("conditions", "dict"): "names no variable",
    ("kind", "word"): "names no variable",
    ("data", "frame"): "no column",
    ("data", "dict"): "column",
    ("by", "word"): "no such word",
    ("newdata", "frame"): "no column",
    ("newdata", "dict"): "column",
}
"""Right kinds of values that only the model can judge, and what it says."""


def judged(argument: str, kind: str, said: str) -> bool:
    """Whether a message shows the text that was given, or says what a model has against a value of the right kind."""
    written = kind == "word" and WRONG[kind] in said
    return written or ((argument, kind) in JUDGED and JUDGED[argument, kind] in said)


def functions() -> dict[str, Callable[..., Any]]:
    found = {name: getattr(lmmformula, name) for name in lmmformula.__all__}
    return {name: f for name, f in found.items() if inspect.isfunction(f)}


def methods(owner: type) -> list[str]:
    own = [c for c in owner.__mro__ if c is owner or c.__module__.startswith("lmmformula.verbs")]
    found = (name for c in own for name, f in vars(c).items() if inspect.isfunction(f))
    return [name for name in found if not name.startswith("_")]


@pytest.fixture(scope="module")
def things() -> dict[str, Any]:
    """Objects whose methods are called."""
    data = load_dataset("Dyestuff")
    model = fit(FORMULA, data)
    return {
        "": data,
        "Fit": model,
        "Plots": model.plot,
        "MethodComparison": compare_methods(FORMULA, data, ["reml", "ml"]),
        "Slopes": fit("Reaction ~ Days + (1 | Subject)", load_dataset("sleepstudy")),
        "MarginalMeans": fit("Reaction ~ factor(Days) + (1 | Subject)", load_dataset("sleepstudy")).emmeans(
            "Days"
        ),
    }


CALLS = [
    *[("", name) for name in functions()],
    *[
        (owner.__name__, name)
        for owner in (Fit, Plots, MethodComparison, MarginalMeans)
        for name in methods(owner)
    ],
]


def call_of(owner: str, name: str, things: dict[str, Any]) -> Callable[..., Any]:
    if name == "emtrends":  # asks for a number in the fixed part
        return getattr(things["Slopes"], name)
    return functions()[name] if not owner else getattr(things[owner], name)


def required(owner: str, name: str, things: dict[str, Any]) -> dict[str, Any]:
    """Right values of the arguments that a call cannot do without."""
    data = things[""]
    known = {
        "formula": FORMULA,
        "data": data,
        "newdata": data,
        "path": "page.html",
        "name": "sleepstudy",
        "results": things["Fit"],
        "y": data["Yield"],
        "responses": ["Yield"],
        "effect": {"(Intercept)": 1.0},
        "term": "(Intercept)",
        "fit": things["Fit"],
        "fits": [things["Fit"], things["Fit"]],
        "parameter": "sigma",
        "specs": "~ 1",
        "var": "Days",
        "kind": "link",
        "table": data,
        "hypotheses": "sigma = 1",
        "r_matrix": [1.0],
        "expression": "Batch",
        "cut": [30.0],
        "text": "normal(0, 1)",
    }
    contract = contract_of(call_of(owner, name, things))
    assert contract is not None, f"{owner}.{name} is not checked"
    return {argument: known[argument] for argument in contract.required}


def cases(owner: str, name: str, things: dict[str, Any]) -> Iterator[tuple[str, str]]:
    contract = contract_of(call_of(owner, name, things))
    assert contract is not None
    full = f"{owner}.{name}" if owner else name
    for argument in contract.named:
        right = OWN.get((full, argument), RIGHT.get(argument, set()))
        yield from ((argument, kind) for kind in WRONG if kind not in right)


@pytest.mark.parametrize(("owner", "name"), CALLS, ids=lambda part: str(part))
def test_every_wrong_value_is_refused_by_the_name_of_its_argument(
    owner: str, name: str, things: dict[str, Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, always = call_of(owner, name, things), required(owner, name, things)
    contract = contract_of(call)
    assert contract is not None
    first = (things["Fit"],) if contract.repeated else ()
    bad = []
    for argument, kind in cases(owner, name, things):
        value = WRONG[kind]
        try:
            if argument == contract.repeated:
                call(value)
            else:
                call(*first, **{**always, argument: value})
        except LmmformulaError as error:
            if not re.search(rf"\b{argument}\b", str(error)) and not judged(argument, kind, str(error)):
                bad.append(f"{argument}={kind}: does not name it: {error}")
        except Exception as error:  # whatever it is, it is none of ours
            bad.append(f"{argument}={kind}: {type(error).__name__}: {error}")
        else:
            bad.append(f"{argument}={kind}: accepted")
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize(("owner", "name"), CALLS, ids=lambda part: str(part))
def test_every_unknown_argument_is_refused_by_name(owner: str, name: str, things: dict[str, Any]) -> None:
    call, always = call_of(owner, name, things), required(owner, name, things)
    with pytest.raises(LmmformulaError, match=rf"'nonsense' of {name}\(\)"):
        call(**always, nonsense=1)
    assert contract_of(call)
    for argument in always:
        with pytest.raises(LmmformulaError, match=rf"{name}\(\) needs {argument}="):
            call(**{k: v for k, v in always.items() if k != argument})
