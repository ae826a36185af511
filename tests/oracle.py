"""Dense definitions, from the rows, of what the package computes in blocks; and problems to try them on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import null_space

from lmmformula.families import resolve
from lmmformula.ir.across import (
    Across,
    Bym2,
    Car,
    Constrained,
    Icar,
    Kernel,
    Known,
    Markov,
    Precision,
    Proportional,
)
from lmmformula.ir.covariance import KINDS, CovarianceKind
from lmmformula.ir.design import FixedBlock, GroupBlock
from lmmformula.ir.problem import Problem
from lmmformula.ir.structured import Structured, phi_of
from lmmformula.typing import Array


def z_matrix(term: GroupBlock) -> Array:
    """Z of one term, (n, q), effects of a level side by side."""
    n = len(term.codes)
    basis = np.ones((n, 1)) if term.basis is None else term.basis
    out = np.zeros((n, term.q))
    codes = term.codes.reshape(n, -1)
    shares = np.ones(codes.shape) if term.shares is None else term.shares
    for r in range(n):
        own = basis[r] if basis.ndim == 3 else [basis[r]] * codes.shape[1]
        for code, share, columns in zip(codes[r], shares[r], own, strict=True):
            out[r, code * term.k : (code + 1) * term.k] += share * columns
    return out


def across_covariance(term: GroupBlock, theta: Array) -> Array:
    """Q^-1 of the levels of one term, (m, m)."""
    kind = term.covariance
    if kind.across is None:
        return np.eye(term.m)
    q = kind.across.precision(theta[phi_of(kind, theta)])
    b = free(q)
    return b @ np.linalg.inv(b.T @ q.matrix.toarray() @ b) @ b.T


def free(q: Precision | None, m: int = 0) -> Array:
    """Orthonormal basis of what the constraints of Q leave of its m levels: all of them where it has none."""
    if isinstance(q, Constrained):
        return null_space(q.sums.T)
    return np.eye(m if q is None else len(q.diagonal))


@dataclass(frozen=True)
class Oracle:
    """Criterion and predictions of a problem at one theta from the n x n matrix V."""

    problem: Problem
    theta: Array
    reml: bool

    @property
    def weights(self) -> Array:
        return np.ones(self.problem.n) if self.problem.weights is None else self.problem.weights

    @property
    def target(self) -> Array:
        return self.problem.y - (0.0 if self.problem.offset is None else self.problem.offset)

    def sigma_blocks(self) -> list[Array]:
        out = []
        for term, s in zip(self.problem.terms, self.problem.theta_slices(), strict=True):
            lower = term.covariance.cholesky(self.theta[s])
            out.append(np.kron(across_covariance(term, self.theta[s]), lower @ lower.T))
        return out

    @property
    def v(self) -> Array:
        """V = W^-1 + sum Z Sigma Z'."""
        out = np.diag(1.0 / self.weights)
        for term, sigma in zip(self.problem.terms, self.sigma_blocks(), strict=True):
            z = z_matrix(term)
            out += z @ sigma @ z.T
        return out

    @property
    def n_eff(self) -> int:
        return self.problem.n - (self.problem.p if self.reml else 0)

    def solve(self) -> tuple[Array, Array, float]:
        """beta, (X'V^-1X)^-1, r2."""
        x, inverse = self.problem.X.matrix, np.linalg.inv(self.v)
        cov = np.linalg.inv(x.T @ inverse @ x)
        beta = cov @ x.T @ inverse @ self.target
        e = self.target - x @ beta
        return beta, cov, float(e @ inverse @ e)

    @property
    def deviance(self) -> float:
        _, cov, r2 = self.solve()
        value = np.linalg.slogdet(self.v)[1] + self.n_eff * (1 + np.log(2 * np.pi * r2 / self.n_eff))
        return float(value - (np.linalg.slogdet(cov)[1] if self.reml else 0.0))

    def modes(self) -> list[Array]:
        """b = Sigma Z'V^-1 (y - X beta)."""
        beta = self.solve()[0]
        e = np.linalg.solve(self.v, self.target - self.problem.X.matrix @ beta)
        terms = zip(self.problem.terms, self.sigma_blocks(), strict=True)
        return [(sigma @ z_matrix(t).T @ e).reshape(t.m, t.k) for t, sigma in terms]


def make_term(
    name: str, codes: NDArray[np.integer], kind: CovarianceKind, rng: np.random.Generator
) -> GroupBlock:
    """A term with an intercept and standard normal slopes on the levels of `codes`."""
    _, codes = np.unique(codes, return_inverse=True)
    n, k = len(codes), kind.k
    basis = None if k == 1 else np.column_stack([np.ones(n), rng.normal(size=(n, k - 1))])
    levels = np.array([f"{name}{i}" for i in range(int(codes.max()) + 1)], dtype=object)
    columns = ("(Intercept)", *(f"x{j}" for j in range(1, k)))
    return GroupBlock(name, columns, levels, codes.astype(np.int32), basis, kind, f"{name} term")


