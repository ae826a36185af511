"""``update``: what a change makes of a formula, as R 4.2's ``update.formula``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmmformula import anova, fit, load_dataset
from lmmformula.errors import FormulaError
from lmmformula.formula import model_spec, updated

SLEEP = "Reaction ~ Days + (Days | Subject)"
AS_R = [
    (SLEEP, "~ . - Days", "Reaction ~ (Days | Subject)"),
    (SLEEP, "Reaction ~ . - Days + (1 | Item)", "Reaction ~ (Days | Subject) + (1 | Item)"),
    (SLEEP, "~ . - (Days | Subject) + (1 | Subject)", "Reaction ~ Days + (1 | Subject)"),
    ("y ~ a * b + (1|g)", "~ . - a:b", "y ~ a + b + (1 | g)"),
    ("y ~ a * b", "log(.) ~ . - a", "log(y) ~ b + a:b"),
    ("y ~ a + b", ". ~ .:x", "y ~ a:x + b:x"),
    ("y ~ a + b", ". ~ .*x", "y ~ a + b + x + a:x + b:x"),
    ("y ~ a + b", ". ~ (.)^2", "y ~ a + b + a:b"),
    ("y ~ a + b - 1", "~ . + x", "y ~ a + b + x - 1"),
    ("y ~ a + b", "~ . - 1", "y ~ a + b - 1"),
    ("y ~ a + b - 1", "~ . + 1", "y ~ a + b"),
    ("y ~ a + offset(z)", "~ . + b", "y ~ a + b + offset(z)"),
    ("y ~ a", "~ 1", "y ~ 1"),
    ("y ~ a", "~ . - a", "y ~ 1"),
    ("y ~ a:b + a", "~ . + b", "y ~ a + b + a:b"),
    ("y ~ 0 + a", "~ b", "y ~ b"),
    ("y ~ a + b", "z ~ b", "z ~ b"),
    ("y ~ a", "~ . - b", "y ~ a"),
    ("y ~ a", "~ .", "y ~ a"),
    ("cbind(s, n - s) ~ a", ". ~ . + b", "cbind(s, n - s) ~ a + b"),
    ("y ~ a", "~ x/.", "y ~ x + x:a"),
    ("y ~ b:a + a + b", "~ . - b", "y ~ a + b:a"),
]
OURS = [
    # R puts new fixed terms after random ones, which says the same
    (SLEEP, ". ~ . + x", "Reaction ~ Days + x + (Days | Subject)"),
    # R keeps an offset that is taken away
    ("y ~ a + offset(z)", "~ . - offset(z)", "y ~ a"),
    ("y ~ a + b + (1 | g)", "~ .^2", "y ~ a + b + a:b + (1 | g)"),
    ("y ~ a + (x || g) + us(1 | h)", "~ . - (1 + x || g)", "y ~ a + us(1 | h)"),
    ("y ~ a + (1 | g)", "~ (. + (1 | h))", "y ~ a + (1 | g) + (1 | h)"),
    ("y | weights(w) ~ a + (1 | g)", "log(.) ~ . + b", "log(y) | weights(w) ~ a + b + (1 | g)"),
    ("y ~ a", "~ . + I(b * 1.2345678901234567)", "y ~ a + I(b * 1.2345678901234567)"),
    ("my.y ~ my.x", "~ . + z.1", "my.y ~ my.x + z.1"),
    ("y ~ a", "~ . - 1 - a", "y ~ 0"),
    (
        "bf(mvbind(y, z) ~ a + (1 |p| g))",
        "~ . + b",
        "bf(y ~ a + b + (1 | p | g)) + bf(z ~ a + b + (1 | p | g))",
    ),
    (
        "bf(y ~ a, sigma ~ z) + bf(z ~ b, family = poisson) + set_rescor(FALSE)",
        "bf(log(.) ~ .) + bf(. ~ . - b)",
        "bf(log(y) ~ a, sigma ~ z) + bf(z ~ 1, family = poisson) + set_rescor(FALSE)",
    ),
    ("bf(y ~ a) + bf(z ~ b)", "y ~ a * b", "y ~ a * b"),
    ("y ~ a", "bf(y ~ a) + bf(z ~ a)", "bf(y ~ a) + bf(z ~ a)"),
    ("bf(y ~ a + (1 | g), sigma ~ z)", "~ . + b", "bf(y ~ a + b + (1 | g), sigma ~ z)"),
    ("bf(y ~ a + (1 | g), sigma ~ z)", "bf(~ . - a, sigma ~ . + k)", "bf(y ~ (1 | g), sigma ~ z + k)"),
]


@pytest.mark.parametrize(("old", "new", "result"), AS_R + OURS)
def test_the_dot_is_the_old_side(old: str, new: str, result: str) -> None:
    assert updated(old, new) == result
    assert model_spec(updated(old, new)) == model_spec(result)


CORPUS = json.loads(
    (Path(__file__).resolve().parents[2] / "grammar/corpus/parse.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("entry", CORPUS, ids=lambda e: e["formula"])
def test_a_dot_alone_changes_nothing(entry: dict[str, Any]) -> None:
    columns = entry.get("columns")
    before, after = (
        model_spec(f, columns) for f in (entry["formula"], updated(entry["formula"], "~ .", columns))
    )
    assert after.random == before.random
    assert after.response == before.response
    assert after.fixed.intercept == before.fixed.intercept
    assert after.fixed.offsets == before.fixed.offsets
    assert {frozenset(t.factors) for t in after.fixed.terms} == {
        frozenset(t.factors) for t in before.fixed.terms
    }


def test_other_columns_in_the_old_formula_are_those_of_its_data() -> None:
    text = updated("y ~ . + (1 | g)", "~ . - z", ["y", "x", "z", "g"])
    assert text == "y ~ x + g + (1 | g)"


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("~ . - (1 | h)", "the formula has no random term"),
        ("b", "the change has no `~`"),
        ("~ . + (. | h)", "cannot stand in a random term"),
    ],
)
def test_what_cannot_be_changed(new: str, message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        model_spec(updated("y ~ a + (1 | g)", new))


def test_a_fit_is_updated() -> None:
    sleep = load_dataset("sleepstudy").assign(noise=lambda d: np.sin(d.index.to_numpy()))
    m = fit("Reaction ~ Days + (Days | Subject)", sleep, method="ml")
    smaller = m.update("~ . - Days")
    assert smaller.formula == "Reaction ~ (Days | Subject)"
    assert smaller.problem.X.names == ("(Intercept)",)
    assert m.update(". ~ . + noise").problem.X.names == ("(Intercept)", "Days", "noise")
    assert m.update("log(.) ~ .").formula == "log(Reaction) ~ Days + (Days | Subject)"
    assert anova(smaller, m)["Df"].iloc[1] == 1
    intercepts = m.update("Reaction ~ . - (Days | Subject) + (1 | Subject)")
    assert intercepts.llf == fit("Reaction ~ Days + (1 | Subject)", sleep, method="ml").llf
    with pytest.raises(FormulaError, match="`1` appears twice for group Subject"):
        m.update("Reaction ~ . - Days + (1 | Subject)")


def test_all_other_columns_stay_those_of_the_fit() -> None:
    sleep = load_dataset("sleepstudy")
    m = fit("Reaction ~ . - Subject + (1 | Subject)", sleep)
    more = m.update("~ . + I(Days^2)", data=sleep.assign(later=sleep.Days % 2))
    assert more.problem.X.names == ("(Intercept)", "Days", "I(Days^2)")
