"""Residuals with a known covariance, ``fcor(M)``: against ape's corBrownian, the dense likelihood, and effects of labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array

from lmmformula import fit, load, load_dataset
from lmmformula.errors import DataDroppedWarning, DataError, FormulaError, PlanError
from lmmformula.typing import Array

KNOWN = json.loads((Path(__file__).parents[1] / "reference" / "known_residuals.json").read_text())


def _species() -> tuple[pd.DataFrame, pd.DataFrame]:
    labels = KNOWN["labels"]
    a = np.zeros((len(labels),) * 2)
    for i, row in enumerate(KNOWN["lower"]):
        a[i, : i + 1] = a[: i + 1, i] = row
    return pd.DataFrame(KNOWN["data"]), pd.DataFrame(a, index=labels, columns=labels)


def test_species_agree_with_ape() -> None:
    data, a = _species()
    m = fit("y ~ x + fcor(A, species)", data, method="ml", data2={"A": a})
    assert m.llf == pytest.approx(KNOWN["logLik"], abs=1e-9)
    np.testing.assert_allclose(m.params, KNOWN["estimate"], rtol=1e-8)
    np.testing.assert_allclose(m.cov_params(), KNOWN["vcov"], rtol=1e-6, atol=1e-12)
    assert m.sigma == pytest.approx(KNOWN["sigma"], rel=1e-8)
    assert m.df_model == KNOWN["df"]
    assert "Residual covariance (fcor(A, species))" in str(m.summary())


def test_labels_order_and_storage_do_not_matter() -> None:
    data, a = _species()
    first = fit("y ~ x + fcor(A, species)", data, data2={"A": a})
    turned = data.sample(frac=1.0, random_state=2)
    order = turned["species"].to_numpy()
    labelled = turned.set_index("species")
    dense = a.loc[order, order].to_numpy()
    for frame, matrix, term in (
        (turned, a, "fcor(A, species)"),
        (labelled, a, "fcor(A)"),
        (turned, dense, "fcor(A)"),
        (turned, csr_array(dense), "fcor(A)"),
        (turned, (csr_array(a.to_numpy()), list(a.index)), "fcor(A, species)"),
    ):
        m = fit(f"y ~ x + {term}", frame, data2={"A": matrix})
        assert m.llf == pytest.approx(first.llf, abs=1e-9)
        np.testing.assert_allclose(m.params, first.params, rtol=1e-9)


def _dense(y: Array, x: Array, v: Array) -> tuple[float, Array, float]:
    """REML log-likelihood, estimates and sigma^2 from V itself."""
    n, p = x.shape
    inverse = np.linalg.inv(v)
    xvx = x.T @ inverse @ x
    beta = np.linalg.solve(xvx, x.T @ inverse @ y)
    e = y - x @ beta
    s2 = float(e @ inverse @ e) / (n - p)
    logdets = np.linalg.slogdet(v)[1] + np.linalg.slogdet(xvx)[1]
    return -0.5 * (logdets + (n - p) * (1.0 + np.log(2.0 * np.pi * s2))), beta, s2


def test_a_matrix_of_all_rows_whose_missing_ones_go_and_whose_diagonal_varies() -> None:
    rng = np.random.default_rng(1)
    root = np.tril(rng.normal(size=(30, 30))) * 0.2 + np.diag(rng.uniform(0.5, 2.0, 30))
    m = root @ root.T
    data = pd.DataFrame({"y": rng.normal(size=30), "x": rng.normal(size=30)})
    data.loc[[3, 17], "x"] = np.nan
    kept = data["x"].notna().to_numpy()
    with pytest.warns(DataDroppedWarning):
        one = fit("y ~ x + fcor(M)", data, data2={"M": m})
    other = fit("y ~ x + fcor(M)", data[kept], data2={"M": m[np.ix_(kept, kept)]})
    x = np.column_stack([np.ones(28), data["x"].to_numpy()[kept]])
    llf, beta, s2 = _dense(data["y"].to_numpy()[kept], x, m[np.ix_(kept, kept)])
    for own in (one, other):
        assert own.llf == pytest.approx(llf, abs=1e-9)
        np.testing.assert_allclose(own.params, beta, rtol=1e-9)
        assert own.sigma**2 == pytest.approx(s2, rel=1e-9)
    drawn = other.simulate(4_000, seed=1).to_numpy() - np.asarray(other.fittedvalues)[:, None]
    np.testing.assert_allclose(
        np.cov(drawn), s2 * m[np.ix_(kept, kept)], atol=0.1 * s2 * float(np.diag(m).max())
    )
    whitened = other.residuals("normalized").to_numpy()
    root = np.linalg.cholesky(s2 * m[np.ix_(kept, kept)])
    np.testing.assert_allclose(whitened, np.linalg.solve(root, other.problem.y - x @ beta), rtol=1e-8)
    with pytest.raises(PlanError, match="interval='confidence'"):
        other.predict({"x": [0.0]}, interval="prediction")


def test_blocks_of_groups_are_exchangeable_residuals() -> None:
    """M of one correlation within subjects, at the value that cosy() finds: the same model, with tests and random effects."""
    data = load_dataset("Orthodont")
    known = fit("distance ~ age * Sex + cosy(gr = Subject)", data)
    rho = float(known.varcorr().loc[lambda t: t["var1"] == "rho", "sdcor"].iloc[0])
    same = data["Subject"].to_numpy()[:, None] == data["Subject"].to_numpy()
    m = np.where(same, rho, 0.0) + (1.0 - rho) * np.eye(len(data))
    held = fit("distance ~ age * Sex + fcor(M)", data, data2={"M": csr_array(m)})
    assert held.llf == pytest.approx(known.llf, abs=1e-8)
    np.testing.assert_allclose(held.bse, known.bse, rtol=1e-6)
    assert len(held.problem.residual.kind.matrix.data) == 4 * 4 * 27  # type: ignore[union-attr]
    np.testing.assert_allclose(held.df, 104.0, rtol=1e-6)  # n - p: sigma is the only parameter
    beside = fit("distance ~ age * Sex + (1 | Subject) + fcor(M)", data, data2={"M": np.eye(108)})
    plain = fit("distance ~ age * Sex + (1 | Subject)", data)
    assert beside.llf == pytest.approx(plain.llf, abs=1e-7)
    first, second = (f.summary(ddf="kenward-roger").fixed for f in (beside, plain))
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-12)
    assert len(held.anova()) == 3


def test_one_term_is_tested_in_every_structure_of_residuals() -> None:
    data, a = _species()
    m = fit("y ~ x + fcor(A, species)", data, data2={"A": a})
    table = m.anova(ddf="kenward-roger")
    assert float(table["F value"].iloc[0]) == pytest.approx(float(np.asarray(m.tvalues)[1]) ** 2, rel=1e-8)
    assert float(table["DenDF"].iloc[0]) == pytest.approx(34.0)


def test_saved_updated_and_drawn_again(tmp_path: Path) -> None:
    data, a = _species()
    m = fit("y ~ x + fcor(A, species)", data, data2={"A": a})
    m.save(tmp_path / "m.lmm")
    back = load(tmp_path / "m.lmm")
    pd.testing.assert_series_equal(back.params, m.params)
    pd.testing.assert_frame_equal(back.simulate(2, seed=4), m.simulate(2, seed=4))
    assert m.refit(2.0 * m.problem.y).sigma == pytest.approx(2.0 * m.sigma, rel=1e-9)
    assert m.update("~ . - fcor(A, species)").problem.residual is None
    assert len(m.bootstrap(5, seed=1)) == 5


MATRIX = np.eye(36)
LOST = {"A": MATRIX[:5, :5]}


@pytest.mark.parametrize(
    ("formula", "more", "says"),
    [
        ("y ~ x + fcor(A)", {}, "is not given in data2="),
        ("y ~ x + fcor(A)", {"data2": LOST}, "`A` is 5 x 5 for 36 rows"),
        ("y ~ x + fcor(A)", {"data2": {"A": MATRIX[:5]}}, "is not square"),
        ("y ~ x + fcor(A)", {"data2": {"A": MATRIX - 1.0}}, "`A` is not positive definite"),
        ("y ~ x + fcor(A)", {"data2": {"A": MATRIX + np.tri(36)}}, "`A` is not symmetric"),
        ("y ~ x + fcor(A)", {"data2": {"A": np.full((36, 36), np.nan)}}, "not finite"),
        ("y ~ x + fcor(A)", {"data2": {"A": _species()[1]}}, "name their column, fcor(A, label)"),
        ("y ~ x + fcor(A, twice)", {"data2": {"A": _species()[1]}}, "(1 | gr(label, cov = A))"),
        ("y ~ x + fcor(A)", {"data2": {"A": MATRIX}, "method": "hmc"}, "does not take structured residuals"),
        ("y ~ x + fcor(A)", {"data2": {"A": MATRIX}, "method": "pql"}, "does not take structured residuals"),
        (
            "k ~ x + fcor(A)",
            {"data2": {"A": MATRIX}, "family": "poisson"},
            "correlation of Gaussian residuals",
        ),
    ],
)
def test_what_is_refused_by_name(formula: str, more: dict[str, Any], says: str) -> None:
    data = _species()[0].assign(k=1, twice="sp01")
    with pytest.raises((PlanError, DataError, FormulaError)) as caught:
        fit(formula, data, **more)
    assert says in str(caught.value)
