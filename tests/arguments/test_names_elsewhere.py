"""Names of lme4, brms, statsmodels and others are answered with ours, and what is answered is there."""

from __future__ import annotations

import copy
import inspect
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmmformula
from lmmformula import ArgumentError, Fit, SingularFitWarning, fit, load_dataset, plan
from lmmformula.arguments import elsewhere
from lmmformula.arguments.kinds import Kind, UnsuitedError
from lmmformula.arguments.table import ARGUMENTS
from lmmformula.engines.krylov.device import DEVICES
from lmmformula.engines.krylov.engine import PRECONDITIONERS
from lmmformula.methods import OPTIONS

FORMULA = "Yield ~ 1 + (1 | Batch)"


@pytest.fixture(scope="module")
def model() -> Fit:
    return fit(FORMULA, load_dataset("Dyestuff"))


@pytest.mark.parametrize("name", list(elsewhere.ATTRIBUTES_ELSEWHERE))
def test_an_attribute_of_another_package_is_answered_with_one_that_is_there(model: Fit, name: str) -> None:
    here = elsewhere.ATTRIBUTES_ELSEWHERE[name]
    assert name not in dir(Fit), f"{name} is an attribute of Fit by now"
    with pytest.raises(AttributeError, match=rf"no attribute '{name}'; here it is m\.{re.escape(here)}"):
        getattr(model, name)
    found: Any = model
    for part in re.match(r"[\w.]+", here)[0].split("."):  # type: ignore[index]
        found = getattr(found, part)


@pytest.mark.parametrize(
    "name", ["fixef", "VarCorr", "isSingular", "confint", "bootMer", "posterior_predict", "prior_summary"]
)
def test_the_names_that_users_try_first_are_known(name: str) -> None:
    assert name in elsewhere.ATTRIBUTES_ELSEWHERE


def test_other_attributes_are_as_absent_as_ever(model: Fit) -> None:
    with pytest.raises(AttributeError, match=r"^a fit has no attribute 'nonsense'$"):
        _ = model.nonsense
    assert not hasattr(model, "_repr_png_")
    assert copy.copy(model).llf == copy.deepcopy(model).llf == model.llf


@pytest.mark.parametrize("name", list(elsewhere.FUNCTIONS_ELSEWHERE))
def test_a_function_of_another_package_is_answered(name: str) -> None:
    here = elsewhere.FUNCTIONS_ELSEWHERE[name]
    assert here in lmmformula.__all__
    with pytest.raises(AttributeError, match=rf"'{name}'; here it is {here}\(\)"):
        getattr(lmmformula, name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("emmeans", "a method of a fit, m.emmeans()"),
        ("ranova", "a method of a fit, m.ranova()"),
        ("simulateResiduals", "a method of a fit, m.simulated_residuals()"),
        ("glht", "a method of a fit, m.emmeans('a').pairs()"),
        ("VarCorr", "a method of a fit, m.varcorr()"),
        ("powerCurve", "power()"),
        ("dredge", "model_selection()"),
    ],
)
def test_methods_asked_of_the_package_are_answered(name: str, said: str) -> None:
    with pytest.raises(AttributeError, match=rf"'{name}'; here it is {re.escape(said)}$"):
        getattr(lmmformula, name)


def test_other_names_of_the_package_are_as_absent_as_ever() -> None:
    with pytest.raises(AttributeError, match=r"'lmmformula' has no attribute 'nonsense'$"):
        _ = lmmformula.nonsense  # type: ignore[attr-defined]
    assert not hasattr(lmmformula, "__path_hooks__")


@pytest.mark.parametrize("name", ["along", "breaks", "data", "nsim", "fixed"])
def test_arguments_of_simr_are_answered(model: Fit, name: str) -> None:
    with pytest.raises(ArgumentError, match=rf"'{name}' of power\(\)\. (Say|Give|It is called)"):
        lmmformula.power(model, {"(Intercept)": 1.0}, **{name: 1})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"weight": "w"}, "Did you mean weights="),
        ({"REML": False}, "REML=False is method='ml'"),
        ({"REML": True}, "REML=True is method='reml'"),
        ({"link": "cloglog"}, r"family=\"binomial\(link='cloglog'\)"),
        ({"nAGQ": 5}, "nagq="),
        ({"prior": "normal(0, 1)"}, "priors="),
        ({"groups": "Batch"}, r"\(1 \| group\)"),
        ({"adapt_delta": 0.9}, "target_accept="),
        ({"random_state": 1}, "seed="),
        ({"control": {}}, "max_evaluations="),
        ({"subset": [1]}, r"fit\(formula, data\[condition\]\)"),
    ],
)
def test_an_argument_of_another_package_is_answered(arguments: dict[str, Any], said: str) -> None:
    name = next(iter(arguments))
    with pytest.raises(ArgumentError, match=f"unknown option '{name}'.*{said}"):
        fit(FORMULA, load_dataset("Dyestuff"), **arguments)


