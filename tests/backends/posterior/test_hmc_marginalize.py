"""What is integrated out changes the sampler, not the posterior: densities against each other, then draws."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from oracle import make_problem, z_matrix
from scipy import stats

from lmmformula import build, load_dataset
from lmmformula.backends.posterior.hmc import HMC
from lmmformula.backends.posterior.record import Posterior
from lmmformula.backends.posterior.routes.choose import choose_route
from lmmformula.backends.posterior.routes.exact import Exact
from lmmformula.backends.posterior.routes.laplace import Approximate
from lmmformula.backends.posterior.routes.none import Nothing
from lmmformula.backends.posterior.routes.partial import Partial
from lmmformula.engines.blocked import BlockedEngine
from lmmformula.errors import PlanError
from lmmformula.families import resolve
from lmmformula.ir.prior_defaults import resolve_priors
from lmmformula.ir.problem import Problem
from lmmformula.numerics.mcmc import ess_bulk
from lmmformula.typing import Array

PRIORS = {"b": "student_t(4, 0, 1)", "sd": "half_normal(1)"}


def crossed(seed: int = 1) -> Problem:
    """Correlated slopes by subject, intercepts by item, weights."""
    rng, n = np.random.default_rng(seed), 200
    s, i, x = rng.integers(0, 10, n), rng.integers(0, 7, n), rng.normal(size=n)
    w = rng.uniform(0.5, 2.0, n)
    y = 1 + 0.5 * x + rng.normal(0, 0.8, 10)[s] + rng.normal(0, 0.4, 10)[s] * x + rng.normal(0, 0.6, 7)[i]
    y = y + rng.normal(size=n) / np.sqrt(w)
    columns = {"y": y, "x": x, "s": s.astype(str), "i": i.astype(str), "w": w}
    return build("y ~ x + (x | s) + (1 | i)", columns, weights="w")


def unequal(seed: int = 3) -> Problem:
    """Positive responses whose log has a mean and a log standard deviation that both vary between subjects and conditions."""
    rng, n, m = np.random.default_rng(seed), 360, 12
    s, x = np.repeat(np.arange(m), n // m), np.tile([-1.0, 1.0], n // 2)
    keep = rng.uniform(size=n) < 0.9
    mean = 1.0 + 0.2 * x + rng.normal(0, 0.5, m)[s] + rng.normal(0, 0.2, m)[s] * x
    log_sigma = -0.7 + 0.2 * x + rng.normal(0, 0.4, m)[s] + rng.normal(0, 0.2, m)[s] * x
    y = np.exp(mean + np.exp(log_sigma) * rng.normal(size=n))
    columns = {"y": y[keep], "x": x[keep], "s": s.astype(str)[keep]}
    return build("bf(y ~ x + (x | s), sigma ~ x + (x | s))", columns, family="lognormal")


def three_classes(seed: int = 5) -> Problem:
    """Correlated slopes by subject, item and list, a lognormal response."""
    rng, n, sizes = np.random.default_rng(seed), 240, (10, 8, 4)
    codes, x = [rng.integers(0, m, n) for m in sizes], np.tile([-0.5, 0.5], n // 2)
    y = 1.0 + 0.3 * x + 0.5 * rng.normal(size=n)
    for m, sd, code in zip(sizes, (0.4, 0.3, 0.2), codes, strict=True):
        b = sd * rng.normal(size=(m, 2))[code]
        y += b[:, 0] + x * b[:, 1]
    columns = {"y": np.exp(y), "x": x} | {c: own.astype(str) for c, own in zip("sil", codes, strict=True)}
    return build("y ~ x + (x | s) + (x | i) + (x | l)", columns, family="lognormal")


def fitted(problem: Problem, marginalize: object, seed: int = 7, **options: object) -> Posterior:
    given = {"chains": 2, "draws": 500, "warmup": 250, **options}
    return HMC(PRIORS, seed=seed, marginalize=marginalize, **given).fit(problem).posterior  # type: ignore[arg-type]


def agree(ours: Posterior, theirs: Posterior, slack: float = 4.5) -> None:
    """Means and standard deviations within `slack` Monte Carlo errors, of every number and every random effect."""
    assert ours.names == theirs.names
    for name in (*ours.beta_names, *ours.names):
        _agree(ours[name], theirs[name], slack)
    for mine, its in zip(ours.effect_means, theirs.effect_means, strict=True):
        assert mine.shape == its.shape
    for a, b, sd in zip(ours.effect_means, theirs.effect_means, theirs.effect_sds, strict=True):
        assert np.abs((a - b) / sd).max() < 0.35
    for mine, its in zip(ours.effect_sds, theirs.effect_sds, strict=True):
        np.testing.assert_allclose(mine, its, rtol=0.25)


def _agree(x: Array, y: Array, slack: float) -> None:
    effective = 0.5 * np.array([float(ess_bulk(x)), float(ess_bulk(y))])
    spread = 0.5 * (x.std() + y.std())
    error = spread * np.sqrt((1 / effective).sum())
    assert abs(x.mean() - y.mean()) < slack * error
    assert abs(x.std() - y.std()) < slack * error


# -- densities ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layout", ["one", "slopes", "crossed", "crossed slopes", "same factor twice", "iid slopes"]
)
def test_all_groups_inside_is_the_marginal_density(layout: str) -> None:
    """The row-wise form at one sigma against the criterion on cross-products, with a t prior."""
    from lmmformula.backends.posterior.density.partial import PartialDensity
    from lmmformula.backends.posterior.density.variances import VarianceDensity
    from lmmformula.numerics.programs import quick

    problem = make_problem(layout)
    priors, engine = resolve_priors(problem, {"b": "student_t(4, 0.1, 0.3)"}), BlockedEngine()
    own = PartialDensity.of(problem, [t.group for t in problem.terms], priors, engine)
    x = own.begin + 0.05 * np.random.default_rng(1).normal(size=own.d)
    target = VarianceDensity.of(problem, engine, priors)
    values = [c.value(v) for c, v in zip(own.own, x, strict=False)]
    log_sigma = float(own.predictors[1].beta(x)[0])
    count, mixing = len(own.own) - len(own.mixing), np.zeros(problem.p)
    mixing[own.mixing[0][0]] = values[own.mixing[0][1]]
    factors = target.coordinates.factors([*values[:count], np.exp(log_sigma), *values[count:]])
    expected = target.model(factors, float(np.exp(log_sigma)), mixing).logpdf
    expected += sum(float(c.log_density(v)) for c, v in zip(own.own, x, strict=False))
    expected += float(own.predictors[1].log_prior(x))
    assert float(quick(own.traced(), own.d)(x)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("case", ["sigma by subject", "a group sampled", "several groups inside"])
def test_rows_that_agree_are_one(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The density of cells is that of rows, wherever it is evaluated, with weights, offset and cells of unequal size."""
    from lmmformula.backends.posterior.density.partial import PartialDensity
    from lmmformula.backends.posterior.model import cells
    from lmmformula.numerics.programs import quick

    rng, n = np.random.default_rng(9), 150
    codes, x = [rng.integers(0, m, n) for m in (6, 3)], rng.integers(0, 2, n) - 0.4
    columns = {"y": rng.normal(size=n), "x": x, "o": rng.normal(size=n), "w": rng.uniform(0.5, 2.0, n)}
    columns |= {name: code.astype(str) for name, code in zip("si", codes, strict=True)}
    mean = "y ~ x + offset(o) + (x | s)" + ("" if case == "sigma by subject" else " + (1 | i)")
    problem = build(f"bf({mean}, sigma ~ x + (x | s))", columns, weights="w")
    priors, engine = resolve_priors(problem), BlockedEngine()
    groups = ["s", "i"] if case == "several groups inside" else ["s"]

    def made() -> PartialDensity:
        return PartialDensity.of(problem, groups, priors, engine)

    own = made()
    monkeypatch.setattr(cells, "SAVING", 0.0)
    plain = made()
    assert len(own.sizes) <= 36 < n <= len(plain.sizes)
    assert own.sizes.sum() == plain.sizes.sum() == n
    assert own.within.max() > 1.0
    assert plain.within.max() < 1e-20
    densities = [quick(m.traced(), m.d) for m in (own, plain)]
    for x in own.begin + 0.3 * rng.normal(size=(3, own.d)):
        first, second = (float(density(x)) for density in densities)
        assert first == pytest.approx(second, rel=1e-11)