LAYOUTS: dict[str, tuple[tuple[str, str, int], ...]] = {
    "one": (("g", "us", 1),),
    "slopes": (("g", "us", 2),),
    "crossed": (("g", "us", 1), ("h", "us", 1)),
    "crossed slopes": (("h", "us", 2), ("g", "us", 3), ("f", "iid", 1)),
    "nested": (("g", "us", 1), ("gk", "us", 2)),
    "nested, named coarse first": (("gkl", "us", 1), ("g", "diag", 2), ("gk", "us", 1)),
    "chain and crossed": (("gkl", "us", 2), ("h", "us", 2), ("gk", "us", 1), ("f", "us", 1), ("g", "us", 2)),
    "same factor twice": (("g", "us", 1), ("g", "us", 2), ("h", "us", 1)),
    "structured": (("g", "cs", 3), ("h", "ar1", 4), ("f", "diag", 2)),
    "lags and ranks": (("g", "toep", 3), ("h", "hetar1", 3), ("f", "homcs", 3), ("gk", "rr", 3)),
    "iid slopes": (("g", "iid", 3), ("h", "us", 1)),
}
"""Arrangements of grouping factors: gkl in gk in g are nested, h and f crossed with them."""


def make_problem(layout: str, *, n: int = 150, seed: int = 1, weighted: bool = True) -> Problem:
    """A problem with the groups of `LAYOUTS[layout]`, two fixed effects of unlike scale, weights and an offset."""
    rng = np.random.default_rng(seed)
    g, h, f = rng.integers(0, 14, n), rng.integers(0, 8, n), rng.integers(0, 4, n)
    gk = g * 3 + rng.integers(0, 3, n)
    gkl = gk * 2 + rng.integers(0, 2, n)
    codes = {"g": g, "h": h, "f": f, "gk": gk, "gkl": gkl}
    terms = tuple(make_term(c, codes[c], KINDS[kind](k), rng) for c, kind, k in LAYOUTS[layout])
    x = np.column_stack([np.ones(n), 50 + 100 * rng.normal(size=n)])
    y = 1000 + 0.3 * x[:, 1] + rng.normal(size=n)
    for term in terms:
        z, kind = z_matrix(term), term.covariance
        u = rng.normal(size=z.shape[1])
        if kind.within.rank < kind.k:
            u = (u.reshape(-1, kind.k) @ kind.cholesky(kind.start()).T).ravel()
        y += z @ u
    weights = rng.uniform(0.5, 2.0, n) if weighted else None
    offset = rng.normal(size=n) if weighted else None
    fixed = FixedBlock(x, ("(Intercept)", "x"), (0, 1), ("x",))
    return Problem(y, fixed, terms, weights, offset, resolve("gaussian"), layout, np.arange(n), n_rows_data=n)


def random_theta(problem: Problem, seed: int = 2) -> Array:
    """A theta in the interior, different for every element."""
    rng = np.random.default_rng(seed)
    starts = np.concatenate([t.covariance.start() for t in problem.terms])
    return starts + 0.3 * rng.normal(size=len(starts))


def relationship(m: int, seed: int = 3) -> Array:
    """A covariance matrix of m levels, as of a pedigree: dense, its inverse sparse."""
    rng = np.random.default_rng(seed)
    half = np.eye(m)
    for child in range(4, m):
        parents = rng.choice(child, 2, replace=False)
        half[child] = 0.5 * half[parents[0]] + 0.5 * half[parents[1]]
        half[child, child] = np.sqrt(0.5)
    return half @ half.T


