"""A formula on rows that are read batch by batch gives what it gives on the same rows in memory."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from batched import close, encoded, noted, same_block, same_term, source, streamed

from lmmformula.errors import DataError, FormulaError, LmmformulaError, PlanError
from lmmformula.formula import model_spec
from lmmformula.frame import build
from lmmformula.frame.streamed import learn

SIZES = [7, 50, 1000]


def make() -> pd.DataFrame:
    rng = np.random.default_rng(15)
    n = 240
    d = pd.DataFrame(
        {
            "x1": rng.normal(2.0, 1.0, n),
            "x2": rng.uniform(0.0, 5.0, n),
            "f": rng.choice(["a", "b", "c"], n),
            "o": pd.Categorical(
                rng.choice(["low", "mid", "high"], n), ["low", "mid", "high", "never"], ordered=True
            ),
            "cat": pd.Categorical(rng.choice(["z", "y"], n), ["z", "never", "y"]),
            "lg": rng.uniform(size=n) < 0.4,
            "g": rng.integers(-3, 22, n),
            "h": rng.choice(["u1", "u2", "u10"], n),
            "wide": rng.choice([5, 7_000_000_000, 12, 13], n),
            "real": rng.choice([0.1, 0.1 + 1e-17, 2.5, 3.0], n),
            "w": rng.uniform(1.0, 2.0, n),
            "count": rng.poisson(3.0, n),
            "trials": rng.integers(4, 9, n),
        }
    )
    d["y"] = 1.0 + d.x1 + rng.normal(size=n)
    d["k"] = rng.binomial(d.trials, 0.4)
    d["yes"] = np.where(rng.uniform(size=n) < 0.5, "yes", "no")
    d["twice"] = 2.0 * d.x1 - d.x2
    d["na"] = d.x2.where(np.arange(n) % 11 != 3)
    d["tna"] = d.f.where(np.arange(n) % 13 != 5)
    d["rare"] = np.where(d.na.isna(), "only where na is missing", d.h)
    d["late"] = np.where(np.arange(n) < 230, "early", "late")
    d["text"] = [str(v) for v in d.g.to_numpy()]
    d.loc[::40, "text"] = "n/a"
    return d


DATA = make()
GAPS = DATA.assign(
    **{name: DATA[name].where(np.arange(240) // 10 % 8 != 0) for name in ("y", "k", "count", "yes", "lg")}
)

CASES: list[tuple[str, dict[str, Any]]] = [
    ("y ~ x1 + x2 + (1 | g)", {}),
    ("y ~ f * x1 + cat + lg + (x1 | h)", {}),
    ("y ~ o + late + (1 | g) + (1 | h)", {}),
    ("y ~ 0 + f + o:x1 + (1 | wide)", {}),
    ("y ~ x1 + na + tna + rare + (1 | real)", {}),
    ("y ~ na + (1 | rare)", {}),
    ("y ~ poly(x1, 2) + ns(x2, 3) + (1 | g)", {}),
    ("y ~ bs(scale(na), df = 4) + scale(log(x2)) + (1 | g)", {}),
    ("log(y) ~ sqrt(x1) * f + (1 | g)", {}),
    ("y ~ x1 + (1 | g:h)", {}),
    ("y ~ x1 + (1 | h/f) + (0 + x1 | g)", {}),
    ("y ~ x1 + (1 | factor(g)) + (1 | interaction(f, lg))", {}),
    ("y ~ factor(g) + relevel(f, ref = 'b') + C(h, contr.sum) + (1 | late)", {}),
    ("y ~ as.numeric(as.factor(g)) + as.numeric(o) + I(x1^2) + (1 | h)", {}),
    ("y ~ cut(x1, 3) + cut(x2, c(0, 1, 4)) + (1 | g)", {}),
    ("y ~ I(x1 > 2) + ifelse(x2 > 2, 'much', 'little') + I(x1 - mean(x1)) + (1 | I(g > 5))", {}),
    ("y ~ x1 + x2 + twice + (x1 + x2 + twice | g)", {}),
    ("y ~ x1 * twice + f:h + f:h:lg + (1 | g)", {}),
    ("y ~ f + h + (1 | g)", {"contrasts": {"f": "contr.sum", "h": [[1.0], [0.0], [-1.0]]}}),
    ("y ~ x1 + (1 | g)", {"weights": "w", "offset": "x2"}),
    ("y ~ x1 + offset(log(x2)) + (1 | g)", {"weights": "na"}),
    ("y | weights(w) ~ x1 + (1 | g)", {}),
    ("k | trials(trials) ~ x1 + (1 | g)", {"family": "binomial"}),
    ("cbind(k, trials - k) ~ x1 + f + (1 | g)", {"family": "binomial"}),
    ("k | trials(20) ~ x1 + (1 | g)", {"family": "binomial"}),
    ("yes ~ x1 + (1 | g)", {"family": "binomial"}),
    ("lg ~ x1 + (1 | g)", {"family": "binomial"}),
    ("count ~ x1 + (1 | g)", {"family": "poisson"}),
    ("bf(count ~ x1 + (1 | g), shape ~ f + (1 | h))", {"family": "nbinom2"}),
    ("bf(y ~ x1 + (1 | g), sigma ~ f * twice + x1 + x2)", {}),
    ("y ~ text + (1 | h)", {}),
    ("y ~ is.na(na) + x1 + (1 | g)", {}),
    ("y ~ x1 + (0 + f | f:h)", {}),
    ("y ~ x1 + cs(0 + f | g) + diag(x1 + x2 | h)", {}),
    ("y ~ x1 + (1 | mm(g, count))", {}),
    ("y ~ factor(g) + poly(x1, 2) + sqrt(x2) + (1 | h)", {}),
    ("y ~ cut(x1, c(1, 2, 3)) + scale(x2) + log(x1) + (1 | g) + (1 | rare)", {}),
    ("y ~ cut(x1, c(1, 2, 3)) + na + factor(rare) + (1 | g)", {}),
    ("y ~ x1 + dummy(f, 'b') + (0 + dummy(f) | g)", {}),
]


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize(("text", "options"), CASES, ids=[text for text, _ in CASES])
def test_batches_give_what_the_table_gives(text: str, options: dict[str, Any], rows: int) -> None:
    """Batches in which no row is complete, too."""
    same(text, options, GAPS if rows == 7 else DATA, rows)


def same(text: str, options: dict[str, Any], data: pd.DataFrame, rows: int) -> None:
    over = source(data, rows)
    whole, said = noted(lambda: build(model_spec(text, over.names), data, **options))
    (problem, kept, parts), heard = noted(lambda: streamed(text, over, **options))
    assert heard == said
    assert problem.family == whole.family
    assert (problem.n_rows_data, sum(part.n for part in parts)) == (len(data), whole.n)
    close(np.concatenate([part.y for part in parts]), whole.y)
    for name in ("weights", "offset"):
        assert (getattr(problem, name) is None) == (getattr(whole, name) is None)
        if getattr(whole, name) is not None:
            close(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))
    same_block(problem.X, whole.X, [part.fixed.matrix for part in parts], kept.fixed)
    for j, (own, block) in enumerate(zip(problem.aux, whole.aux, strict=True)):
        same_block(own, block, [part.aux[j].matrix for part in parts], kept.aux[j])
    for j, (own, term) in enumerate(zip(problem.terms, whole.terms, strict=True)):
        same_term(own, term, [part.terms[j] for part in parts], kept.terms[j])
    for i, (mine, theirs) in enumerate(zip(problem.aux_terms, whole.aux_terms, strict=True)):
        for j, (own, term) in enumerate(zip(mine, theirs, strict=True)):
            same_term(own, term, [part.aux_terms[i][j] for part in parts], kept.aux_terms[i][j])
    same_recipe(problem.recipe, whole.recipe)


def same_recipe(own: Any, wanted: Any) -> None:
    """The same codings of new rows."""
    assert (own.kept, own.offsets, own.offset_column, own.weights) == (
        wanted.kept,
        wanted.offsets,
        wanted.offset_column,
        wanted.weights,
    )
    assert [(c.name, c.levels, c.kind) for c in own.columns] == [
        (c.name, c.levels, c.kind) for c in wanted.columns
    ]
    assert dict(own.memory) == dict(wanted.memory)
    new = DATA.iloc[50:60]
    mine, theirs = own.replay(new, aux=True), wanted.replay(new, aux=True)
    close(mine.X, theirs.X)
    for own_term, term in zip(mine.terms, theirs.terms, strict=True):
        for one, other in zip(own_term, term, strict=True):
            np.testing.assert_array_equal(one.codes, other.codes)


WRONG: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("y ~ x1 + (1 | g)", {"missing": "raise"}, {"x1": np.nan}),
    ("y ~ x1 + (1 | g)", {}, {"y": 3.0}),
    ("y ~ x1 + (1 | g)", {}, {"g": 4}),
    ("y ~ x1 + (1 | g)", {}, {"g": np.arange(240)}),
    ("y ~ x1 + (x1 + x2 | g)", {}, {"g": np.arange(240) // 2}),
    ("y ~ x1 + f + (1 | g)", {}, {"f": "a"}),
    ("y ~ x1 + (1 | g)", {}, {"x1": np.inf}),
    ("y ~ log(x1) + (1 | g)", {}, {"x1": 0.0}),
    ("y ~ log(x1) + (1 | g)", {}, {"x1": -1.0}),
    ("y ~ scale(log(x1)) + (1 | g)", {}, {"x1": -1.0}),
    ("y ~ x1 + (1 | g)", {"missing": "raise"}, {"x1": np.where(np.arange(240) % 9, 1.5, np.nan)}),
    ("y ~ log(x1) + (1 | g)", {"missing": "raise"}, {"x1": np.where(np.arange(240) % 9, 1.5, -1.0)}),
    ("y ~ x1 + (1 | g)", {"weights": "w"}, {"w": np.where(np.arange(240) == 77, np.inf, 1.0)}),
    ("y ~ x1 + (1 | g)", {"weights": "w"}, {"w": np.where(np.arange(240) % 50 == 7, -1.0, 1.0)}),
    ("y ~ x1 + (1 | g)", {"weights": "w"}, {"w": np.where(np.arange(240) % 50 == 7, 0.0, 1.0)}),
    ("y | weights(w) ~ x1 + (1 | g)", {"weights": "w"}, {}),
    ("y ~ x1 + (1 | g)", {"weights": "f"}, {}),
    ("f ~ x1 + (1 | g)", {}, {}),
    ("cbind(y, x1) ~ x2 + (1 | g)", {}, {}),
    ("y ~ nowhere + (1 | g)", {}, {}),
    ("y ~ x1 + (1 | g)", {"family": "poisson"}, {}),
    ("count ~ x1 + (1 | g)", {"family": "poisson"}, {"count": 0}),
    ("count ~ x1 + (1 | g)", {"family": "poisson"}, {"count": np.where(np.arange(240) == 99, -2, 3)}),
    ("y ~ x1 + (1 | g)", {"family": "gamma"}, {}),
    ("w ~ x1 + (1 | g)", {"family": "gamma"}, {"w": 2.0}),
    ("f ~ x1 + (1 | g)", {"family": "binomial"}, {}),
    ("lg ~ x1 + (1 | g)", {"family": "binomial"}, {"lg": True}),
    ("count ~ x1 + (1 | g)", {"family": "binomial"}, {"count": 0}),
    ("k | trials(trials) ~ x1 + (1 | g)", {"family": "binomial"}, {"k": 7}),
    ("k | trials(trials) ~ x1 + (1 | g)", {"family": "poisson"}, {}),
    ("y ~ factor(x2) + (1 | g)", {}, {}),
    ("y ~ x1 + (1 | g)", {"contrasts": {"x9": "contr.sum"}}, {}),
    ("y ~ poly(x1, 300) + (1 | g)", {}, {}),
    ("y ~ as.numeric(f) + (1 | g)", {}, {}),
    ("y ~ x1 + x2 + (1 | g)", {}, {"x1": 1e300}),
    ("y ~ x1 + (1 | g)", {"context": {}, "missing": "never"}, {}),
]


@pytest.mark.parametrize("rows", [13, 1000])
@pytest.mark.parametrize(
    ("text", "options", "changed"), WRONG, ids=[f"{t} {o} {list(c)}" for t, o, c in WRONG]
)
def test_errors_are_those_of_the_table(
    text: str, options: dict[str, Any], changed: dict[str, Any], rows: int
) -> None:
    """With counts of all rows, whichever batch they came up in."""
    data = DATA.assign(**changed)
    over = source(data, rows)
    with pytest.raises(LmmformulaError) as wanted:
        noted(lambda: build(model_spec(text, over.names), data, **options))
    with pytest.raises(type(wanted.value)) as found:
        noted(lambda: streamed(text, over, **options))
    assert str(found.value).removesuffix("; the data are a table") == str(wanted.value)


@pytest.mark.parametrize("rows", [13, 1000])
def test_warnings_of_a_family_count_all_rows(rows: int) -> None:
    data = DATA.assign(share=np.where(np.arange(240) % 3, 0.25, 0.5), trials=3)
    over = source(data, rows)
    options: dict[str, Any] = {"family": "binomial", "weights": "trials"}
    _, said = noted(lambda: build(model_spec("share ~ x1 + (1 | g)"), data, **options))
    _, heard = noted(lambda: streamed("share ~ x1 + (1 | g)", over, **options))
    assert len(said) == 1
    assert heard == said


def test_batches_of_one_outcome_are_no_reason_to_refuse() -> None:
    """Sorted by the response, every batch but one holds failures or successes alone."""
    for text, family in (("k1 ~ x1 + (1 | g)", "binomial"), ("count ~ x1 + (1 | g)", "poisson")):
        data = DATA.assign(k1=(DATA.k > 2).astype(int)).sort_values(text.split()[0])
        _, _, parts = streamed(text, source(data, 20), family=family)
        close(np.concatenate([p.y for p in parts]), data[text.split()[0]])


def test_columns_that_meet_in_no_batch_meet_in_all() -> None:
    """Rows of a level stand apart, so that only a pass over all of them shows that f varies within g."""
    data = DATA.sort_values(["f"])
    for text in ("y ~ (0 + f | g)", "y ~ (0 + f | f:g)"):
        over = source(data, 10)
        whole, said = noted(lambda t=text: build(model_spec(t), data))
        (problem, _, _), heard = noted(lambda t=text, o=over: streamed(t, o))
        assert problem.terms[0].covariance == whole.terms[0].covariance
        assert heard == said


def test_functions_of_the_caller() -> None:
    context = {
        "half": lambda x: x / 2,
        "centred": lambda x: x - x.mean(),
        "initial": lambda f: [v[0] for v in f],
    }
    whole = build(
        model_spec("y ~ half(x1) + initial(yes) + (1 | g)"),
        DATA,
        context=context,
    )
    over = source(DATA, 30)
    (problem, kept, parts), _ = noted(
        lambda: streamed("y ~ half(x1) + initial(yes) + (1 | g)", over, context=context)
    )
    close(np.vstack([p.fixed.matrix for p in parts])[:, list(kept.fixed)], whole.X.matrix)
    assert problem.X.names == whole.X.names
    with pytest.raises(FormulaError, match=r"`centred\(x1\)` gives a row another value"):
        streamed("y ~ centred(x1) + (1 | g)", over, context=context)


def test_levels_with_a_known_covariance() -> None:
    levels = [str(v) for v in range(-3, 22)]
    matrix = pd.DataFrame(np.eye(25) + 0.2, index=levels, columns=levels)
    text = "y ~ x1 + (1 | gr(g, cov = A))"
    whole = build(model_spec(text), DATA, context={"A": matrix})
    problem, _, parts = streamed(text, source(DATA, 30), context={"A": matrix})
    np.testing.assert_array_equal(np.concatenate([p.terms[0].codes for p in parts]), whole.terms[0].codes)
    assert list(problem.terms[0].levels) == list(whole.terms[0].levels)


def test_what_takes_all_rows_at_once_is_refused_by_its_size() -> None:
    with pytest.raises(PlanError, match=r"`poly\(x1, 2\)` needs all values of `x1` at once, .* available"):
        learn(model_spec("y ~ poly(x1, 2) + (1 | g)"), source(DATA, 30), memory_limit=5000.0)


def test_arrays_beside_rows_are_refused() -> None:
    with pytest.raises(
        PlanError, match="weights= is an array, and the rows of a table are read a batch at a time"
    ):
        learn(model_spec("y ~ x1 + (1 | g)"), source(DATA, 30), weights=DATA.w.to_numpy())


def test_rows_that_change_are_refused() -> None:
    draft = learn(model_spec("y ~ x1 + f + (1 | g)"), source(DATA, 30))
    with pytest.raises(DataError, match="grouping factor `g` has values that it did not have"):
        encoded(draft, source(DATA.assign(g=DATA.g + 1), 30))
    with pytest.raises(DataError, match="`f` has levels that it did not have"):
        encoded(draft, source(DATA.assign(f="d"), 30))
    _, seen = encoded(draft, source(DATA.iloc[10:], 30))
    with pytest.raises(DataError, match="230 complete rows were encoded of 240"):
        draft.finish(seen)


def test_workers_get_the_coding_and_nothing_else() -> None:
    draft = learn(model_spec("y ~ poly(x1, 2) + f + (x2 | g) + (1 | f:h)"), source(DATA, 30))
    sent = pickle.loads(pickle.dumps(draft.coding))
    batch = next(source(DATA, 100).batches(draft.columns))
    (here, _), (there, seen) = draft.encode(batch), sent.encode(batch)
    assert pickle.loads(pickle.dumps(seen)).n == 100
    np.testing.assert_array_equal(here.fixed.matrix, there.fixed.matrix)
    for one, other in zip(here.terms, there.terms, strict=True):
        np.testing.assert_array_equal(one.codes, other.codes)


def test_sums_of_batches_are_sums_of_rows() -> None:
    draft = learn(model_spec("y ~ x1 + f + (x2 | g)"), source(DATA, 30))
    (_, one), (_, many) = (encoded(draft, source(DATA, rows)) for rows in (1000, 17))
    for a, b in zip((*one.grams, *one.bases), (*many.grams, *many.bases), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert (one.n, one.low, one.high) == (many.n, many.low, many.high)
