"""The registry of methods: what update carries on, what plan and compare_methods take, and the page that lists it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmmformula import ArgumentError, Fit, compare_methods, fit, load_dataset, plan
from lmmformula.methods import METHODS, OPTIONS, options_table

CBPP = "incidence / size ~ period + (1 | herd)"
DYE = "Yield ~ 1 + (1 | Batch)"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "arguments.md"


def counts(**arguments: Any) -> Fit:
    return fit(CBPP, load_dataset("cbpp"), family="binomial", weights="size", **arguments)


def test_every_option_is_that_of_its_records() -> None:
    for name, method in METHODS.items():
        assert method.name == name
        assert method.about
        assert all(OPTIONS[option] is kind for option, kind in method.options.kinds().items())
        assert not method.options().given()


def test_the_page_of_arguments_is_that_of_the_registry() -> None:
    assert options_table() in PAGE.read_text(encoding="utf-8")


def test_update_leaves_out_what_a_new_method_does_not_have_and_says_so() -> None:
    quadrature = counts(nagq=9, information="expected")
    quasi = quadrature.update(method="pql")
    assert quasi.plan.method == "pql"
    left = [reason for reason in quasi.plan.reasons if "left out" in reason]
    assert len(left) == 2
    assert "nagq=9" in left[0]
    assert "information='expected'" in left[1]
    np.testing.assert_array_equal(quasi.params, counts(method="pql").params)


def test_update_from_iterations_to_a_factorisation() -> None:
    data = load_dataset("Dyestuff")
    iterated = fit(DYE, data, method="krylov", probes=8)
    exact = iterated.update(method="ml")
    assert exact.plan.engine == "blocked"
    assert exact.llf == fit(DYE, data, method="ml").llf
    assert any("probes=8" in reason for reason in exact.plan.reasons)
    again = iterated.update(engine="krylov")
    assert not any("left out" in reason for reason in again.plan.reasons)


def test_update_to_another_family_leaves_out_what_has_no_meaning() -> None:
    gaussian = counts(nagq=9).update("size ~ period + (1 | herd)", family="gaussian", weights=None)
    assert gaussian.method == "REML"
    assert any("nagq=9" in reason for reason in gaussian.plan.reasons)


def test_update_keeps_what_a_method_has_and_refuses_what_is_given_wrongly() -> None:
    quadrature = counts(nagq=9)
    assert quadrature.update(tolerance=1e-8).llf == pytest.approx(quadrature.llf, abs=1e-6)
    assert quadrature.llf != pytest.approx(counts().llf, abs=1e-6)
    with pytest.raises(ArgumentError, match="'nagq' is no option of method='pql'"):
        quadrature.update(method="pql", nagq=5)
    with pytest.raises(ArgumentError, match="tolerance=-1"):
        quadrature.update(tolerance=-1)


@pytest.mark.parametrize("method", list(METHODS))
def test_plans_take_what_fits_take(method: str) -> None:
    data = load_dataset("Dyestuff")
    same = plan(DYE, data, method=method, nagq=1, progress=False, seed=1, missing="drop", memory_limit="1 GB")
    assert same == plan(DYE, data, method=method, seed=1)


def test_comparisons_take_what_fits_take() -> None:
    data = load_dataset("Dyestuff")
    both = compare_methods(DYE, data, ["reml", "ml", "pql"], nagq=1, progress=False, memory_limit="1 GB")
    assert list(both.fits) == ["reml", "ml", "pql"]
    with pytest.raises(ArgumentError, match=r"methods\['mine'\]: unknown option 'tolerence'.*tolerance"):
        compare_methods(DYE, data, {"mine": {"method": "ml", "tolerence": 1.0}})
    with pytest.raises(ArgumentError, match="tolerance=-1"):
        compare_methods(DYE, data, {"ml": {"tolerance": -1}})
    with pytest.raises(ArgumentError, match=r"'family', which makes the model"):
        compare_methods(DYE, data, {"ml": {"family": "poisson"}})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"method": "pql", "max_inner": 0}, "max_inner=0 must be a whole number of at least 1"),
        ({"tolerance": -1}, "tolerance=-1 must be a number above 0"),
        ({"max_evaluations": -3.5}, "max_evaluations=-3.5 must be a whole number"),
        ({"max_evaluations": float("nan")}, "max_evaluations=nan must be a whole number"),
        ({"tolerance": "a"}, "tolerance='a' must be a number"),
        ({"memory_limit": "x"}, "memory_limit='x' must be a number of bytes"),
        ({"method": "lapalce"}, r"unknown method 'lapalce'.*Did you mean 'laplace'\?"),
    ],
)
def test_options_are_checked_before_any_work(arguments: dict[str, Any], said: str) -> None:
    for call in (fit, plan):
        with pytest.raises(ArgumentError, match=said):
            call(DYE, {"nothing": []}, **arguments)