def test_cells_are_told_apart_by_every_column() -> None:
    from lmmformula.backends.posterior.model.cells import cell_codes

    a, b = np.repeat([0, 1], 10), np.tile([0.1, 0.2], 10)
    found = cell_codes([a, b, np.ones(20)], 20)
    assert len(np.unique(found)) == len({(i, u, v) for i, u, v in zip(found, a, b, strict=True)}) == 4
    assert (cell_codes([a, np.arange(20.0)], 20) == np.arange(20)).all()


def test_lemmas_for_one_class() -> None:
    """log|V| and C'V^-1C from the dense matrix; the fast case of one variance is the same."""
    from lmmformula.backends.posterior.density.one_class import OneClass, ScaledIdentity
    from lmmformula.numerics.programs import quick

    rng = np.random.default_rng(2)
    for layout, lower in (("slopes", np.array([[0.8, 0.0], [0.3, 0.5]])), ("iid slopes", 0.7 * np.eye(3))):
        problem = make_problem(layout)
        term, columns = problem.terms[0], rng.normal(size=(problem.n, 3))
        z, w = z_matrix(term), rng.uniform(0.5, 2.0, problem.n)
        v = np.diag(1 / w) + z @ np.kron(np.eye(term.m), lower @ lower.T) @ z.T
        log_det, products = np.linalg.slogdet(v)[1] + np.log(w).sum(), columns.T @ np.linalg.solve(v, columns)
        every, known = OneClass.of(term, columns), OneClass.of(term, columns[:, :2])
        found = [
            quick(lambda x, k=every, low=lower: k(low, x), problem.n)(w),
            quick(lambda x, k=known, low=lower, c=columns: k(low, x, c[:, 2]), problem.n)(w),
        ]
        if layout == "iid slopes":
            fast = ScaledIdentity.of(term, w / 3.0)
            found.append(quick(lambda x, f=fast, c=columns: f(x[0], x[1], c), 2)(np.array([0.7, 3.0])))
        for one, two in found:
            assert float(one) == pytest.approx(log_det, rel=1e-10)
            np.testing.assert_allclose(two, products, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("slopes", [False, True], ids=["two groups", "three with slopes"])
def test_nested_groups_need_no_dense_part(slopes: bool) -> None:
    """Elimination along the chain against the bordered factor, in value and gradient, with a t prior."""
    import jax

    from lmmformula.backends.posterior.density.nested import Nested
    from lmmformula.backends.posterior.density.traced import jax_kernels
    from lmmformula.backends.posterior.density.variances import VarianceDensity
    from lmmformula.numerics.programs import quick

    rng, n = np.random.default_rng(3), 160
    fine, x = rng.integers(0, 24, n), rng.normal(size=n)
    y = 1.0 + 0.4 * x + rng.normal(size=24)[fine] + 0.5 * rng.normal(size=8)[fine // 3] + rng.normal(size=n)
    columns = {"y": y, "x": x, "w": rng.uniform(0.5, 2.0, n)}
    columns |= {f"g{d}": (fine // d).astype(str) for d in (1, 3, 12)}
    terms = "(x | g3) + (1 | g12) + (x || g1)" if slopes else "(1 | g3) + (1 | g1)"
    problem = build(f"y ~ x + {terms}", columns, weights="w")
    target = VarianceDensity.of(
        problem, BlockedEngine(), resolve_priors(problem, {"b": "student_t(4, 0, 1)"})
    )
    nested = Nested.of(target.bordered)
    assert nested is not None
    kernels = jax_kernels()
    both = quick(
        jax.value_and_grad(lambda z: nested.log_posterior(target.coordinates, z, jax.numpy, kernels)),
        target.d,
    )
    for at in target.begin + 0.3 * rng.normal(size=(3, target.d)):
        found = both(at)
        value, gradient = target(at).value, target(at).gradient
        assert float(found[0]) == pytest.approx(value, rel=1e-11)
        np.testing.assert_allclose(found[1], gradient, rtol=1e-7, atol=1e-8)


def test_groups_that_are_not_nested_make_no_chain() -> None:
    from lmmformula.backends.posterior.density.nested import Nested
    from lmmformula.backends.posterior.density.variances import VarianceDensity

    for layout in ("one", "crossed"):
        problem = make_problem(layout)
        assert (
            Nested.of(VarianceDensity.of(problem, BlockedEngine(), resolve_priors(problem)).bordered) is None
        )


def test_rows_are_filled_up_where_that_pays() -> None:
    from lmmformula.backends.posterior.model.starts import padded_rows

    codes = np.array([1, 0, 1, 2, 2, 1])
    rows, mask = padded_rows(codes, 3)
    assert rows.tolist() == [1, 1, 1, 0, 2, 5, 3, 4, 3]
    assert mask.tolist() == [1, 0, 0, 1, 1, 1, 1, 1, 0]
    rows, mask = padded_rows(np.array([0] * 9 + [1, 2, 3]), 4)
    assert rows.tolist() == list(range(12))
    assert mask.all()


# -- draws --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything() -> Posterior:
    return fitted(crossed(), "all", draws=2_000)


@pytest.mark.parametrize("marginalize", ["none", ["s"], ["i"]], ids=str)
def test_choices_agree(marginalize: object, everything: Posterior) -> None:
    ours = fitted(crossed(), marginalize)
    assert ours.marginalized == ("none" if marginalize == "none" else marginalize[0])  # type: ignore[index]
    assert ours.diagnostics.divergences <= 2
    agree(ours, everything)
    assert ours.effects is not None
    spread = [
        np.abs(e.mean(axis=(0, 1)) - m).max() for e, m in zip(ours.effects, ours.effect_means, strict=True)
    ]
    assert max(spread) < 0.1


def test_three_classes_integrated_out_or_sampled() -> None:
    """Maximal correlated slopes of a lognormal response, by importance sampling with all integrated out, and by chains."""
    everything = fitted(three_classes(), "all", draws=2_000, sampler="importance")
    agree(fitted(three_classes(), "none"), everything)


def test_a_model_of_sigma_with_random_effects() -> None:
    """The mean's effects integrated out given sigma of each row, and nothing integrated out."""
    problem = unequal()
    solution = HMC(seed=3, chains=2, draws=500, warmup=250).fit(problem)
    ours, theirs = (
        solution.posterior,
        HMC(seed=4, chains=2, draws=500, warmup=250, marginalize="none").fit(problem).posterior,
    )
    assert ours.marginalized == "all"
    sds = ("sigma:sd:s:Intercept", "sigma:sd:s:x", "sigma:cor:s:Intercept:x")
    assert ours.names[-5:] == ("sigma:(Intercept)", "sigma:x", *sds)
    agree(ours, theirs)
    for a, b in zip(ours.aux_effects[0].means, theirs.aux_effects[0].means, strict=True):
        np.testing.assert_allclose(a, b, atol=0.1)
    assert ours["sigma:(Intercept)"].mean() == pytest.approx(-0.7, abs=0.5)
    again = HMC().evaluate(problem, solution.estimate)
    np.testing.assert_allclose(again.model.problem.weights, solution.point.model.problem.weights)
    assert solution.estimate.sigma == 1.0
    assert len(solution.estimate.aux_modes[0][0]) == problem.terms[0].m


def test_grouse_ticks_without_divergences() -> None:
    """Poisson counts with a random effect for each: sampled, and with the effects integrated out by Laplace."""
    formula = "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)"
    problem = build(formula, load_dataset("grouseticks"), family="poisson")
    sampled = HMC(seed=1, chains=2, draws=250, warmup=250).fit(problem).posterior
    assert sampled.diagnostics.divergences == 0
    laplace = (
        HMC(seed=1, chains=2, draws=150, marginalize="laplace", sampler="importance").fit(problem).posterior
    )
    assert laplace.pareto_k < 0.7
    assert laplace.marginalized == "laplace"
    for name in sampled.beta_names:  # Laplace's approximation is good for coefficients of these data
        _agree(sampled[name], laplace[name], 5.0)
    for a, b, sd in zip(sampled.effect_means, laplace.effect_means, sampled.effect_sds, strict=True):
        assert np.abs((a - b) / sd).max() < 0.5


def test_laplace_by_chains() -> None:
    """Called back from the compiled sampler; against importance sampling of the same density."""
    rng = np.random.default_rng(6)
    g = np.repeat(np.arange(8), 10)
    y = rng.binomial(1, stats.norm.cdf(0.3 + rng.normal(0, 0.8, 8)[g])).astype(float)
    problem = build("y ~ 1 + (1 | g)", {"y": y, "g": g.astype(str)}, family="binomial(link='probit')")
    options: dict[str, Any] = {"seed": 1, "chains": 2, "draws": 200, "marginalize": "laplace"}
    chains = HMC(**options, sampler="nuts").fit(problem).posterior
    weighted = HMC(**options).fit(problem).posterior
    assert (chains.sampler, weighted.sampler) == ("nuts", "importance")
    agree(chains, weighted)


# -- choices ------------------------------------------------------------------------------------------------------


def test_routes() -> None:
    normal, counts = crossed(), replace(make_problem("one"), family=resolve("poisson"))
    assert type(choose_route(normal)) is Exact
    assert type(choose_route(normal, ["s", "i"])) is Exact
    assert choose_route(normal, ["i"]).groups == ("i",)
    assert type(choose_route(normal, "none")) is Nothing
    assert type(choose_route(counts)) is Nothing
    assert type(choose_route(counts, "laplace")) is Approximate
    assert type(choose_route(unequal())) is Partial


@pytest.mark.parametrize(
    ("marginalize", "says"),
    [
        ("some", r"unknown; use 'auto', 'all', 'none', 'laplace', or a list of grouping factors \(s, i\)"),
        ("s", r"For one group write \['s'\]"),
        (["subject"], "names 'subject', which is no grouping factor of this model; it has: s, i"),
        ([], "names no group"),
        ("laplace", "can be done exactly"),
    ],
)
def test_choices_are_checked(marginalize: object, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        choose_route(crossed(), marginalize)  # type: ignore[arg-type]


def test_what_does_not_suit_the_family_is_refused() -> None:
    counts = replace(make_problem("one"), family=resolve("poisson"))
    for choice in ("all", ["g"]):
        with pytest.raises(PlanError, match="Use 'none' \\(sample them\\) or 'laplace'"):
            HMC(marginalize=choice).fit(counts)
    with pytest.raises(PlanError, match="random effects of g are sampled here"):
        HMC(sampler="importance").fit(counts)
    columns = {"y": np.arange(1.0, 21.0), "g": np.repeat(list("abcde"), 4)}
    problem = build("bf(y ~ 1 + (1 | g), phi ~ (1 | g))", columns, family="nbinom2")
    with pytest.raises(
        PlanError,
        match=r"phi has random effects \(1 \| g\), which marginalize='laplace'.*Use marginalize='none'",
    ):
        HMC(marginalize="laplace").fit(problem)
    assert type(choose_route(problem)) is Nothing


def test_random_effects_of_sigma_are_for_hmc() -> None:
    from lmmformula.backends.laplace import LaplaceBackend

    with pytest.raises(PlanError, match=r"formula of sigma has random effects \(x \| s\).*Use method='hmc'"):
        LaplaceBackend().fit(unequal())
