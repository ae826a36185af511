"""The density in unconstrained coordinates: normalised priors, gradients, equal copies, and its forms for batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracle import LAYOUTS, make_problem

from lmmformula.backends.posterior.density import bordered as marginal_bordered
from lmmformula.backends.posterior.density import variances
from lmmformula.backends.posterior.density.bordered import Bordered, inverse_by_sweeps
from lmmformula.backends.posterior.density.fused import Fused
from lmmformula.backends.posterior.density.variances import VarianceDensity
from lmmformula.backends.posterior.model.coordinates import Coordinates, detectable_sd
from lmmformula.backends.posterior.recovery.gaussian import recover
from lmmformula.criteria.marginal import Marginal
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.ir.prior_defaults import resolve_priors
from lmmformula.numerics.bordered_kernels import bordered_values
from lmmformula.numerics.kept_programs import folder
from lmmformula.numerics.machine_code import Loop
from lmmformula.numerics.recovery_kernels import conditional_draws, conditional_variances
from lmmformula.numerics.variance_kernels import variance_slopes

USER = {"b": "student_t(4, 0.1, 0.3)", "sigma": "gamma(2, 0.1)"}
ALL_KINDS = {
    "half_normal(2)",
    "half_cauchy(1)",
    "exponential(0.7)",
    "gamma(2, 1)",
    "inv_gamma(3, 2)",
    "uniform(0.5, 4)",
    "normal(1, 2)",
}


def posterior_of(layout: str, user: dict[str, str] | None = None) -> VarianceDensity:
    problem = make_problem(layout)
    priors = resolve_priors(problem, user)
    model = Marginal.of(problem, BlockedEngine(), priors)
    scales = detectable_sd(problem, model.base.prepared.blocks.groups, model.base.gram, 1.0)
    coordinates = Coordinates.of(priors, scales, 1.0)
    return VarianceDensity(model, coordinates, np.zeros(coordinates.d))


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_gradient_against_central_differences(layout: str) -> None:
    posterior, step = posterior_of(layout, USER), 1e-5
    x = 0.7 * np.random.default_rng(0).normal(size=posterior.d)
    moved = [
        (posterior(x + e).value - posterior(x - e).value) / (2 * step) for e in step * np.eye(posterior.d)
    ]
    np.testing.assert_allclose(posterior(x).gradient, moved, atol=2e-6)


@pytest.mark.parametrize("prior", sorted(ALL_KINDS))
def test_priors_of_coordinates_are_densities(prior: str) -> None:
    """Each integrates to one over the real line, and its slope is that of its logarithm."""
    posterior = posterior_of(
        "structured", {"sd": prior, "sigma": prior, "b": "student_t(3, 0, 1)", "cor": "lkj(1.5)"}
    )
    grid = np.linspace(-40.0, 40.0, 160_001)
    for coordinate in posterior.coordinates.own:
        with np.errstate(all="ignore"):
            density = np.exp(coordinate.log_density(grid))
        assert np.trapezoid(np.nan_to_num(density), grid) == pytest.approx(1.0, abs=2e-4)
        at, step = 0.3, 1e-6
        slope = (coordinate.log_density(at + step) - coordinate.log_density(at - step)) / (2 * step)
        assert coordinate.density_slope(at) == pytest.approx(float(slope), abs=1e-6)
        assert coordinate.slope(at) == pytest.approx(
            float(coordinate.value(at + step) - coordinate.value(at - step)) / (2 * step), abs=1e-6
        )


def test_partial_correlations_have_the_lkj_density() -> None:
    """log |R|^(eta - 1) plus the log Jacobian of the map differs from the coordinates' density by a constant."""
    k, eta, step = 3, 1.7, 1e-6
    posterior = posterior_of("crossed slopes", {"cor": f"lkj({eta})"})
    term = next(t for t in posterior.coordinates.terms if t.kind.k == k)
    own = [posterior.coordinates.own[j] for j in term.cors]
    lower = np.tril_indices(k, -1)

    def correlations(x: np.ndarray) -> np.ndarray:
        c = term.kind.factor([np.ones(())] * k, [o.value(v) for o, v in zip(own, x, strict=True)])
        return c @ c.T

    gaps = []
    for x in np.random.default_rng(2).normal(size=(5, 3)):
        jacobian = [
            (correlations(x + e)[lower] - correlations(x - e)[lower]) / (2 * step) for e in step * np.eye(3)
        ]
        direct = (eta - 1) * np.linalg.slogdet(correlations(x))[1] + np.linalg.slogdet(np.array(jacobian))[1]
        gaps.append(direct - sum(float(o.log_density(v)) for o, v in zip(own, x, strict=True)))
    assert np.ptp(gaps) < 1e-6


@pytest.mark.parametrize("layout", ["crossed slopes", "structured", "same factor twice"])
def test_sign_copies_are_equal(layout: str) -> None:
    posterior = posterior_of(layout, {"cor": "lkj(1.7)"})
    own = posterior.coordinates
    x = 0.7 * np.random.default_rng(0).normal(size=own.d)
    assert len(own.folded) == sum(len(t.sds) for t in own.terms)
    for place, cors in own.folded:
        turned = x.copy()
        turned[[place, *cors]] *= -1
        assert posterior(turned).value == pytest.approx(posterior(x).value, abs=1e-8)
        np.testing.assert_allclose(own.parameters(turned), own.parameters(x), atol=1e-12)


