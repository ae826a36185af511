"""Several methods on one model."""

from __future__ import annotations

import doctest
import os
import warnings
from dataclasses import replace

import numpy as np
import pytest

from lmmformula import DataError, MethodComparison, PlanError, compare_methods, fit, load_dataset
from lmmformula.metering import metered
from lmmformula.reporting.agreement import BARS, flags, most_trusted
from lmmformula.reporting.compared import MethodRun

SLEEP = "Reaction ~ Days + (Days | Subject)"
VERBAL = "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)"
CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@pytest.fixture(scope="module")
def gaussian() -> MethodComparison:
    return compare_methods(SLEEP, load_dataset("sleepstudy"), ["reml", "ml", "laplace", "krylov"])


@pytest.fixture(scope="module")
def binary() -> MethodComparison:
    return compare_methods(VERBAL, load_dataset("VerbAgg"), ["pql", "krylov", "laplace"], family="binomial")


@pytest.fixture(scope="module")
def herds() -> MethodComparison:
    methods = {
        "laplace": {},
        "quadrature": {"method": "laplace", "nagq": 11},
        "fast": {"method": "laplace", "nagq": 0},
        "pql": {},
    }
    return compare_methods(CBPP, load_dataset("cbpp"), methods, family="binomial")


def test_the_fits_are_those_of_fit(binary: MethodComparison) -> None:
    assert list(binary.fits) == ["pql", "krylov", "laplace"]
    alone = fit(VERBAL, load_dataset("VerbAgg"), family="binomial", method="pql")
    np.testing.assert_array_equal(binary.fits["pql"].params, alone.params)
    assert alone.recall.arguments.items() >= binary.fits["pql"].recall.arguments.items()
    again = binary.fits["laplace"].update(VERBAL.replace(" + situ", ""))
    assert again.method == "Laplace"
    assert "situself" not in again.params


def test_table_and_tidy(binary: MethodComparison) -> None:
    table, laplace, krylov = binary.table(), binary.fits["laplace"], binary.fits["krylov"]
    np.testing.assert_array_equal(table.loc["fixed", ("laplace", "estimate")], laplace.params)
    np.testing.assert_array_equal(table.loc["fixed", ("laplace", "std_error")], laplace.bse)
    ends = table.loc["fixed", "laplace"][["conf_low", "conf_high"]]
    np.testing.assert_allclose(ends, laplace.conf_int())
    np.testing.assert_array_equal(
        table.loc["random", ("laplace", "estimate")].dropna(), laplace.varcorr()["sdcor"].iloc[:2]
    )
    assert table.loc[("random", "sigma"), ("pql", "estimate")] == binary.fits["pql"].sigma
    assert np.isnan(table.loc[("random", "sigma"), ("laplace", "estimate")])
    assert table.loc[("fit", "logLik"), ("krylov", "estimate")] == krylov.llf
    assert table.loc[("fit", "logLik"), ("krylov", "std_error")] == krylov.llf_stderr > 0
    assert np.isnan(table.loc[("fit", "logLik"), ("pql", "estimate")])
    assert (table.loc[("fit", "seconds"), (slice(None), "estimate")] > 0).all()
    tidy = binary.tidy()
    assert set(tidy["part"]) == {"fixed", "random", "fit"}
    assert len(tidy) == 3 * (6 + 2 + 4) + 1
    parts = table.index.get_level_values("part")
    assert list(dict.fromkeys(parts)) == ["fixed", "random", "fit"]


def test_differences_are_in_standard_errors_of_the_most_trusted(binary: MethodComparison) -> None:
    assert binary.reference == "laplace"
    laplace, pql = binary.fits["laplace"], binary.fits["pql"]
    table = binary.differences()
    assert set(table["method"]) == {"pql", "krylov"}
    mine = table[(table["method"] == "pql") & (table["part"] == "fixed")].set_index("term")
    np.testing.assert_allclose(mine["in_se"], (pql.params - laplace.params) / laplace.bse)
    ratio = table.query("method == 'pql' and term == 'sd_(Intercept)|id'")["ratio"].iloc[0]
    assert ratio == pytest.approx(pql.varcorr()["sdcor"][0] / laplace.varcorr()["sdcor"][0])
    assert set(binary.differences("pql")["method"]) == {"laplace", "krylov"}
    with pytest.raises(DataError, match="no fit by 'hmc'"):
        binary.differences("hmc")


