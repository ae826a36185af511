"""The Krylov engine's path for a GPU, run by JAX on the processor: the answers of the host's path, to its tolerance."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from oracle import make_problem, random_theta
from test_krylov import two_factors

from lmmformula import fit, load_dataset
from lmmformula.criteria.profiled import Profiled
from lmmformula.criteria.variance import relative_factors
from lmmformula.engines.krylov import device
from lmmformula.engines.krylov.device import OnDevice, OnProcessor
from lmmformula.engines.krylov.engine import KrylovEngine
from lmmformula.errors import LmmformulaWarning, PlanError
from lmmformula.ir.blocks import Blocks
from lmmformula.numerics import slabs
from lmmformula.numerics.slabs import Slabs


@pytest.fixture
def gpu(monkeypatch):
    """The processor in the place of a GPU."""
    monkeypatch.setitem(device.PLATFORMS, "gpu", "cpu")


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setitem(device.PLATFORMS, "gpu", "nowhere")


def disconnected():
    rng = np.random.default_rng(3)
    part = rng.integers(0, 3, 500)
    return two_factors(part * 30 + rng.integers(0, 30, 500), part * 8 + rng.integers(0, 8, 500))


PROBLEMS = {
    "crossed slopes": lambda: make_problem("crossed slopes"),
    "chain and crossed": lambda: make_problem("chain and crossed"),
    "disconnected": disconnected,
}


@pytest.mark.parametrize("layout", PROBLEMS)
def test_answers_are_those_of_the_processor(layout: str, monkeypatch) -> None:
    """Solutions, log-determinants, traces, blocks and the gradient, with their standard errors; one layout in many slabs."""
    if layout == "disconnected":
        monkeypatch.setattr(slabs, "START", 1)
    problem = PROBLEMS[layout]()
    theta = random_theta(problem)
    blocks = Blocks(problem.terms, problem.n)
    gram = blocks.gram(problem.weights, problem.X.matrix)
    factors = relative_factors(problem.terms, blocks.groups, theta)
    engines = [KrylovEngine(device=d, tolerance=1e-10, probe_tolerance=1e-8) for d in ("cpu", "cpu-jax")]
    host, ours = (engine.prepare(blocks) for engine in engines)
    assert isinstance(host.place, OnProcessor)
    assert isinstance(ours.place, OnDevice)
    assert (ours.place.patterns.n.back is not None) == (layout == "disconnected")
    a, b = host.factor(gram, factors), ours.factor(gram, factors)

    rng = np.random.default_rng(0)
    x = rng.normal(size=(host.pattern.q, 19))
    np.testing.assert_allclose(b.complement.apply(x), a.complement.apply(x), atol=1e-12)
    rhs = tuple(rng.normal(size=(g.m, g.k, 3)) for g in blocks.groups)
    for mine, theirs in zip(b.solve(rhs), a.solve(rhs), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-8)
    assert b.logdet == pytest.approx(a.logdet, abs=1e-7)
    assert b.logdet_stderr == pytest.approx(a.logdet_stderr, abs=1e-7)
    for mine, theirs in zip(
        b.trace_blocks() + b.trace_stderr(), a.trace_blocks() + a.trace_stderr(), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-7)
    for i, j in itertools.combinations(range(len(blocks.groups)), 2):
        np.testing.assert_allclose(b.inverse().diagonal(i), a.inverse().diagonal(i), atol=1e-7)
        np.testing.assert_allclose(b.inverse().pair(i, j), a.inverse().pair(i, j), atol=1e-7)

    points = [Profiled.of(problem, engine, reml=True)(theta) for engine in engines]
    assert points[1].deviance == pytest.approx(points[0].deviance, abs=1e-7)
    np.testing.assert_allclose(points[1].gradient, points[0].gradient, rtol=1e-7, atol=1e-7)


@pytest.fixture(scope="module")
def ratings() -> pd.DataFrame:
    """1,500 rows, 90 by 60 levels."""
    rng = np.random.default_rng(5)
    g, h, x = rng.integers(0, 90, 1500), rng.integers(0, 60, 1500), rng.normal(size=1500)
    eta = 0.3 + 0.5 * x + rng.normal(0, 0.8, 90)[g] + rng.normal(0, 0.6, 60)[h]
    binary = (rng.random(1500) < 1.0 / (1.0 + np.exp(-eta))).astype(float)
    return pd.DataFrame({"g": g, "h": h, "x": x, "y": eta + rng.normal(size=1500), "binary": binary})


@pytest.mark.parametrize("family", ["gaussian", "binomial"])
def test_fits_agree(family: str, ratings: pd.DataFrame, gpu) -> None:
    response = "y" if family == "gaussian" else "binary"
    host, ours = (
        fit(f"{response} ~ x + (1 | g) + (1 | h)", ratings, family=family, method="krylov", device=d, seed=1)
        for d in ("cpu", "gpu")
    )
    assert ours.converged
    assert ours.backend.engine.device == "gpu"
    assert ours.llf == pytest.approx(host.llf, abs=1e-6)
    assert ours.llf_stderr == pytest.approx(host.llf_stderr, rel=1e-4)
    np.testing.assert_allclose(ours.params, host.params, atol=1e-6)
    np.testing.assert_allclose(ours.theta, host.theta, atol=1e-6)
    np.testing.assert_allclose(ours.bse, host.bse, rtol=1e-5)


# -- conjugate gradients on the device --------------------------------------------------------------------------------


def diagonal(values):
    """H = diag(values) and N = 0."""
    import jax

    from lmmformula.numerics.krylov_jax import placed_patterns, placed_values

    q, cpu = len(values), jax.devices("cpu")[0]
    own = Slabs.of(np.arange(q + 1), np.arange(q, dtype=np.int32))
    return placed_values(placed_patterns(own, own, own, cpu), np.zeros(q), np.asarray(values), cpu)


def test_each_column_has_a_status() -> None:
    """One at once, a zero one, one that needs more steps than it may take, one along which the matrix is not positive."""
    values = np.append(np.logspace(-12, 0, 199), -1.0)
    b = np.column_stack([np.eye(200)[:, 0], np.zeros(200), np.append(np.ones(199), 0.0), np.eye(200)[:, 199]])
    found = diagonal(values).conjugate_gradients(b, 1e-12, 20)
    assert found.converged.tolist() == [True, True, False, False]
    assert found.steps.tolist() == [1, 0, 20, 0]
    assert found.alpha.shape == found.beta.shape == (20, 4)
    assert found.residuals[2] > 1e-12
    assert found.residuals[3] == 1.0
    np.testing.assert_allclose(found.x[0, 0], 1e12)
    np.testing.assert_array_equal(found.x[:, [1, 3]], 0.0)


# -- what is refused --------------------------------------------------------------------------------------------------


FORMULA = "diameter ~ 1 + (1 | plate) + (1 | sample)"


def test_without_a_gpu_the_plan_says_what_to_install(no_gpu, monkeypatch) -> None:
    with pytest.raises(PlanError, match=r"finds no such device here, only .*pip install -U .jax\[cuda13\]"):
        fit(FORMULA, load_dataset("Penicillin"), method="krylov", device="gpu")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    with pytest.raises(PlanError, match="JAX_PLATFORMS=cpu limits"):
        fit(FORMULA, load_dataset("Penicillin"), method="krylov", device="gpu")


def test_unknown_devices_and_unfit_preconditioners(gpu) -> None:
    data = load_dataset("Penicillin")
    with pytest.raises(PlanError, match="device='tpu' must be 'cpu' or 'gpu'"):
        fit(FORMULA, data, method="krylov", device="tpu")
    with pytest.raises(PlanError, match='preconditioner="schur" only'):
        fit(FORMULA, data, method="krylov", device="gpu", preconditioner="ssor")
    with pytest.raises(PlanError, match="'device' is an option of engine='krylov' only"):
        fit(FORMULA, data, device="gpu")


def test_a_fit_made_on_a_gpu_can_be_looked_at_without(gpu, monkeypatch, tmp_path) -> None:
    from lmmformula import load

    m = fit(FORMULA, load_dataset("Penicillin"), method="krylov", device="gpu")
    m.save(tmp_path / "m.fit")
    monkeypatch.setitem(device.PLATFORMS, "gpu", "nowhere")
    again = load(tmp_path / "m.fit")
    with pytest.warns(LmmformulaWarning, match="the processor takes the place"):
        effects = again.ranef(condsd=True)
    pd.testing.assert_frame_equal(effects, m.ranef(condsd=True), rtol=1e-6)


@dataclass(frozen=True)
class Small:
    """A device that lends a kilobyte."""

    def memory_stats(self) -> dict[str, int]:
        return {"bytes_limit": 1_000}


def test_what_does_not_fit_on_the_device_is_refused(monkeypatch) -> None:
    problem = disconnected()
    monkeypatch.setattr(device, "find_device", lambda _: Small())
    with pytest.raises(PlanError, match=r"nonzeros and 24 effects take about 0\.0 GB, and the device lends"):
        KrylovEngine(device="gpu").prepare(Blocks(problem.terms, problem.n))


def test_nothing_to_iterate_on_needs_no_device(no_gpu) -> None:
    problem = make_problem("slopes")
    assert isinstance(KrylovEngine(device="gpu").prepare(Blocks(problem.terms, problem.n)).place, OnProcessor)


def test_jax_is_imported_only_if_asked_for() -> None:
    code = (
        "import sys\n"
        "from lmmformula import fit, load_dataset\n"
        f"fit({FORMULA!r}, load_dataset('Penicillin'), method='krylov', device='cpu')\n"
        "assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