@pytest.mark.parametrize("name", list(elsewhere.ARGUMENTS_ELSEWHERE))
def test_no_argument_of_another_package_has_become_one_of_ours(name: str) -> None:
    known = {argument for call in (fit, plan) for argument in lmmformula.arguments.contract_of(call).named}  # type: ignore[union-attr]
    assert name not in known


def test_names_of_inner_functions_do_not_leak(model: Fit) -> None:
    anything: Any = model
    for call in (
        lambda: model.conf_int(method="profile", n=5),
        lambda: model.conf_int(method="wald", points=5),
        lambda: model.bootstrap(replicates=5),
        lambda: model.profile(grid=5),
        lambda: model.update(weight="w"),
        lambda: anything.predict(None, "all"),
        lambda: lmmformula.anova(model, test="F"),
    ):
        with pytest.raises(ArgumentError) as caught:
            call()
        assert not re.search(r"\b_\w|keyword argument|positional", str(caught.value)), str(caught.value)


def test_a_matrix_of_responses_is_for_another_verb(model: Fit) -> None:
    with pytest.raises(ArgumentError, match=r"refit_many\(\) takes many responses"):
        model.refit(model.simulate(3, seed=1))


def test_tests_of_one_fit_by_clusters_are_at_top_level_too() -> None:
    m = fit("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))
    found = lmmformula.anova(m, vcov="CR2", cluster="Subject")
    np.testing.assert_array_equal(found.to_numpy(), m.anova(vcov="CR2", cluster="Subject").to_numpy())
    with pytest.raises(lmmformula.DataError, match="vcov='CR2' is for the tests of one fit's terms"):
        lmmformula.anova(m, m, vcov="CR2")


def test_the_page_on_errors_by_clusters_lists_who_takes_them() -> None:
    methods = inspect.getmembers(Fit, inspect.isfunction)
    taking = {name for name, method in methods if "vcov" in inspect.signature(method).parameters}
    assert "summary" in taking
    page = (Path(__file__).resolve().parents[2] / "docs" / "robust.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in taking | {"conf_int"})


def test_warnings_point_at_the_line_of_the_caller() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        fit(FORMULA, load_dataset("Dyestuff2"))
    assert [w.category for w in seen] == [SingularFitWarning]
    assert seen[0].filename == __file__


# -- kinds ------------------------------------------------------------------------------------------------------------


def test_numbers_of_numpy_are_numbers() -> None:
    data = load_dataset("Dyestuff")
    points: Any = np.int32(1)
    draws: Any = np.int64(2)
    seed: Any = np.uint8(1)
    one = fit(FORMULA, data, tolerance=np.float32(1e-6), max_evaluations=np.int64(50), nagq=points)
    assert one.converged
    assert one.simulate(draws, seed=seed).shape == (30, 2)


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ("2GB", 2e9),
        ("2 gb", 2e9),
        ("1.5 GiB", 1.5 * 2**30),
        ("500M", 5e8),
        ("1e9", 1e9),
        (7, 7.0),
        ("64 kB", 64e3),
    ],
)
def test_sizes_of_memory(given: Any, size: float) -> None:
    assert ARGUMENTS["memory_limit"].read(given) == size


@pytest.mark.parametrize("given", ["2 XB", "GB", "", "-1 GB", "1.2.3 GB", float("nan"), 0, "1e999 GB"])
def test_what_is_no_size_of_memory(given: Any) -> None:
    with pytest.raises(UnsuitedError):
        ARGUMENTS["memory_limit"].read(given)


def test_words_of_the_options_are_those_of_the_engines() -> None:
    for argument, words in (("preconditioner", PRECONDITIONERS), ("device", DEVICES)):
        kind: Kind = OPTIONS[argument]
        assert [w for w in words if kind.read(w) == w] == list(words)
        assert all(repr(w) in kind.accepted for w in words)
        assert kind.accepted.count("'") == 2 * len(words)
