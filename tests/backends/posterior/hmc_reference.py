"""Posterior of a small model by NumPyro's NUTS with nothing integrated out: writes `hmc_reference.json` beside this file.

Run as ``python tests/backends/posterior/hmc_reference.py``; takes half a minute. Fixed effects, random effects (non-centred)
and variances are all sampled, standard deviations on the log scale: nothing is shared with the package but the data.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lmmformula import build
from lmmformula.ir.problem import Problem

FILE = Path(__file__).with_name("hmc_reference.json")
PRIORS = {
    "b:(Intercept)": "normal(0, 5)",
    "b": "normal(0, 2)",
    "sd": "half_normal(2)",
    "cor": "lkj(2)",
    "sigma": "half_normal(2)",
}


def crossed(seed: int = 4, n: int = 160) -> Problem:
    """Ten subjects with correlated slopes, crossed with six items whose variance is small."""
    rng = np.random.default_rng(seed)
    s, i, x = rng.integers(0, 10, n), rng.integers(0, 6, n), rng.normal(size=n)
    b = rng.multivariate_normal([0, 0], [[1.0, 0.3], [0.3, 0.5]], 10)
    y = 2 + 0.5 * x + b[s, 0] + b[s, 1] * x + 0.2 * rng.normal(size=6)[i] + 0.8 * rng.normal(size=n)
    return build("y ~ x + (x | s) + (1 | i)", {"y": y, "x": x, "s": s.astype(str), "i": i.astype(str)})


def main() -> None:
    """Sample and write means, standard deviations and their Monte Carlo errors."""
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import MCMC, NUTS

    from lmmformula.numerics.mcmc import ess_bulk

    problem = crossed()
    x, s, i = problem.X.matrix[:, 1], problem.terms[0].codes, problem.terms[1].codes

    def model() -> None:
        b0 = numpyro.sample("(Intercept)", dist.Normal(0.0, 5.0))
        b1 = numpyro.sample("x", dist.Normal(0.0, 2.0))
        sd: Any = numpyro.sample("sd", dist.HalfNormal(2.0).expand([2]))
        sd_i = numpyro.sample("sd:i:Intercept", dist.HalfNormal(2.0))
        half = numpyro.sample("half", dist.LKJCholesky(2, 2.0))
        sigma = numpyro.sample("sigma", dist.HalfNormal(2.0))
        z: Any = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([10, 2]).to_event(2))
        v: Any = numpyro.sample("v", dist.Normal(0.0, 1.0).expand([6]).to_event(1))
        b: Any = numpyro.deterministic("b", z @ (sd[:, None] * half).T)
        eta = b0 + b[s, 0] + (b1 + b[s, 1]) * x + sd_i * v[i]
        numpyro.sample("y", dist.Normal(eta, sigma), obs=jnp.asarray(problem.y))

    with jax.enable_x64(True):
        sampler = NUTS(model, target_accept_prob=0.95)
        mcmc = MCMC(sampler, num_warmup=2_000, num_samples=40_000, num_chains=1, progress_bar=False)
        mcmc.run(jax.random.PRNGKey(1))
        samples: Any = mcmc.get_samples()
        draws: Any = {k: np.asarray(v) for k, v in samples.items()}
    own = {name: draws[name] for name in ("(Intercept)", "x", "sd:i:Intercept", "sigma")}
    own |= {"sd:s:Intercept": draws["sd"][:, 0], "sd:s:x": draws["sd"][:, 1]}
    own |= {"cor:s:Intercept:x": draws["half"][:, 1, 0]}
    facts = {
        name: {"mean": v.mean(), "sd": v.std(), "ess": float(ess_bulk(v[None]))} for name, v in own.items()
    }
    b = {"mean": draws["b"].mean(axis=0).tolist(), "sd": draws["b"].std(axis=0).tolist()}
    made_with = {"numpyro": numpyro.__version__, "jax": jax.__version__}
    FILE.write_text(json.dumps({"made_with": made_with, "parameters": facts, "b": b}, indent=1) + "\n")


if __name__ == "__main__":
    main()
