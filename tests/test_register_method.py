"""One door for a method: one that the package does not have, defined and registered here, does all that a fit does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmmformula import ArgumentError, Fit, PlanError, compare_methods, fit, load, load_dataset, plan, report
from lmmformula.arguments.kinds import whole
from lmmformula.backends.base import Likelihood, Optimum
from lmmformula.backends.optimum import modes, singular_terms
from lmmformula.cli import main
from lmmformula.criteria.profiled import Profiled, ProfiledPoint
from lmmformula.engines.base import Prepared
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.ir.estimate import Convergence, Estimate, Status
from lmmformula.ir.problem import Problem
from lmmformula.methods import (
    METHODS,
    OPTIONS,
    Method,
    Options,
    Request,
    option,
    options_table,
    register_method,
    unregister_method,
)
from lmmformula.progress import Report

FORMULA = "Reaction ~ Days + (Days | Subject)"
TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class EM(Likelihood):
    """Maximum likelihood by the ECME algorithm (Liu & Rubin 1994), of one term whose levels are independent.

    Given y, the effects b of the levels have modes L u and covariances sigma^2 L (M^-1)_jj L'. The expected complete-data
    likelihood is largest at their mean second moment; sigma^2 then maximises the likelihood itself::

        L L' <- L (sum_j u_j u_j' / sigma^2 + (M^-1)_jj) L' / m
    """

    steps: int = 200

    def fit(
        self, problem: Problem, prepared: Prepared | None = None, progress: Report | None = None
    ) -> Optimum[ProfiledPoint]:
        model = Profiled.of(problem, BlockedEngine(), reml=False, prepared=prepared)
        return self._search(model, model.start(), progress)

    def _search(
        self, model: Profiled, theta: np.ndarray, progress: Report | None = None
    ) -> Optimum[ProfiledPoint]:
        kind = model.problem.terms[0].covariance
        point, gain, step = model(theta), np.inf, 0
        while step < self.steps and gain > TOLERANCE:
            lower, u = point.factors[0], point.u[0]
            moment = (u.T @ u / point.sigma2 + point.factor.trace_blocks()[0]) / len(u)
            new = model(kind.from_covariance(lower @ moment @ lower.T))
            gain, point, step = point.deviance - new.deviance, new, step + 1
            if progress is not None:
                progress(step, point.deviance, gain)
        status = Status.CONVERGED if gain <= TOLERANCE else Status.EVALUATION_LIMIT
        slope = float(np.abs(point.gradient).max())
        estimate = Estimate(
            method="ML (EM)",
            engine="blocked",
            beta=point.beta,
            vcov=point.sigma2 * point.unscaled_vcov,
            theta=point.theta,
            sigma=float(np.sqrt(point.sigma2)),
            deviance=point.deviance,
            modes=modes(point),
            convergence=Convergence(status, step + 1, step, gain, slope, TOLERANCE),
            singular=singular_terms(model.problem, point.theta),
        )
        return Optimum(estimate, point)

    def evaluate(self, problem: Problem, estimate: Estimate) -> ProfiledPoint:
        return Profiled.of(problem, BlockedEngine(), reml=False)(estimate.theta, exact=True)

    def refit(self, problem: Problem, estimate: Estimate, point: ProfiledPoint) -> Optimum[ProfiledPoint]:
        return self._search(point.model.with_response(problem.y), estimate.theta)

    def describe(self) -> tuple[str, ...]:
        return (f"By at most {self.steps} steps of the EM algorithm.",)


@dataclass(frozen=True, slots=True, kw_only=True)
class EMOptions(Options):
    em_steps: int = option(whole(1, 100_000), 200)


@dataclass(frozen=True, slots=True)
class EMMethod(Method[EMOptions]):
    def unsuited(self, problem: Problem) -> str:
        if problem.is_linear and len(problem.terms) == 1:
            return ""
        return f"method={self.name!r} needs a Gaussian response and one random-effects term; use method='ml'."

    def backend(self, request: Request[EMOptions]) -> EM:
        return EM(request.options.em_steps)


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    register_method(
        EMMethod("em", "maximum likelihood by EM", "ECME steps of one term", EMOptions, kept=(EM,))
    )
    yield
    unregister_method("em")
    assert "em" not in METHODS
    assert "em_steps" not in OPTIONS


@pytest.fixture(scope="module")
def sleep() -> Any:
    return load_dataset("sleepstudy")


@pytest.fixture(scope="module")
def found(sleep: Any, registered: None) -> Fit:
    return fit(FORMULA, sleep, method="em", em_steps=2_000)


@pytest.fixture(scope="module")
def exact(sleep: Any) -> Fit:
    return fit(FORMULA, sleep, method="ml")


def test_it_fits(found: Fit, exact: Fit) -> None:
    assert found.converged
    assert found.method == "ML (EM)"
    assert found.llf == pytest.approx(exact.llf, abs=1e-4)
    np.testing.assert_allclose(found.params, exact.params, rtol=1e-6)
    np.testing.assert_allclose(found.bse, exact.bse, rtol=1e-2)
    np.testing.assert_allclose(found.varcorr()["vcov"], exact.varcorr()["vcov"], rtol=5e-2)


def test_its_option_is_checked_and_counts(sleep: Any, found: Fit) -> None:
    for call in (fit, plan):
        with pytest.raises(ArgumentError, match="em_steps=0 must be a whole number of at least 1"):
            call(FORMULA, sleep, method="em", em_steps=0)
    with pytest.raises(ArgumentError, match="'em_steps' is an option of method='em' only"):
        fit(FORMULA, sleep, method="ml", em_steps=3)
    with pytest.raises(
        ArgumentError, match="'nagq' is no option of method='em'; it has memory_limit, em_steps"
    ):
        fit(FORMULA, sleep, method="em", nagq=3)
    told: list[int] = []
    with pytest.warns(UserWarning, match="has not converged|limit"):
        few = fit(FORMULA, sleep, method="em", em_steps=3, progress=lambda step, *_: told.append(step))
    assert told == [1, 2, 3]
    assert not few.converged
    assert few.llf < found.llf


def test_what_does_not_suit_is_refused_in_its_own_words(sleep: Any) -> None:
    with pytest.raises(PlanError, match="needs a Gaussian response and one random-effects term"):
        fit("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", sleep, method="em")
    with pytest.raises(PlanError, match="EM has none"):
        fit(FORMULA, sleep, method="em", priors={"b": "normal(0, 1)"})
    with pytest.raises(PlanError, match="available"):
        plan(FORMULA, sleep, method="em", memory_limit=1e4)


def test_plans_and_summaries_speak_of_it(sleep: Any, found: Fit) -> None:
    chosen = plan(FORMULA, sleep, method="em")
    assert (chosen.method, chosen.engine) == ("em", "blocked")
    assert chosen.reasons[0] == "method: maximum likelihood by EM, as asked"
    assert chosen == plan(FORMULA, sleep, method="em", nagq=1, progress=False)
    text = str(found.summary())
    assert "ML (EM)" in text
    assert "By at most 2000 steps of the EM algorithm." in text
    table = options_table()
    assert "| `em` | ECME steps of one term |" in table
    assert "| `em_steps` | a whole number of at least 1, and at most 100,000 | em |" in table


def test_predictions_for_new_rows(found: Fit, exact: Fit) -> None:
    new = {"Days": [0.0, 11.0], "Subject": ["308", "308"]}
    np.testing.assert_allclose(found.predict(new), exact.predict(new), rtol=2e-3)
    assert found.predict(new, interval="prediction").shape == (2, 3)


def test_updates_to_it_and_from_it(sleep: Any, found: Fit, exact: Fit) -> None:
    em = exact.update(method="em", em_steps=2_000)
    np.testing.assert_array_equal(em.params, found.params)
    back = found.update(method="ml")
    assert back.llf == pytest.approx(exact.llf, abs=1e-8)
    assert any("em_steps=2000" in reason for reason in back.plan.reasons)
    again = found.refit(sleep["Reaction"] + 10.0)
    assert again.llf == pytest.approx(found.llf, abs=1e-3)


def test_inference_and_reports(found: Fit, exact: Fit, tmp_path: Path) -> None:
    ends = found.conf_int(method="profile").to_numpy()
    np.testing.assert_allclose(ends, exact.conf_int(method="profile").to_numpy(), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.anova()["F value"], exact.anova()["F value"], rtol=2e-2)
    assert found.bootstrap(3, seed=1).shape == exact.bootstrap(3, seed=1).shape
    assert found.backend.afresh() == found.backend
    report(found, tmp_path / "em.html", plots=False)
    assert "EM" in (tmp_path / "em.html").read_text(encoding="utf-8")


def test_comparisons(sleep: Any) -> None:
    both = compare_methods(FORMULA, sleep, {"ml": {}, "em": {"em_steps": 2_000}})
    assert list(both.fits) == ["ml", "em"]
    assert "em" in str(both)


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["fit", FORMULA, "--data", "sleepstudy", "--method", "em", "--option", "em_steps=2000"]
    assert main(arguments) == 0
    assert "EM algorithm" in capsys.readouterr().out
    assert main([*arguments[:-2], "--em-steps", "2000"]) == 0
    assert "EM algorithm" in capsys.readouterr().out
    assert main(["fit", FORMULA, "--data", "sleepstudy", "--method", "em", "--option", "em_steps=x"]) == 1
    assert "em_steps='x' must be a whole number" in capsys.readouterr().err


def test_files(found: Fit, tmp_path: Path) -> None:
    found.save(tmp_path / "em.lmm")
    again = load(tmp_path / "em.lmm")
    assert again.backend == EM(2_000)
    np.testing.assert_allclose(again.optimum.deviance, found.optimum.deviance, rtol=1e-10)
    np.testing.assert_array_equal(again.params, found.params)
    assert str(again.summary()) == str(found.summary())


def test_a_door_is_not_opened_twice() -> None:
    method = METHODS["em"]
    with pytest.raises(ArgumentError, match="there is a method 'em' already"):
        register_method(method)

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Other(Options):
        tolerance: int = option(whole(1), 1)

    with pytest.raises(ArgumentError, match="an option means one thing"):
        register_method(replace(method, name="other", options=Other))
    assert "other" not in METHODS
