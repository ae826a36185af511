"""Dense definitions, from the rows, of what the package computes in blocks; and problems to try them on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmmformula.families import resolve
from lmmformula.ir.covariance import KINDS, CovarianceKind
from lmmformula.ir.problem import FixedBlock, GroupBlock, Problem
from lmmformula.typing import Array


def z_matrix(term: GroupBlock) -> Array:
    """Z of one term, (n, q), effects of a level side by side."""
    n = len(term.codes)
    basis = np.ones((n, 1)) if term.basis is None else term.basis
    out = np.zeros((n, term.q))
    for r in range(n):
        out[r, term.codes[r] * term.k : (term.codes[r] + 1) * term.k] = basis[r]
    return out


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
            out.append(np.kron(np.eye(term.m), lower @ lower.T))
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
        z = z_matrix(term)
        y += z @ rng.normal(size=z.shape[1])
    weights = rng.uniform(0.5, 2.0, n) if weighted else None
    offset = rng.normal(size=n) if weighted else None
    fixed = FixedBlock(x, ("(Intercept)", "x"), (0, 1), ("x",))
    return Problem(y, fixed, terms, weights, offset, resolve("gaussian"), layout, np.arange(n), n_rows_data=n)


def random_theta(problem: Problem, seed: int = 2) -> Array:
    """A theta in the interior, different for every element."""
    rng = np.random.default_rng(seed)
    starts = np.concatenate([t.covariance.start() for t in problem.terms])
    return starts + 0.3 * rng.normal(size=len(starts))
