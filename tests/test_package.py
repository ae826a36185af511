"""What the package costs to import, what it exports, and that its parts know their place."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import lmmformula

ROOT = Path(__file__).parents[1]
HEAVY = ("jax", "numpyro", "numba", "statsmodels", "matplotlib")


IN_MEMORY = (
    "arguments/elsewhere.py",
    "backends/posterior/",
    "criteria/batched/",
    "criteria/by_cluster.py",
    "inference/bayesian/",
    "inference/bootstrap_intervals.py",
    "inference/checking/",
    "inference/influence/",
    "inference/many/",
    "inference/one_response.py",
    "inference/posterior.py",
    "inference/robust/",
    "inference/selection/",
    "reporting/datatree.py",
    "reporting/model_text/",
)
"""What takes all rows at once: a door above it has ``problem.refuse_elsewhere(what)``. Others ask ``problem.data``."""


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_import_is_light() -> None:
    modules = json.loads(run("import sys, json, lmmformula; print(json.dumps(sorted(sys.modules)))"))
    loaded = {name.split(".")[0] for name in modules}
    assert not loaded & {*HEAVY, "pandas", "numpy", "scipy", "formulaic", "narwhals", "lark"}


def test_a_small_fit_imports_nothing_heavy() -> None:
    code = (
        "import sys, json\n"
        "from lmmformula import fit, load_dataset\n"
        "m = fit('Reaction ~ Days + (Days | Subject)', load_dataset('sleepstudy'))\n"
        "str(m.summary()); m.ranef(); m.predict()\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    loaded = {name.split(".")[0] for name in json.loads(run(code))}
    assert not loaded & set(HEAVY)


def test_a_small_posterior_imports_nothing_heavy() -> None:
    code = (
        "import sys, json\n"
        "from lmmformula import fit, load_dataset\n"
        "m = fit('Yield ~ 1 + (1 | Batch)', load_dataset('Dyestuff'), method='hmc', seed=1)\n"
        "str(m.summary()); m.extend(100)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    modules = set(json.loads(run(code)))
    assert not modules & {*HEAVY, "scipy"}


def test_a_small_crossed_fit_imports_no_scipy() -> None:
    code = (
        "import sys, json\n"
        "from lmmformula import fit, load_dataset\n"
        "m = fit('diameter ~ 1 + (1 | plate) + (1 | sample)', load_dataset('Penicillin'))\n"
        "m.ranef(); m.theta, m.llf\n"
        "m = m.update(method='hmc', seed=1)\n"
        "str(m.summary())\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    modules = set(json.loads(run(code)))
    assert not modules & {*HEAVY, "scipy"}


@pytest.mark.parametrize("first", ["fit", "load", "plan", "build", "anova", "Fit"])
def test_names_do_not_depend_on_the_order_of_imports(first: str) -> None:
    code = (
        f"from lmmformula import {first}\n"
        "import lmmformula.result, lmmformula.planner, lmmformula.api\n"
        "from lmmformula import fit, plan, load, Fit\n"
        "assert callable(fit) and callable(plan) and callable(load) and isinstance(Fit, type)"
    )
    run(code)


def test_everything_exported_exists() -> None:
    for name in lmmformula.__all__:
        assert getattr(lmmformula, name) is not None
    assert set(lmmformula.__all__) <= set(dir(lmmformula))
    with pytest.raises(AttributeError, match="no attribute 'lmer'"):
        _ = lmmformula.lmer  # type: ignore[attr-defined]


def test_the_licence_goes_into_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["license"] == "MIT"
    (name,) = project["license-files"]
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text.startswith("MIT License")
    assert "WITHOUT WARRANTY OF ANY KIND" in text


@pytest.mark.parametrize(
    ("words", "rooms"),
    [
        ("[\"'](us|cs|diag|iid)[\"']", ("ir/covariance/", "formula/")),
        ("(Blocked|Dense|Sparse|Krylov|Backfitting)Engine", ("engines/", "methods/plain.py")),
        ("(name|component|kind) [!=]= [\"'](zi|disp)[\"']", ("families/",)),
        ("trust [!=]= |in self\\.__dict__", ("ir/frozen.py",)),
        (
            r"(?<!`)problem\.(y|weights|offset|X\.matrix|terms\[\w+\]\.(codes|basis))\b",
            ("ir/", "frame/", "formula/", *IN_MEMORY),
        ),
    ],
    ids=["kinds", "engines", "parameters", "trust", "rows"],
)
def test_only_their_rooms_know_them(words: str, rooms: tuple[str, ...]) -> None:
    """Kinds and engines by name, parameters of families, what fits are worth, arrays with an entry for each row."""
    package, known = ROOT / "lmmformula", re.compile(words)
    asking = {
        f"{path.relative_to(package).as_posix()}: {line.strip()}"
        for path in package.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if known.search(line) and not path.relative_to(package).as_posix().startswith(rooms)
    }
    assert asking == set()
