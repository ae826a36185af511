r"""How the search ended: how far the estimates are from the optimum, and how well it is curved.

With g and H the gradient and Hessian of the deviance at the estimates, a Newton step promises ``g'H^-1 g / 2`` of deviance,
and moves the estimates by its root in standard errors, whatever their units. Scaled to a unit diagonal, ``D^-1/2 H D^-1/2``,
H has eigenvalues that add up to the number of parameters: one near zero is a direction in which the likelihood is flat.
"""

from __future__ import annotations

import numpy as np

from lmmformula.inference.checking.finding import Finding
from lmmformula.inference.checking.look import Look
from lmmformula.typing import Array

__all__ = ["curvature", "ended"]

FLAT = 1e-6
"""Smallest eigenvalue of a Hessian of unit diagonal."""


def ended(look: Look) -> list[Finding]:
    """Whether the search met its tolerance, or the draws describe the posterior."""
    fit = look.fit
    state = fit.estimate.convergence
    ratio = float(state.decrement / state.tolerance) if state.tolerance else np.nan
    if not state.status.good:
        return [
            Finding(
                "convergence",
                "problem",
                fit.inference.unfinished(),
                "The numbers are those of the last step and may be far from the estimates.",
                "Do what the sentence before says; m.allfit() compares engines and starts where it is there.",
                "what is still to gain, over the tolerance",
                ratio,
                1.0,
            )
        ]
    found = f"the search {state.status.value} ({fit.inference.counts})"
    if fit.inference.curvature() is not None and np.isfinite(state.decrement):
        away = float(np.sqrt(max(state.decrement, 0.0)))
        found += f"; the optimum is {away:.1g} standard errors away"
    statistic = "what is still to gain, over the tolerance"
    return [Finding("convergence", "fine", f"{found}.", "", "", statistic, ratio, 1.0)]


def curvature(look: Look) -> list[Finding]:
    """Eigenvalues of the scaled Hessian."""
    known = look.fit.inference.curvature()
    if known is None or not len(known[1]):
        return []
    values, vectors = scaled_eigenvalues(known[1])
    least, condition = float(values[0]), float(values[-1] / max(values[0], np.finfo(float).tiny))
    name = "smallest eigenvalue of the scaled Hessian"
    if least >= FLAT:
        found = f"the {name} is {least:.2g} (condition {condition:.2g}): the optimum is a proper maximum."
        return [Finding("curvature", "fine", found, "", "", name, least, FLAT)]
    largest = np.argsort(-np.abs(vectors[:, 0]))[:3]
    which = ", ".join(known[0][j] for j in largest if abs(vectors[j, 0]) > 0.1)
    how = "not at a maximum" if least <= 0.0 else "all but flat"
    found = f"the {name} is {least:.2g}: the likelihood is {how} along {which}."
    return [
        Finding(
            "curvature",
            "problem" if least <= 0.0 else "doubtful",
            found,
            "Estimates along that direction are not determined by the data, and their standard errors mean little.",
            "Simplify the random part, centre and scale its predictors, or fit from other starts (start=).",
            name,
            least,
            FLAT,
            about=which,
        )
    ]


def scaled_eigenvalues(hessian: Array) -> tuple[Array, Array]:
    """Eigenvalues, ascending, and vectors of the Hessian with its diagonal scaled to one."""
    diagonal = np.diagonal(hessian)
    scale = 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    return np.linalg.eigh(0.5 * (hessian + hessian.T) * np.outer(scale, scale))
