"""Marginal means, slopes and joint tests of a fit of several responses: those of each, together.

The response is one more label of the estimates, and comparisons are made within it unless they are asked for across responses.
All estimates are combinations of the coefficients of one model, so that contrasts between responses have their standard errors.
A response whose formula has none of the variables that are asked about is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lmmformula.errors import PlanError
from lmmformula.inference.location import coefficients as location
from lmmformula.inference.location.known import known_of_mean
from lmmformula.inference.means.estimates import Estimates
from lmmformula.inference.means.grid import Label, predictors
from lmmformula.inference.means.joint import JointRow, joint_rows
from lmmformula.inference.means.record import Means, regridded
from lmmformula.inference.means.scales import IDENTITY
from lmmformula.inference.means.specs import names_in, read_specs
from lmmformula.inference.one_response import OneResponse, responses_of
from lmmformula.typing import Argument, Arguments

if TYPE_CHECKING:
    from lmmformula.inference.fitted import Fitted
    from lmmformula.inference.records import Cluster

__all__ = ["RESPONSE", "joint_tests", "means_by_response"]

RESPONSE = "response"
"""Label of the estimates that says which response they are of, as the index of predictions has it."""

Make = Callable[..., tuple[Means, str]]


def means_by_response(
    make: Make, fit: Fitted, specs: str | Iterable[str], *positional: str, **options: Any
) -> tuple[Means, str]:
    """What `make` finds of a fit; of one of several responses what it finds of each, together.

    Parameters
    ----------
    make : callable
        :func:`lmmformula.inference.means.marginal.marginal_means` or :func:`lmmformula.inference.means.trends.trends`.
    fit : Fitted
    specs : str or list of str
    positional : str
        A variable whose slopes are asked for.
    options
        Arguments of `make`.

    Raises
    ------
    PlanError
        For other parameters than the mean, and averages over random effects, of several responses.
    """
    if not fit.problem.responses:
        return make(fit, specs, *positional, **options)
    _refuse(options)
    wanted = read_specs(specs, options.get("by"))
    at = options.get("at") or {}
    each = _having(responses_of(fit), (*wanted.shown, *positional))
    ddf, vcov, cluster = options.get("ddf", "satterthwaite"), options.get("vcov"), options.get("cluster")
    found = [
        make(own.fitted, specs, *positional, **(options | {"at": _of_formula(own, each, at)})) for own in each
    ]
    joined = _joined(
        fit, each, [m for m, _ in found], options.get("kind"), ddf=ddf, vcov=vcov, cluster=cluster
    )
    return joined, found[0][1]


def joint_tests(
    fit: Fitted,
    *,
    by: str | Iterable[str] | None = None,
    at: Arguments | None = None,
    **options: Any,
) -> tuple[list[JointRow], tuple[str, ...]]:
    """Joint tests and the names of what they are made within: of each response, if there are several."""
    within = () if by is None else names_in(by)
    if not fit.problem.responses:
        return joint_rows(fit, by=by, at=at, **options), within
    each = _having(responses_of(fit), within)
    rows = [
        replace(row, by=(own.name, *row.by))
        for own in each
        for row in joint_rows(own.fitted, by=by, at=_of_formula(own, each, at or {}), **options)
    ]
    return rows, (RESPONSE, *within)


def _refuse(options: Arguments) -> None:
    asked = {
        "component": options.get("component") is not None,
        "average='population'": options.get("average") == "population",
        "bias_adjust=True": options.get("bias_adjust") is True,
    }
    for name, is_asked in asked.items():
        if is_asked:
            raise PlanError(
                f"{name} is for a fit of one response, and this one has several: leave it out, or fit that response by itself."
            )


def _having(each: Sequence[OneResponse], names: Sequence[str]) -> list[OneResponse]:
    """Responses whose formula has all of these variables; all of them, to be refused by name, where none has."""
    return [own for own in each if set(names) <= set(predictors(own.fitted))] or list(each)


def _of_formula(own: OneResponse, each: Sequence[OneResponse], at: Arguments) -> Arguments:
    """Values of the variables of one formula, and of those that no formula has."""
    here, elsewhere = set(predictors(own.fitted)), {n for o in each for n in predictors(o.fitted)}
    return {name: value for name, value in at.items() if name in here or name not in elsewhere}


def _joined(
    fit: Fitted,
    each: Sequence[OneResponse],
    found: Sequence[Means],
    kind: Argument,
    *,
    ddf: str,
    vcov: str | None,
    cluster: Cluster,
) -> Means:
    """The means of each response as one record; on the scale of the response where links differ and that is asked for."""
    notes: list[str] = []
    if len({m.scale.name for m in found}) > 1:
        if kind == "response":
            found = [regridded(replace(m, kind="link")) for m in found]
        notes.append(
            "Responses have links of their own: "
            + ("contrasts are differences." if kind == "response" else "each is on the scale of its own.")
        )
        found = [replace(m, scale=IDENTITY, name="emmean") for m in found]
    labels: dict[str, list[Label]] = {RESPONSE: []}
    labels |= {name: [] for m in found for name in m.labels}
    for own, m in zip(each, found, strict=True):
        count = len(m.estimates)
        for name, column in labels.items():
            column.extend([own.name] * count if name == RESPONSE else m.labels.get(name, [""] * count))
    parts = [m.estimates for m in found]
    width = max(e.excess.shape[1] for e in parts)
    estimates = Estimates(
        np.concatenate([e.point for e in parts]),
        np.concatenate([own.spread_out(e.rows) for own, e in zip(each, parts, strict=True)]),
        np.concatenate([np.pad(e.excess, ((0, 0), (0, width - e.excess.shape[1]))) for e in parts]),
        known_of_mean(fit, ddf, vcov, cluster),
        location.coefficients(fit),
    )
    said = dict.fromkeys(note for m in found for note in m.notes)
    return replace(
        found[0],
        labels=labels,
        by=(RESPONSE, *dict.fromkeys(name for m in found for name in m.by)),
        estimates=estimates,
        averaged=tuple(dict.fromkeys(name for m in found for name in m.averaged)),
        notes=(*said, *notes),
    )