def test_covariances_go_there_and_back() -> None:
    own = posterior_of("crossed slopes").coordinates
    rng = np.random.default_rng(1)
    x = 0.4 + np.abs(rng.normal(size=own.d))
    covariances = [f @ f.T for f in own.factors(own.values(x))]
    back = own.from_covariances(covariances, float(own.values(x)[own.sigma]))
    sds = [j for t in own.terms for j in t.sds]
    np.testing.assert_allclose(back[sds], x[sds])
    # correlations are shrunk by 0.95, away from the boundary
    old, new = own.parameters(x), own.parameters(back)
    cors = [i for i, name in enumerate(own.names) if name.startswith("cor")]
    np.testing.assert_allclose(new[cors], 0.95 * old[cors], atol=1e-3)


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_batches_agree_with_the_engine(layout: str) -> None:
    posterior = posterior_of(layout, USER)
    x = np.random.default_rng(0).normal(size=(7, posterior.d))
    batch = Bordered.of(posterior.model).log_posteriors(posterior.coordinates, x)
    np.testing.assert_allclose(batch, [posterior(row).value for row in x], rtol=1e-10)


def test_levels_with_equal_designs_are_merged() -> None:
    from lmmformula import build, load_dataset

    problem = build("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"))
    bordered = Bordered.of(Marginal.of(problem, BlockedEngine(), resolve_priors(problem)))
    assert len(bordered.merged_a) < 18
    assert bordered.counts is not None
    assert bordered.counts.sum() == 18


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_merging_levels_changes_nothing(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    posterior = posterior_of(layout, USER)
    x = np.random.default_rng(1).normal(size=(3, posterior.d))
    values = []
    for levels_to_a_class in (1, 10**9):
        monkeypatch.setattr(marginal_bordered, "_CLASS", levels_to_a_class)
        bordered = Bordered.of(posterior.model)
        assert levels_to_a_class > 1 or bordered.counts is not None
        values.append(bordered.log_posteriors(posterior.coordinates, x))
    np.testing.assert_allclose(*values, rtol=1e-11)


@pytest.mark.parametrize("levels_to_a_class", [1, 10**9], ids=["merged", "level by level"])
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_compiled_kernels_agree_with_the_engine(
    layout: str, levels_to_a_class: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values of many draws, and value and gradient of one."""
    posterior = posterior_of(layout, USER)
    monkeypatch.setattr(marginal_bordered, "_CLASS", levels_to_a_class)
    fused = Fused.of(Bordered.of(posterior.model))
    x = 0.7 * np.random.default_rng(3).normal(size=(5, posterior.d))
    points = [posterior(row) for row in x]
    values = fused.log_posteriors(posterior.coordinates, x)
    np.testing.assert_allclose(values, [point.value for point in points], rtol=1e-10)
    for row, point in zip(x, points, strict=True):
        value, gradient = fused.value_and_gradient(posterior.coordinates, row)
        assert value == pytest.approx(point.value, rel=1e-10)
        np.testing.assert_allclose(gradient, point.gradient, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_recovery_in_numpy_agrees_with_compiled_loops(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same draws and moments of coefficients and effects."""
    posterior = posterior_of(layout, USER)
    x = 0.7 * np.random.default_rng(5).normal(size=(2, 3, posterior.d))
    found = []
    for multiplications in (0, 10**9):
        monkeypatch.setattr(variances, "TINY", multiplications)
        own = replace(posterior)
        assert own.is_small
        assert own.is_tiny == (multiplications > 0)
        beta, effects = recover(own, x, np.random.SeedSequence(2))
        assert effects.draws is not None
        found.append([beta.draws, beta.mean, beta.cov, *effects.draws, *effects.means, *effects.sds])
    for plain, compiled in zip(*found, strict=True):
        np.testing.assert_allclose(plain, compiled, rtol=1e-8, atol=1e-9)


@pytest.mark.skipif(folder("loops") is None, reason="nothing is kept here")
def test_another_process_runs_kernels_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variances, "TINY", 0)
    posterior = posterior_of("crossed slopes")
    posterior.log_densities(np.zeros((1, posterior.d)))
    posterior.value_and_gradient(np.zeros(posterior.d))
    recover(posterior, np.zeros((1, 1, posterior.d)), np.random.SeedSequence(1))
    for kernel in (bordered_values, variance_slopes, conditional_draws, conditional_variances):
        assert kernel._loops
        assert all(isinstance(loop, Loop) for loop in kernel._loops.values())


def test_kernels_give_no_density_where_it_overflows() -> None:
    posterior = posterior_of("crossed")
    x = np.zeros((3, posterior.d))
    x[1] = 1e4
    values = Fused.of(Bordered.of(posterior.model)).log_posteriors(posterior.coordinates, x)
    assert np.isfinite(values[[0, 2]]).all()
    assert values[1] == -np.inf


def test_a_draw_that_overflows_has_no_density() -> None:
    posterior = posterior_of("crossed")
    x = np.zeros((3, posterior.d))
    x[1] = 1e4
    values = Bordered.of(posterior.model).log_posteriors(posterior.coordinates, x)
    assert np.isfinite(values).tolist() == [True, False, True]


@pytest.mark.parametrize("k", [1, 2, 4, 7])
def test_inverse_by_sweeps(k: int) -> None:
    g = np.random.default_rng(k).normal(size=(5, k, k + 3))
    g = g @ np.swapaxes(g, 1, 2)
    inverse, log_det = inverse_by_sweeps(g, np)
    np.testing.assert_allclose(inverse, np.linalg.inv(g), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(g)[1], rtol=1e-10)
