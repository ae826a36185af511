"""Cluster-robust covariance matrices and their tests: against matrices of all rows, and clubSandwich."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from oracle import Oracle

from lmmformula import ArgumentError, DataError, Fit, PlanError, fit, load_dataset
from lmmformula.inference.robust import KINDS, sums
from lmmformula.typing import Array


def made(seed: int = 3, clusters: int = 14) -> pd.DataFrame:
    """Clusters of 1 to 12 rows, classes nested in them, a covariate that only some clusters vary in, weights, copies."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(clusters), rng.integers(1, 13, clusters))
    h = rng.integers(0, 3, len(g))
    x = rng.normal(size=len(g))
    treated = (g % 3 == 0).astype(float)
    y = 3 + x * (1 + 0.6 * rng.normal(size=clusters)[g]) + 0.5 * treated + rng.normal(size=clusters)[g]
    y += 0.5 * rng.normal(size=(clusters, 3))[g, h] + rng.normal(size=len(g)) * (1 + np.abs(x))
    columns = {"y": y, "x": x, "treated": treated, "g": g, "h": h, "off": 0.1 * x**2}
    more = {"w": rng.uniform(0.3, 3.0, len(g)), "copies": rng.integers(1, 4, len(g))}
    return pd.DataFrame(columns | more | {"block": g // 2})


@dataclass
class Dense:
    """The definitions of Pustejovsky & Tipton (2018) with matrices of all rows."""

    m: Fit
    kind: str
    codes: Array

    def __post_init__(self) -> None:
        problem = self.m.problem
        x, n, p = problem.X.matrix, problem.n, problem.p
        phi = self.m.sigma**2 * Oracle(problem, self.m.estimate.theta, reml=True).v
        w = np.linalg.inv(phi)
        bread = np.linalg.inv(x.T @ w @ x)
        hat = x @ bread @ x.T @ w
        e = problem.y - x @ self.m.estimate.beta - (0.0 if problem.offset is None else problem.offset)
        left = np.eye(n) - hat
        count = len(np.unique(self.codes))
        number = {
            "CR1": count / (count - 1),
            "CR1p": count / (count - p),
            "CR1S": count * (n - 1) / ((count - 1) * (n - p)),
        }.get(self.kind, 1.0)
        rows = []
        for c in np.unique(self.codes):
            own = np.flatnonzero(self.codes == c)
            square = np.ix_(own, own)
            adjust = np.sqrt(number) * np.eye(len(own))
            if self.kind == "CR2":
                values, vectors = np.linalg.eigh(phi[square])
                root = vectors * np.sqrt(values) @ vectors.T
                adjust = root @ power(root @ (left @ phi @ left.T)[square] @ root, -0.5) @ root
            elif self.kind == "CR3":
                adjust = np.linalg.pinv(left[square], rcond=1e-10)
            rows.append(bread @ x[own].T @ w[square] @ adjust @ left[own])
        self.maps = np.stack(rows)  # beta^R_i = maps_i y, (J, p, n)
        scores = np.stack([r @ (e - hat @ e) for r in rows])
        self.vcov = scores.T @ scores
        self.under = np.einsum("ipn,nm,jqm->ijpq", self.maps, phi, self.maps)

    def df(self, row: Array) -> float:
        p = np.einsum("p,ijpq,q->ij", row, self.under, row)
        return float(np.trace(p) ** 2 / np.sum(p**2))

    def hotelling(self, rows: Array) -> tuple[float, float, float]:
        """F, its scale and denominator df."""
        p = np.einsum("sp,ijpq,tq->ijst", rows, self.under, rows)
        root = power(np.einsum("iist->st", p), -0.5)
        p = np.einsum("us,ijst,vt->ijuv", root, p, root)
        variance = np.einsum("ijss,ijtt->st", p, p) + np.einsum("ijst,ijts->st", p, p)
        q = len(rows)
        eta = q * (q + 1) / variance.sum()
        effects = rows @ self.m.estimate.beta
        f = effects @ np.linalg.solve(rows @ self.vcov @ rows.T, effects) / q
        return float(f), (eta - q + 1) / eta, eta - q + 1


def power(a: Array, exponent: float) -> Array:
    values, vectors = np.linalg.eigh(0.5 * (a + a.T))
    keep = values > 1e-9 * values[-1]
    return (vectors[:, keep] * values[keep] ** exponent) @ vectors[:, keep].T


FITS: dict[str, tuple[str, dict[str, Any], str]] = {
    "intercepts": ("y ~ x + treated + (1 | g)", {}, "g"),
    "slopes by ML": ("y ~ x * treated + (x | g)", {"method": "ml"}, "g"),
    "nested": ("y ~ x + (1 | g / h)", {"offset": "off"}, "g"),
    "coarser clusters": ("y ~ x + treated + (1 | g)", {}, "block"),
    "weights": ("y ~ x + (x || g)", {"weights": "w"}, "g"),
    "no random effects": ("y ~ x + treated", {}, "g"),
    "a coefficient of one cluster": ("y ~ x + I(1 * (g == 2)) + (1 | g)", {}, "g"),
}


@pytest.fixture(scope="module")
def fits() -> dict[str, Fit]:
    data = made()
    return {name: fit(formula, data, **more) for name, (formula, more, _) in FITS.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FITS)
def test_against_matrices_of_all_rows(fits: dict[str, Fit], name: str, kind: str) -> None:
    m, data = fits[name], made()
    dense = Dense(m, kind, pd.factorize(data[FITS[name][2]])[0])
    known = m.inference.uncertainty(vcov=kind, cluster=FITS[name][2])
    scale = np.sqrt(np.outer(np.diagonal(m.vcov), np.diagonal(m.vcov)))
    assert_allclose(known.covariance / scale, dense.vcov / scale, rtol=1e-7, atol=1e-9)
    p = m.problem.p
    rows = np.vstack([np.eye(p)[:2], np.linspace(-1.0, 2.0, p)])
    assert_allclose(known.df(rows), [dense.df(row) for row in rows], rtol=1e-6)
    found = known.joint(np.vstack([rows[:2], 3.0 * rows[0]]))  # the third depends on the first
    assert_allclose((found.f, found.scale, found.df), dense.hotelling(rows[:2]), rtol=1e-6)
    assert found.q == 2


def test_clubsandwich_on_orthodont() -> None:
    """clubSandwich 0.5.8: vcovCR, coef_test(test = "Satterthwaite"), Wald_test(test = "HTZ")."""
    m = fit("distance ~ age * Sex + (1 | Subject)", load_dataset("Orthodont"))
    errors = {
        "CR0": [1.17148092332354, 0.0983475531517576, 1.37778505976662, 0.116867301798753],
        "CR1": [1.19379685087598, 0.100221008218245, 1.40403094304515, 0.119093545682255],
        "CR1S": [1.21089266406532, 0.101656226976688, 1.42413742154419, 0.120799029330957],
        "CR2": [1.20990029504847, 0.101572916132535, 1.42911694863787, 0.121249143552968],
    }
    for kind, expected in errors.items():
        assert_allclose(
            np.sqrt(np.diagonal(m.inference.uncertainty(vcov=kind).covariance)), expected, rtol=1e-7
        )
    known = m.inference.uncertainty(vcov="CR2", cluster="Subject")
    assert_allclose(known.df(np.eye(4)), [15.0, 15.0, 21.6534653465348, 21.6534653465347], rtol=1e-6)
    test = known.joint(np.eye(4)[2:])
    expected = (6.19831764609368, 20.6534653465346, 0.00778913462753172)
    assert_allclose((test.statistic, test.df, test.p_value), expected, rtol=1e-6)


def test_copies_are_the_rows_that_they_stand_for() -> None:
    data = made()
    whole = data.loc[data.index.repeat(list(data["copies"]))].reset_index(drop=True)
    short = fit("y | weights(copies) ~ x + (1 | g)", data)
    long = fit("y ~ x + (1 | g)", whole)
    for kind in KINDS:
        a, b = (m.inference.uncertainty(vcov=kind, cluster="g") for m in (short, long))
        assert_allclose(a.covariance, b.covariance, rtol=1e-5)
        assert_allclose(a.df(np.eye(2)), b.df(np.eye(2)), rtol=1e-5)


def test_units_do_not_matter(fits: dict[str, Fit]) -> None:
    data = made()
    data["y"], data["x"] = 1e6 * data["y"], 1e-5 * data["x"] + 3.0
    other = fit("y ~ x + treated + (1 | g)", data).inference.uncertainty(vcov="CR2")
    known = fits["intercepts"].inference.uncertainty(vcov="CR2")
    ratio = np.sqrt(np.diagonal(other.covariance) / np.diagonal(known.covariance))
    assert_allclose(ratio[1:], [1e11, 1e6], rtol=1e-6)
    assert_allclose(other.df(np.eye(3))[1:], known.df(np.eye(3))[1:], rtol=1e-5)
    rows = np.eye(3)[1:]
    assert_allclose(other.joint(rows).statistic, known.joint(rows).statistic, rtol=1e-5)


def test_clusters_by_name_by_labels_and_by_default(fits: dict[str, Fit]) -> None:
    data, m = made(), fits["nested"]
    by = [
        m.inference.uncertainty(vcov="CR1", cluster=c)
        for c in (None, "g", np.asarray(data["g"]), list(data["g"]))
    ]
    for other in by[1:]:
        assert_allclose(other.covariance, by[0].covariance, rtol=1e-12)
    assert m.inference.uncertainty(cluster="g").label == f"CR2, {data['g'].nunique()} clusters of g"


def test_a_series_is_read_by_its_index(fits: dict[str, Fit]) -> None:
    data, m = made(), fits["intercepts"]
    turned = pd.Series(np.asarray(data["block"])[::-1], index=data.index[::-1])
    by_name, by_series = (m.cov_params("CR2", c) for c in ("block", turned))
    assert_allclose(by_series, by_name, rtol=1e-12)
    some = data[data["x"] > -1.0]
    fewer = fit("y ~ x + treated + (1 | g)", some)
    whole = pd.Series(np.asarray(data["block"]), index=data.index)
    assert_allclose(fewer.cov_params("CR2", whole), fewer.cov_params("CR2", "block"), rtol=1e-12)
    with pytest.raises(DataError, match="lacks labels"):
        fewer.cov_params("CR2", whole.iloc[:10])


def test_clusters_of_combinations() -> None:
    data = made()
    m = fit("y ~ x + (1 | g:h)", data)
    codes = np.asarray(data["g"]) * 3 + np.asarray(data["h"])
    expected = m.cov_params("CR2", codes)
    assert_allclose(m.cov_params("CR2", "g:h"), expected, rtol=1e-12)
    plain = fit("y ~ x", data)
    assert_allclose(plain.cov_params("CR0", "g:h"), plain.cov_params("CR0", codes), rtol=1e-12)


def test_z_and_chi_square(fits: dict[str, Fit]) -> None:
    known = fits["slopes by ML"].inference.uncertainty("normal", "CR0", "g")
    assert np.isinf(known.df(np.eye(4))).all()
    assert np.isinf(known.joint(np.eye(4)[1:]).df)


def test_more_combinations_than_clusters(fits: dict[str, Fit]) -> None:
    """There is no F then: the covariance matrix of the combinations is singular."""
    known = fits["intercepts"].inference.uncertainty(vcov="CR0", cluster=np.asarray(made()["g"]) // 7)
    test = known.joint(np.eye(3))
    assert test.q == 3
    assert np.isnan([test.statistic, test.df, test.p_value]).all()


def test_what_is_refused(fits: dict[str, Fit]) -> None:
    data = made()
    m = fits["intercepts"]
    with pytest.raises(
        PlanError, match=r"random effects \(1 \| g\) are shared by clusters of `h` \(3 clusters\): level"
    ):
        m.inference.uncertainty(vcov="CR2", cluster="h")
    with pytest.raises(ArgumentError, match="vcov='HC3' is unknown"):
        m.inference.uncertainty(vcov="HC3")
    with pytest.raises(ArgumentError, match="kenward-roger"):
        m.inference.uncertainty("kenward-roger", "CR2")
    with pytest.raises(DataError, match="no column"):
        m.inference.uncertainty(cluster="nowhere")
    with pytest.raises(DataError, match=rf"has 3 labels, and the data have {len(data)} rows"):
        m.inference.uncertainty(cluster=[1, 2, 3])
    with pytest.raises(DataError, match="1 value"):
        fits["no random effects"].inference.uncertainty(cluster=np.ones(len(data)))
    with pytest.raises(ArgumentError, match="name the column"):
        fits["no random effects"].inference.uncertainty(vcov="CR2")
    labels = np.array(data["g"], dtype=float)
    labels[3] = np.nan
    with pytest.raises(DataError, match="missing in 1 of"):
        fits["no random effects"].inference.uncertainty(cluster=labels)
    halves = np.asarray(data["g"]) // 7
    crossed = fit("y ~ x + (1 | g) + (1 | h)", data)
    with pytest.raises(PlanError, match="crossed"):
        crossed.inference.uncertainty(vcov="CR2", cluster="g")
    with pytest.raises(DataError, match="there are 2 clusters and 3 coefficients"):
        m.inference.uncertainty(vcov="CR1p", cluster=halves).df(np.eye(3))


def test_clusters_of_too_many_rows(fits: dict[str, Fit], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of unequal precision need matrices of a cluster's rows for CR2, and only then."""
    monkeypatch.setattr(sums, "LARGEST", 8)
    with pytest.raises(PlanError, match="'CR1' or 'CR3'"):
        fits["weights"].cov_params("CR2", np.asarray(made()["g"]))
    for kind in ("CR1", "CR3"):
        assert np.isfinite(fits["weights"].cov_params(kind, np.asarray(made()["g"]))).all(axis=None)
    with pytest.raises(PlanError, match="use smaller clusters"):
        fits["nested"].cov_params("CR2", np.asarray(made()["g"]) // 7)


# -- through the verbs -------------------------------------------------------------------------------------------------


def test_tables_of_a_fit_have_one_answer(fits: dict[str, Fit]) -> None:
    """Covariance matrix, summary, tidy table, intervals and tests agree, and say what they are."""
    m = fits["intercepts"]
    asked: dict[str, Any] = {"vcov": "CR2", "cluster": "block"}
    known = m.inference.uncertainty(**asked)
    errors, df = np.sqrt(np.diagonal(known.covariance)), known.df(np.eye(3))
    cov = m.cov_params("CR2", cluster="block")
    assert "CR2, 7 clusters of block" in str(cov)
    assert_allclose(np.sqrt(np.diagonal(cov)), errors, rtol=1e-12)
    summary, tidy = m.summary(**asked), m.tidy("fixed", conf_int=True, **asked)
    assert "Bell-McCaffrey's df" in str(summary)
    assert "by clusters: CR2, 7 clusters of block" in str(summary)
    for errors_of, df_of in (
        (summary.fixed["Std. Error"], summary.fixed["df"]),
        (tidy["std_error"], tidy["df"]),
    ):
        assert_allclose(errors_of, errors, rtol=1e-12)
        assert_allclose(df_of, df, rtol=1e-12)
    correlation = summary.correlation
    assert correlation is not None
    assert_allclose(correlation, known.covariance / np.outer(errors, errors), rtol=1e-12)
    assert_allclose(m.conf_int(**asked).iloc[:, 0], tidy["conf_low"], rtol=1e-12)
    table = m.anova(**asked)
    assert "CR2, 7 clusters of block" in str(table)
    assert_allclose(table["Pr(>F)"], tidy["p_value"][1:], rtol=1e-8)
    plain = m.summary(ddf="normal", **asked).fixed
    assert list(plain.columns) == ["Estimate", "Std. Error", "z value", "Pr(>|z|)"]


def test_clusters_alone_stand_for_cr2(fits: dict[str, Fit]) -> None:
    m = fits["intercepts"]
    assert_allclose(m.cov_params(cluster="g"), m.cov_params("CR2"), rtol=0.0)
    assert_allclose(m.cov_params(), m.vcov, rtol=0.0)