def test_krylov_agrees_with_exact_and_pql_is_named_with_its_ratio(binary: MethodComparison) -> None:
    assert not [flag for flag in binary.flags if flag.startswith("krylov")]
    krylov = binary.differences().query("method == 'krylov' and part == 'fixed'")
    assert np.abs(krylov["in_se"].to_numpy()).max() < BARS["krylov"].errors
    (note,) = [note for note in binary.notes if note.startswith("pql")]
    pql, laplace = (binary.fits[m].varcorr()["vcov"] for m in ("pql", "laplace"))
    assert f"{pql[0] / laplace[0]:.2f} (id), {pql[1] / laplace[1]:.2f} (item)" in note
    assert "correction=" not in note  # as near as it should be


def test_a_quasi_likelihood_that_is_too_far_is_told_of_its_correction() -> None:
    both = compare_methods(CBPP, load_dataset("cbpp"), ["laplace", "pql"], family="binomial")
    (note,) = both.notes
    assert "That is too much here: correction='laplace' adds" in note
    probit = compare_methods(CBPP, load_dataset("cbpp"), ["laplace", "pql"], family="binomial(link='probit')")
    (note,) = probit.notes
    assert "needs a canonical link and no dispersion" in note
    owls = "SiblingNegotiation ~ FoodTreatment + offset(log(BroodSize)) + (1 | Nest)"
    counts = compare_methods(owls, load_dataset("Owls"), ["laplace", "pql"], family="poisson")
    (note,) = counts.notes
    assert f"Its dispersion, {counts.fits['pql'].sigma ** 2:.2g}, is part of the difference" in note
    assert "vary more than poisson ones" in note


def test_the_order_of_trust(herds: MethodComparison, gaussian: MethodComparison) -> None:
    assert [m.backend.trust for m in herds.fits.values()] == ["laplace", "quadrature", "fast", "quasi"]
    assert herds.reference == "quadrature"
    assert gaussian.reference == "reml"
    assert [m.backend.trust for m in gaussian.fits.values()] == ["exact", "exact", "exact", "krylov"]
    assert most_trusted({"fast": herds.fits["fast"], "laplace": herds.fits["laplace"]}) == "laplace"


def test_corrected_quasi_likelihood_is_not_called_biased() -> None:
    methods = {"laplace": {}, "corrected": {"method": "pql", "correction": "laplace"}}
    found = compare_methods(CBPP, load_dataset("cbpp"), methods, family="binomial")
    assert found.fits["corrected"].backend.trust == "corrected"
    assert not found.flags
    assert not found.notes
    assert np.nanmax(np.abs(found.differences()["in_se"].to_numpy())) < BARS["corrected"].errors


def test_flags_name_the_method_the_number_and_the_cause(herds: MethodComparison) -> None:
    fast = [flag for flag in herds.flags if flag.startswith("fast")]
    assert len(fast) == 1
    apart = herds.differences().query("method == 'fast' and term == '(Intercept)'")["in_se"].iloc[0]
    assert f"{apart:+.2f} standard errors (expected within 0.1)" in fast[0]
    assert "nagq=0" in fast[0]
    pql = " ".join(flag for flag in herds.flags if flag.startswith("pql"))
    assert "sd_(Intercept)|herd" in pql
    assert "biased towards zero" in pql
    assert not [flag for flag in herds.flags if flag.startswith("laplace")]


def test_a_wrong_krylov_fit_is_flagged(binary: MethodComparison) -> None:
    krylov, laplace = binary.fits["krylov"], binary.fits["laplace"]
    moved = replace(
        krylov,
        estimate=replace(
            krylov.estimate,
            beta=krylov.estimate.beta + 0.3 * laplace.bse.to_numpy(),
            deviance=krylov.estimate.deviance + 2.0,
        ),
    )
    told = flags("krylov", moved, "laplace", laplace)
    assert "+0.30 standard errors" in told[0]
    assert "the largest of 6" in told[0]
    assert "probes" in told[0]
    assert "log-likelihood is -1" in told[-1]


def test_methods_that_are_the_same_fit(gaussian: MethodComparison) -> None:
    assert gaussian.fits["laplace"] is gaussian.fits["ml"]
    assert "laplace is the same fit as ml here." in gaussian.notes
    assert gaussian.fits["krylov"] is not gaussian.fits["ml"]
    assert not gaussian.flags
    auto = compare_methods("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff"), ["auto", "reml"])
    assert auto.fits["auto"] is auto.fits["reml"]
    ratio = gaussian.differences().query("method == 'ml' and term == 'sd_Days|Subject'")["ratio"].iloc[0]
    assert ratio == pytest.approx(5.71686 / 5.92214, abs=1e-4)


