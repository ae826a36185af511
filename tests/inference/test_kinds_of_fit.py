"""The three kinds of fit: every public verb of a fit answers or refuses by name, and nobody else asks which kind it is."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from kinds_of_fit import KINDS, rows

import lmmformula
from lmmformula import Fit, FitError, PlanError, fit
from lmmformula.inference.kinds.asymptotic import Asymptotic
from lmmformula.inference.kinds.draws import Draws
from lmmformula.inference.kinds.quasi import Quasi

PACKAGE = Path(lmmformula.__file__).parent
CLASSES = {"reml": Asymptotic, "laplace": Asymptotic, "dispersion": Asymptotic, "pql": Quasi, "hmc": Draws}
DATA = rows()
NEW = {"x": [0.1, 0.2], "f": ["low", "high"], "g": [0, 99]}


def drawn(axes: Any) -> Any:
    plt.close(axes.figure)
    return axes


VERBS: dict[str, Callable[[Fit], Any]] = {
    "allfit": lambda m: m.allfit(seed=1),
    "ratio": lambda m: m.ratio("g:(Intercept)"),
    "anova": lambda m: m.anova(),
    "model_text": lambda m: m.model_text(),
    "anova, Kenward-Roger": lambda m: m.anova(ddf="kenward-roger"),
    "augment": lambda m: m.augment(),
    "bayes_r2": lambda m: m.bayes_r2(),
    "bootstrap": lambda m: m.bootstrap(2, seed=1),
    "caic": lambda m: m.caic(),
    "caic, known": lambda m: m.caic("known"),
    "check": lambda m: repr(m.check(seed=1, n=20)),
    "coef": lambda m: m.coef(),
    "conditional_effects": lambda m: m.conditional_effects("x", points=3),
    "conf_int": lambda m: m.conf_int(),
    "conf_int, all": lambda m: m.conf_int(parameters="all"),
    "conf_int, wald": lambda m: m.conf_int(method="wald"),
    "conf_int, profile": lambda m: m.conf_int(method="profile", parameters="x"),
    "conf_int, bootstrap": lambda m: m.conf_int(method="bootstrap", n=3, seed=1),
    "conf_int, quantile": lambda m: m.conf_int(method="quantile"),
    "cross_validate": lambda m: m.cross_validate(folds=2, seed=1),
    "cov_params": lambda m: m.cov_params(),
    "cov_params, scores": lambda m: m.cov_params("CR1", "g"),
    "summary, scores": lambda m: str(m.summary(cluster="g")),
    "cov_params, clusters": lambda m: m.cov_params("CR2", "g"),
    "anova, clusters": lambda m: m.anova(vcov="CR2"),
    "conf_int, clusters": lambda m: m.conf_int(method="wald", vcov="CR2"),
    "summary, clusters": lambda m: str(m.summary(vcov="CR2")),
    "tidy, clusters": lambda m: m.tidy(vcov="CR2"),
    "to_maketables, clusters": lambda m: m.to_maketables(vcov="CR2"),
    "drop1": lambda m: m.drop1(),
    "drop1, chisq": lambda m: m.drop1("chisq"),
    "hypothesis": lambda m: m.hypothesis("x > 0, exp(x) = 2"),
    "hypothesis, clusters": lambda m: m.hypothesis("x", vcov="CR2"),
    "t_test": lambda m: m.t_test("x = 1"),
    "t_test, clusters": lambda m: m.t_test("x = 1", vcov="CR2"),
    "f_test": lambda m: m.f_test("x = 1"),
    "f_test, clusters": lambda m: m.f_test("x = 1", vcov="CR2"),
    "wald_test": lambda m: m.wald_test("x = 1"),
    "wald_test, clusters": lambda m: m.wald_test("x = 1", vcov="CR2"),
    "emmeans": lambda m: str(m.emmeans("f" if "f" in m.formula else "~ 1").contrast("identity")),
    "emmeans, population": lambda m: m.emmeans("~ 1", average="population").tidy(),
    "emmeans, clusters": lambda m: m.emmeans("~ 1", vcov="CR2").table,
    "emtrends": lambda m: m.emtrends("~ 1", "x").table,
    "extend": lambda m: m.extend(10),
    "glance": lambda m: m.glance(),
    "icc": lambda m: m.icc(),
    "influence": lambda m: m.influence("g"),
    "influence, rows": lambda m: m.influence(),
    "influence, refit": lambda m: m.influence("g", refit=True),
    "kfold": lambda m: m.kfold(2, seed=1),
    "loo": lambda m: m.loo(),
    "joint_tests": lambda m: m.joint_tests(),
    "log_likelihood": lambda m: m.log_likelihood(slice(0, 2)),
    "naivete": lambda m: m.naivete(),
    "overdispersion": lambda m: m.overdispersion(),
    "plot": lambda m: m.plot,
    "plot.trace": lambda m: drawn(m.plot.trace("x")),
    "plot_naivete": lambda m: drawn(m.plot_naivete()),
    "pp_check": lambda m: drawn(m.pp_check(n=3)),
    "prior_sensitivity": lambda m: m.prior_sensitivity(),
    "predict": lambda m: m.predict(NEW, new_levels="population", se=True),
    "predict_population": lambda m: m.predict_population({"x": [0.1, 0.2], "f": ["low", "high"]}, se=True),
    "predict, prediction": lambda m: m.predict(interval="prediction", seed=1),
    "predict, full": lambda m: m.predict(interval="confidence", uncertainty="full", seed=1),
    "predict, sample": lambda m: m.predict(NEW, new_levels="sample", seed=1),
    "profile": lambda m: m.profile(parameters="x", points=2),
    "r2": lambda m: m.r2(),
    "ranova": lambda m: m.ranova(seed=1, n=20),
    "repca": lambda m: m.repca(),
    "step": lambda m: m.step(),
    "ranef": lambda m: m.ranef(condsd=True),
    "refit": lambda m: m.refit(m.problem.y),
    "permutation_test": lambda m: m.permutation_test("x", 3, cluster="g", seed=1),
    "pool": lambda m: lmmformula.pool([m, m]),
    "power": lambda m: m.power({"x": 1.0}, {"g": [8]}, n=2, seed=1, test="z"),
    "refit_many": lambda m: m.refit_many(np.column_stack([m.problem.y, m.problem.y])),
    "residuals": lambda m: m.residuals("quantile", seed=1),
    "simulate": lambda m: m.simulate(2, seed=1),
    "simulated_residuals": lambda m: repr(m.simulated_residuals(20, seed=1)),
    "simulated_residuals, conditional": lambda m: m.simulated_residuals(20, seed=1, conditional=True),
    "summary": lambda m: str(m.summary()),
    "summary, Kenward-Roger": lambda m: m.summary(ddf="kenward-roger"),
    "tidy": lambda m: m.tidy(conf_int=True),
    "tidy, modes": lambda m: m.tidy("ran_vals", conf_int=True),
    "to_datatree": lambda m: m.to_datatree(predictive=False, log_likelihood=False),
    "to_maketables": lambda m: m.to_maketables(),
    "update": lambda m: m.update(),
    "varcorr": lambda m: m.varcorr(se=True),
}
"""What a fit can be asked for: the method, and after a comma in which way."""

DRAWN = {"bayes_r2", "conf_int, quantile", "extend", "kfold", "log_likelihood", "loo", "plot.trace"}
DRAWN |= {"prior_sensitivity", "to_datatree"}
BY_SCORES = {"cov_params, scores", "summary, scores"}
CLUSTERED = {
    f"{verb}, clusters"
    for verb in (
        *("cov_params", "anova", "conf_int", "emmeans", "summary", "tidy", "to_maketables"),
        *("hypothesis", "t_test", "f_test", "wald_test"),
    )
}
KENWARD = {"anova, Kenward-Roger", "summary, Kenward-Roger"}
MANY = {"refit_many", "power", "permutation_test", "pool"}
"""Verbs of many fits."""
REFUSED = {
    "reml": DRAWN | {"overdispersion"},
    "laplace": DRAWN | KENWARD | CLUSTERED | {"influence, refit"},
    "dispersion": DRAWN
    | KENWARD
    | CLUSTERED
    | {"influence, refit", "overdispersion", "naivete", "plot_naivete"},
    "pql": DRAWN
    | KENWARD
    | BY_SCORES
    | CLUSTERED
    | {"influence, refit", "conf_int, profile", "profile", "predict, full"},
    "hmc": KENWARD
    | BY_SCORES
    | CLUSTERED
    | {"t_test", "f_test", "wald_test"}
    | {"anova", "bootstrap", "conf_int, wald", "conf_int, profile", "conf_int, bootstrap", "profile"}
    | {"overdispersion", "influence", "influence, rows", "influence, refit", "joint_tests"}
    | MANY,
}
MAXIMISED = {"allfit", "caic", "caic, known", "drop1, chisq", "ranova", "step"}
REFUSED["dispersion"] |= {"caic"}
REFUSED["pql"] |= MAXIMISED | {"ratio"}
REFUSED["hmc"] |= MAXIMISED | {"drop1", "cross_validate"}
REFUSED |= {name: REFUSED[name] | {"permutation_test"} for name in ("laplace", "dispersion", "pql")}
"""What each kind does not have; a Gaussian model has no overdispersion,
and a formula for sigma no plain GLM to compare with."""

INSTEAD = r"\b(use|fit with|fit again|fit the model|leave|look at|those of|in conf_int|has the intervals|has no meaning)\b"
"""What names an alternative."""

ELSEWHERE = {"heterogeneity", "impute", "monotonic", "save", "smooth", "smooths", "to_marginaleffects"}
"""Verbs with a test file of their own that goes through the kinds."""


@pytest.fixture(scope="module")
def fits() -> dict[str, Fit]:
    return {name: make(DATA) for name, make in KINDS.items()}


@pytest.mark.parametrize("name", KINDS)
def test_the_kind_is_that_of_the_solution(fits: dict[str, Fit], name: str) -> None:
    assert type(fits[name].inference) is CLASSES[name]


@pytest.mark.filterwarnings("ignore::lmmformula.errors.LmmformulaWarning")
@pytest.mark.parametrize("name", KINDS)
def test_every_verb_answers_or_refuses_by_name(fits: dict[str, Fit], name: str) -> None:
    """What is refused says why, and names what to use instead."""
    told: dict[str, str] = {}
    for verb, ask in VERBS.items():
        try:
            assert ask(fits[name]) is not None, verb
        except (FitError, PlanError, lmmformula.DataError) as error:
            told[verb] = str(error)
    assert set(told) == REFUSED[name]
    instead = re.compile(INSTEAD, re.IGNORECASE)
    assert [verb for verb, text in told.items() if not instead.search(text)] == []


def test_every_verb_is_asked_for() -> None:
    classes = [c for c in Fit.__mro__ if c is Fit or c.__module__.startswith("lmmformula.verbs")]
    members = (item for c in classes for item in vars(c).items())
    own = {name for name, value in members if callable(value) and not name.startswith("_")}
    assert own - {verb.split(",")[0] for verb in VERBS} <= ELSEWHERE


def test_every_refusal_is_asked_for(fits: dict[str, Fit]) -> None:
    """A wish that no kind refuses, or a refusal that nobody asks for, is a misspelling."""
    asked, methods = set(), ("wald", "profile", "bootstrap")
    for path in PACKAGE.rglob("*.py"):
        asked |= set(re.findall(r'inference\.check\("([^"]+)"\)', path.read_text(encoding="utf-8")))
    asked |= set(re.findall(r'self\.check\("([^"]+)"\)', (PACKAGE / "inference/kinds/draws.py").read_text()))
    more = [
        fit("y ~ x + cosy(gr = g)", DATA),
        fit("bf(y ~ x + (1 | g), sigma ~ 1 + (1 | g))", DATA),
    ]
    every = {wish for m in (*fits.values(), *more) for wish in m.inference.refused}
    assert every == asked | {f"{method} intervals" for method in methods}


# -- nobody else asks ------------------------------------------------------------------------------------------------

ROOMS = ("inference", "reporting", "interfaces", "keeping", "result.py")
CLASSES_OF = (
    "lmmformula.backends",
    "lmmformula.criteria",
    "lmmformula.engines",
    "lmmformula.inference.kinds",
)
LABELS = {"method", "engine", "trust", "sampler"}
ALLOWED = {
    (
        "inference/kinds/__init__.py",
        "fit.posterior is not None",
    ): "the one place where the kinds are told apart",
    ("inference/kinds/__init__.py", "fit.estimate.quasi is None"): "the same",
    ("inference/compare.py", "{f.method for f in fits}"): "whether criteria are the same, whatever they are",
    ("inference/compare.py", "{f.method for f in approximate}"): "the same",
    ("reporting/comparison_grids.py", "{fit.method for fit in fits if np.isfinite(fit.llf)}"): "the same",
    ("reporting/agreement.py", "fit.method != reference.method"): "the same",
}
"""What remains, with the reason; two fits may be compared by their labels, a fit may not be told by its label."""


def _questions(path: Path) -> Iterator[str]:
    """Comparisons and isinstance by which a module would tell kinds, backends, points or methods apart."""
    tree, known = ast.parse(path.read_text(encoding="utf-8")), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            known |= {alias.asname or alias.name: node.module or "" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            names = [n.id for n in ast.walk(node.args[1]) if isinstance(n, ast.Name)]
            if any(known.get(name, "").startswith(CLASSES_OF) for name in names):
                yield ast.unparse(node)
        elif isinstance(node, ast.Compare):
            sides = [s.attr for s in (node.left, *node.comparators) if isinstance(s, ast.Attribute)]
            none = any(isinstance(s, ast.Constant) and s.value is None for s in node.comparators)
            if (set(sides) & LABELS and not none) or (set(sides) & {"posterior", "quasi"} and none):
                yield ast.unparse(node)
        elif isinstance(node, ast.SetComp) and getattr(node.elt, "attr", "") in LABELS:
            yield ast.unparse(node)


def test_nobody_else_asks_which_kind_it_is() -> None:
    found = {
        (path.relative_to(PACKAGE).as_posix(), question)
        for room in ROOMS
        for path in ([PACKAGE / room] if room.endswith(".py") else (PACKAGE / room).rglob("*.py"))
        for question in _questions(path)
    }
    assert found == set(ALLOWED)


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "from lmmformula.backends.exact import Exact\n"
        "a = isinstance(fit.backend, Exact)\n"
        "b = fit.method == 'REML'\n"
        "c = fit.posterior is None\n"
        "d = isinstance(fit, str)\n"
    )
    assert set(_questions(path)) == {
        "isinstance(fit.backend, Exact)",
        "fit.method == 'REML'",
        "fit.posterior is None",
    }


def test_a_fit_loads_what_its_methods_need_when_they_are_called() -> None:
    code = (
        "import sys\n"
        "from lmmformula import fit, load_dataset\n"
        "m = fit('Yield ~ 1 + (1 | Batch)', load_dataset('Dyestuff'))\n"
        "later = ['lmmformula.inference.' + n for n in ('bootstrap', 'profile', 'anova', 'kinds.draws', 'kinds.quasi')]\n"
        "early = [n for n in later if n in sys.modules]\n"
        "m.profile\n"
        "m.conf_int(method='profile')\n"
        "sys.exit(bool(early) or 'lmmformula.inference.profile' not in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
