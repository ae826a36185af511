"""Methods and engines as people write them."""

from __future__ import annotations

__all__ = ["engine_name", "method_name"]

_METHODS = {
    "reml": "REML",
    "ml": "maximum likelihood",
    "laplace": "Laplace approximation",
    "pql": "penalised quasi-likelihood (PQL)",
    "pql, corrected": "PQL, corrected to Laplace's approximation",
    "krylov": "maximum likelihood by Krylov iterations",
    "hmc": "posterior by Hamiltonian Monte Carlo",
}
_ENGINES = {
    "blocked": "exact factorisation by blocks",
    "dense": "exact dense factorisation",
    "krylov": "Krylov iterations",
    "backfitting": "backfitting",
}


def method_name(method: str) -> str:
    """A method of :func:`lmmformula.fit` in words; one that is not known as it stands."""
    return _METHODS.get(method, method)


def engine_name(engine: str) -> str:
    """An engine in words; one that is not known as it stands."""
    return _ENGINES.get(engine, engine)