def test_refused_methods_are_rows_that_say_why() -> None:
    found = compare_methods(
        VERBAL, load_dataset("VerbAgg"), {"laplace": {}, "reml": {}, "pql": {"nagq": 5}}, family="binomial"
    )
    assert list(found.fits) == ["laplace"]
    assert "REML is defined for Gaussian responses" in found.refused["reml"]
    assert "no option of method='pql'" in found.refused["pql"]
    text = str(found)
    assert "reml was refused: REML is defined" in text
    assert "Only laplace was fitted" in text
    assert len(found.differences()) == 0
    assert not found.flags
    with pytest.raises(PlanError, match=r"no method can fit this model\. reml: REML is defined"):
        compare_methods(VERBAL, load_dataset("VerbAgg"), ["reml"], family="binomial")


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (["ml", "reml", "ml"], "names 'ml' twice"),
        (["ml", "lapalce"], "unknown method 'lapalce'; known: auto"),
        ({"mine": {}}, "unknown method 'mine'"),
        ([], "methods is empty"),
    ],
)
def test_wrong_methods(methods: list[str], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        compare_methods(SLEEP, load_dataset("sleepstudy"), methods)


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"repeats": True}, {"level": 1.0}])
def test_wrong_arguments(wrong: dict[str, float]) -> None:
    with pytest.raises(PlanError, match=r"repeats=|level="):
        compare_methods(SLEEP, load_dataset("sleepstudy"), ["ml"], **wrong)  # type: ignore[arg-type]


def test_one_method_as_text() -> None:
    found = compare_methods(SLEEP, load_dataset("sleepstudy"), "ml", level=0.9, repeats=2)
    assert list(found.fits) == ["ml"]
    ends = found.table().loc["fixed", "ml"][["conf_low", "conf_high"]]
    np.testing.assert_allclose(ends, found.fits["ml"].conf_int(0.9))


def test_warnings_of_fits_are_kept_and_not_raised() -> None:
    data = load_dataset("Dyestuff2")
    found = compare_methods("Yield ~ 1 + (1 | Batch)", data, ["reml", "ml"])
    assert all("the fit is singular" in run.warnings[0] for run in found.runs)
    assert any(note.startswith("ml: the fit is singular") for note in found.notes)


def test_text_and_html_hold_the_numbers(binary: MethodComparison) -> None:
    text, html = str(binary), binary._repr_html_()
    laplace = binary.fits["laplace"]
    cell = f"{laplace.params['btypescold']:.3f} ({laplace.bse['btypescold']:.3f})"
    for shown in (text, html):
        assert cell in shown
        assert f"{laplace.llf:.2f}" in shown
        assert "7,584 rows; groups: id 316, item 24" in shown
    assert max(map(len, text.splitlines())) <= 100
    assert repr(binary) == text


def test_auxiliary_parameters_are_compared() -> None:
    found = compare_methods(
        "SiblingNegotiation ~ FoodTreatment + offset(log(BroodSize)) + (1 | Nest)",
        load_dataset("Owls"),
        ["laplace", "krylov"],
        family="nbinom1",
        ziformula="~ 1",
    )
    table, model = found.table(), found.fits["laplace"]
    assert list(table.loc["auxiliary"].index) == ["disp: (Intercept)", "zi: (Intercept)"]
    np.testing.assert_array_equal(
        table.loc["auxiliary", ("laplace", "estimate")], np.concatenate(model.estimate.aux)
    )


def test_memory_is_measured_where_the_system_tells() -> None:
    _, cost = metered(lambda: bytearray(64_000_000).count(1))
    assert cost.seconds > 0
    if not os.access("/proc/self/clear_refs", os.W_OK):
        assert cost.memory is None
    elif cost.memory is not None:
        assert 55e6 < cost.memory < 100e6


def test_foreign_warnings_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    import lmmformula.comparing as comparing

    real = comparing.solve

    def warned(*args: object) -> object:
        warnings.warn("of another package", DeprecationWarning, stacklevel=1)
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(comparing, "solve", warned)
    with pytest.warns(DeprecationWarning, match="of another package"):
        found = compare_methods("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff"), ["ml"])
    assert found.runs[0].warnings == ()


def test_a_run_without_measurements() -> None:
    model = fit("Yield ~ 1 + (1 | Batch)", load_dataset("Dyestuff"))
    found = MethodComparison(model.formula, (MethodRun("reml", model),))
    assert "seconds" in str(found)
    assert np.isnan(found.table().loc[("fit", "seconds"), ("reml", "estimate")])


def test_documented_examples() -> None:
    import lmmformula.comparing

    found = doctest.testmod(lmmformula.comparing)
    assert found.attempted >= 3
    assert found.failed == 0