def neighbours(m: int) -> Array:
    """Weights of neighbours on a map of two parts and an island: a cycle with a chord, and a chain."""
    w, first = np.zeros((m, m)), m // 2
    for i in range(m - 2):
        if i != first - 1:
            w[i, i + 1] = 1.0
    w[0, first - 1] = w[0, first // 2] = 0.5
    return w + w.T


def structures(m: int) -> dict[str, Across]:
    """A structure across m levels of each kind."""
    from scipy.sparse import csr_array

    rng = np.random.default_rng(4)
    chain = np.eye(m, k=1) + np.eye(m, k=-1)
    chain[0, m - 1] = chain[m - 1, 0] = 0.5
    half = neighbours(m - m // 2)
    return {
        "icar": Icar(csr_array(neighbours(m))),
        "bym2": Bym2(csr_array(half)) if m % 2 == 0 else Icar(csr_array(neighbours(m))),
        "known": Known.of_covariance(relationship(m)),
        "precision": Known.of_precision(csr_array(np.linalg.inv(relationship(m, 5)))),
        "ar1": Markov(rng.permutation(m).astype(float)),
        "ou": Markov(np.cumsum(rng.uniform(0.2, 1.0, m)), "ou"),
        "car": Car(csr_array(chain)),
        "exp": Kernel(rng.normal(size=(m, 2))),
        "gau": Kernel(rng.normal(size=(m, 1)) + np.arange(m)[:, None], "gau"),
        "mat": Kernel(rng.normal(size=(m, 2)), "mat"),
        "series": Markov(rng.permutation(m) * 0.5, "ar1", np.arange(m) % 3),
        "fields": Kernel(rng.normal(size=(m, 3)), "exp", np.arange(m) % 2),
        "propto": Proportional(relationship(m, 6), rng.permutation(m), np.arange(m) // 4),
    }


GENERAL: dict[str, tuple[tuple[str, str, int, str | None, bool], ...]] = {
    "known": (("g", "us", 1, "known", False),),
    "known beside itself": (("g", "us", 1, "known", False), ("g", "us", 1, None, False)),
    "known slopes and crossed": (("h", "us", 1, None, False), ("g", "us", 2, "precision", False)),
    "ar1 levels": (("g", "us", 1, "ar1", False), ("h", "us", 1, None, False)),
    "ou slopes": (("g", "diag", 2, "ou", False),),
    "areas": (("g", "us", 1, "car", False), ("gk", "us", 1, None, False)),
    "intrinsic": (("g", "us", 1, "icar", False),),
    "intrinsic slopes": (
        ("g", "us", 2, "icar", False),
        ("gk", "us", 1, None, False),
        ("h", "us", 1, "icar", False),
    ),
    "structured and not": (("g", "us", 1, "bym2", False), ("h", "us", 2, None, False)),
    "structured slopes": (("h", "us", 2, "bym2", False),),
    "fields": (("g", "us", 1, "exp", False), ("h", "us", 1, "gau", False)),
    "members": (("g", "us", 1, None, True),),
    "member slopes, nested and crossed": (
        ("gk", "us", 1, None, False),
        ("h", "us", 2, None, True),
        ("g", "us", 2, None, False),
        ("f", "us", 1, None, True),
    ),
    "columns of members": (("h", "us", 2, None, True), ("g", "us", 1, None, False)),
    "columns of dependent members": (("g", "us", 2, "ar1", True), ("f", "diag", 2, None, True)),
    "dependent members": (("g", "us", 2, "ar1", True), ("f", "us", 1, None, False)),
    "smooth field": (("g", "us", 1, "mat", False),),
    "series and known blocks": (("gk", "us", 1, "series", False), ("h", "us", 1, "propto", False)),
    "fields in groups": (("g", "diag", 2, "fields", False), ("f", "us", 1, None, False)),
}
"""Arrangements of terms: grouping factor, kind, columns, structure across levels, whether rows have several levels."""


def general_problem(layout: str, *, n: int = 150, seed: int = 1, weighted: bool = True) -> Problem:
    """The problem of :func:`make_problem` with the terms of `GENERAL[layout]`."""
    base = make_problem("one", n=n, seed=seed, weighted=weighted)
    rng = np.random.default_rng(seed)
    g, h, f = rng.integers(0, 14, n), rng.integers(0, 8, n), rng.integers(0, 4, n)
    codes = {"g": g, "h": h, "f": f, "gk": g * 3 + rng.integers(0, 3, n)}
    terms, y = [], base.y
    for name, kind, k, across, several in GENERAL[layout]:
        term = make_term(name, codes[name], KINDS[kind](k), rng)
        if across is not None:
            term = replace(term, covariance=Structured(term.covariance.within, structures(term.m)[across]))
        if several:
            more = rng.integers(0, term.m, (n, 2)).astype(np.int32)
            shares = rng.uniform(0.2, 1.0, (n, 3)) * (rng.uniform(size=(n, 3)) < 0.8)
            term = replace(term, codes=np.column_stack([term.codes, more]), shares=shares)
            if layout.startswith("columns") and term.basis is not None:
                basis = np.repeat(term.basis[:, None], 3, axis=1)
                basis[..., 1:] += rng.normal(size=(n, 3, k - 1))
                term = replace(term, basis=basis)
        terms.append(term)
        y = y + z_matrix(term) @ rng.normal(size=term.q)
    return replace(base, terms=tuple(terms), y=y, formula=layout)
