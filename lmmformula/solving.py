"""From a plan to a fit: the search with its checkpoint, progress and interrupts, and what is said of its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lmmformula.checkpoints import keeping
from lmmformula.errors import warn
from lmmformula.interrupts import interrupts_keep
from lmmformula.ir.estimate import Status
from lmmformula.ir.problem import Problem
from lmmformula.planner import Planned
from lmmformula.progress import Report, expected, reporting, shifted, stage
from lmmformula.reporting.convergence import findings
from lmmformula.result import Fit, Recall

if TYPE_CHECKING:
    from lmmformula.keeping.checkpoint import Checkpoint

__all__ = ["announce", "solve"]


def solve(
    problem: Problem,
    planned: Planned,
    recall: Recall,
    progress: bool | Report | None,
    begun: float,
    checkpoint: str | Path | None = None,
) -> Fit:
    """The fit that a plan promises; an interrupt keeps what has been found, where that is worth having.

    With a checkpoint it begins where an earlier run stood, or is the finished fit of that.
    """
    problem, planned = _on_face(problem, planned)
    if checkpoint is None:
        return _searched(problem, planned, recall, progress, begun)
    from lmmformula.keeping.checkpoint import open_checkpoint

    stage("looking at the checkpoint")
    kept = open_checkpoint(checkpoint, problem, planned)
    found = kept.kept
    if found.estimate is not None:
        own = planned.plan, planned.backend, recall
        return Fit(problem, found.estimate, *own, None, found.posterior, planned.standard)
    try:
        with keeping(kept):
            result = _searched(problem, planned, recall, progress, begun, kept)
    except BaseException:
        kept.flush()
        raise
    if result.estimate.convergence.status is Status.INTERRUPTED:
        kept.flush()
    else:
        kept.finish(result.estimate, result.posterior)
    return result


def _on_face(problem: Problem, planned: Planned) -> tuple[Problem, Planned]:
    """Without the steps of monotonic effects that are zero, where a likelihood says which these are."""
    if problem.monotonic is None or not planned.backend.labels.is_deviance:
        return problem, planned
    from lmmformula.backends.monotonic import face_of
    from lmmformula.ir.standard_responses import standard_of

    stage("steps of monotonic effects")
    face = face_of(problem, planned.backend, planned.prepared)
    return face, replace(planned, standard=standard_of(face))


def _searched(
    problem: Problem,
    planned: Planned,
    recall: Recall,
    progress: bool | Report | None,
    begun: float,
    kept: Checkpoint | None = None,
) -> Fit:
    backend, standard = planned.backend, planned.standard
    with reporting(progress, backend.labels, begun) as report, interrupts_keep():
        expected(planned.plan.seconds)
        if report is not None and backend.labels.is_deviance:
            report = shifted(report, standard.deviance_shift(restricted=backend.restricted))
        stage("search")
        found = backend.fit(standard.problem, planned.prepared, progress=report)
    estimate = standard.outward(found.estimate)
    if kept is not None:
        estimate = kept.counted(estimate)
    return Fit(problem, estimate, planned.plan, backend, recall, found.point, found.posterior, standard)


def announce(result: Fit) -> None:
    """Warn of what a careful reader of the numbers must know."""
    for category, text in findings(result):
        warn(text, category)
