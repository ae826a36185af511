r"""The model in NumPyro as one would write it, with nothing or one class of random effects integrated out.

Non-centred effects ``b_l = D C z_l`` with C ~ LKJCholesky(1), half-normal standard deviations, normal coefficients: equally
weak priors, 2.5 standard deviations of the response. One class is integrated out by the matrix inversion and determinant lemmas
(Lai, Domke & Sheldon 2024, eqs. 4-5), block by block: with r the residual without its effects, A_l = Z_l'Z_l and S = L L'::

    log|V| = 2 n log sigma + sum_l log|I + L'A_l L / sigma^2|
    r'V^-1 r = (r'r - sum_l s_l' L (sigma^2 I + L'A_l L)^-1 L's_l) / sigma^2,      s_l = Z_l'r

and recovered afterwards from N(L (sigma^2 I + L'A_l L)^-1 L's_l, sigma^2 L (sigma^2 I + L'A_l L)^-1 L').
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmmformula.ir.problem import Problem
from lmmformula.typing import Array, Index

__all__ = ["Plain", "sample"]


@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    """The arrays of a problem, and which class is integrated out.

    Attributes
    ----------
    y : (n,) array
    x : (n, p) array
        Columns centred but for the intercept.
    codes : tuple of (n,) arrays
    bases : tuple of (n, k) arrays
    levels : tuple of int
    names : tuple of str
    without : str
        Class that is integrated out; "" for none.
    """

    y: Array
    x: Array
    codes: tuple[Index, ...]
    bases: tuple[Array, ...]
    levels: tuple[int, ...]
    names: tuple[str, ...]
    without: str

    @classmethod
    def of(cls, problem: Problem, without: str = "") -> Plain:
        """From the problem that the formula and the data make."""
        x = problem.X.matrix.copy()
        x[:, 1:] -= x[:, 1:].mean(axis=0)
        terms = problem.terms
        bases = tuple(np.ones((problem.n, 1)) if t.basis is None else t.basis for t in terms)
        names = tuple(t.group for t in terms)
        levels = tuple(len(t.levels) for t in terms)
        codes = tuple(t.codes.astype(np.int64) for t in terms)
        return cls(problem.y, x, codes, bases, levels, names, without)

    def sums(self, i: int, values: Any, xp: Any) -> Any:
        """Z'values of class i, (m, k, ...)."""
        out = xp.zeros((self.levels[i], *values.shape[1:]))
        return out.at[self.codes[i]].add(values)

    def model(self) -> None:
        """The NumPyro model."""
        import jax.numpy as jnp
        import numpyro
        import numpyro.distributions as dist

        sd_y = float(self.y.std())
        scales = sd_y / np.append(1.0, self.x[:, 1:].std(axis=0))
        centre = np.append(self.y.mean(), np.zeros(self.x.shape[1] - 1))
        beta: Any = numpyro.sample("beta", dist.Normal(centre, 2.5 * scales).to_event(1))
        sigma: Any = numpyro.sample("sigma", dist.HalfNormal(2.5 * sd_y))
        mean, marginal = self.x @ beta, None
        for i, name in enumerate(self.names):
            lower = self._factor(i, sd_y)
            if name == self.without:
                marginal = i, lower
                continue
            shape = (self.levels[i], self.bases[i].shape[1])
            z: Any = numpyro.sample(f"z_{name}", dist.Normal(0.0, 1.0).expand(shape).to_event(2))
            b: Any = numpyro.deterministic(f"effects of {name}", z @ lower.T)
            mean = mean + jnp.sum(self.bases[i] * b[self.codes[i]], axis=1)
        if marginal is None:
            numpyro.sample("y", dist.Normal(mean, sigma), obs=self.y)
        else:
            numpyro.factor("y", self._density(*marginal, self.y - mean, sigma))

    def _factor(self, i: int, sd_y: float) -> Any:
        """L of class i."""
        import numpyro
        import numpyro.distributions as dist

        k, name = self.bases[i].shape[1], self.names[i]
        scales = 2.5 * sd_y / np.maximum(self.bases[i].std(axis=0), 1e-9)
        scales = np.where(self.bases[i].std(axis=0) > 0, scales, 2.5 * sd_y)
        sd: Any = numpyro.sample(f"sd_{name}", dist.HalfNormal(scales).to_event(1))
        if k == 1:
            return sd[:, None]
        return sd[:, None] * numpyro.sample(f"cor_{name}", dist.LKJCholesky(k, 1.0))

    def _blocks(self, i: int, lower: Any, residual: Any, sigma: Any) -> tuple[Any, Any]:
        """sigma^2 I + L'A_l L, (m, k, k), and L's_l, (m, k)."""
        import jax.numpy as jnp

        a = np.zeros((self.levels[i], *[self.bases[i].shape[1]] * 2))
        np.add.at(a, self.codes[i], self.bases[i][:, :, None] * self.bases[i][:, None, :])
        s = self.sums(i, self.bases[i] * residual[:, None], jnp)
        return lower.T @ a @ lower + sigma**2 * jnp.eye(len(lower)), s @ lower

    def _density(self, i: int, lower: Any, residual: Any, sigma: Any) -> Any:
        """log N(residual; 0, V)."""
        import jax.numpy as jnp

        blocks, s = self._blocks(i, lower, residual, sigma)
        half = jnp.linalg.cholesky(blocks)
        z = jnp.linalg.solve(half, s[..., None])[..., 0]
        log_det = 2.0 * jnp.log(jnp.diagonal(half, axis1=1, axis2=2)).sum()
        n, q = len(self.y), s.size
        return -0.5 * (
            log_det + (2 * n - 2 * q) * jnp.log(sigma) + (residual @ residual - (z**2).sum()) / sigma**2
        )

    def recovered(self, draws: Mapping[str, Any], key: Any) -> Any:
        """A draw of the effects that were integrated out for each draw of the rest, (S, m, k)."""
        import jax
        import jax.numpy as jnp

        i = self.names.index(self.without)

        def one(own: Mapping[str, Any], key: Any) -> Any:
            mean = self.x @ own["beta"]
            for j, name in enumerate(self.names):
                if j != i:
                    mean = mean + jnp.sum(self.bases[j] * own[f"effects of {name}"][self.codes[j]], axis=1)
            sd, name = own[f"sd_{self.without}"], f"cor_{self.without}"
            lower = sd[:, None] * own[name] if name in own else sd[:, None]
            blocks, s = self._blocks(i, lower, self.y - mean, own["sigma"])
            half = jnp.linalg.inv(jnp.linalg.cholesky(blocks))
            z = own["sigma"] * jax.random.normal(key, s.shape) + jnp.einsum("mij,mj->mi", half, s)
            return jnp.einsum("mij,mi->mj", half, z) @ lower.T

        keys = jax.random.split(key, len(draws["sigma"]))
        return jax.jit(jax.vmap(one))(dict(draws), keys)


def sample(plain: Plain, warmup: int, draws: int, seed: int) -> tuple[dict[str, Array], int]:
    """One chain of NumPyro's NUTS as it comes: every parameter (1, draw, ...), and the number of divergences."""
    import jax
    from numpyro.infer import MCMC, NUTS

    chain = MCMC(NUTS(plain.model), num_warmup=warmup, num_samples=draws, progress_bar=False)
    first, second = jax.random.split(jax.random.PRNGKey(seed))
    chain.run(first)
    own = dict(chain.get_samples())
    if plain.without:
        own[f"effects of {plain.without}"] = plain.recovered(own, second)
    out = {name: np.asarray(v)[None] for name, v in own.items() if not name.startswith("z_")}
    return out, int(np.asarray(chain.get_extra_fields()["diverging"]).sum())
