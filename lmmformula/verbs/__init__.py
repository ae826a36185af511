"""The methods of a fit by what they are for; :class:`lmmformula.Fit` inherits all of them.

Each is one call into :mod:`lmmformula.inference` or :mod:`lmmformula.reporting`, imported when it is first made, so that a fit
costs nothing for questions that nobody asks.
"""

from lmmformula.verbs.bayesian import BayesianVerbs
from lmmformula.verbs.checking import CheckingVerbs
from lmmformula.verbs.means import MeansVerbs
from lmmformula.verbs.meta import MetaVerbs
from lmmformula.verbs.monotonic import MonotonicVerbs
from lmmformula.verbs.replication import ReplicationVerbs
from lmmformula.verbs.rows import RowVerbs
from lmmformula.verbs.selection import SelectionVerbs
from lmmformula.verbs.smooths import SmoothVerbs
from lmmformula.verbs.testing import TestingVerbs

__all__ = [
    "VERBS",
    "BayesianVerbs",
    "CheckingVerbs",
    "MeansVerbs",
    "MetaVerbs",
    "MonotonicVerbs",
    "ReplicationVerbs",
    "RowVerbs",
    "SelectionVerbs",
    "SmoothVerbs",
    "TestingVerbs",
]

VERBS = frozenset(
    name
    for own in (
        BayesianVerbs,
        CheckingVerbs,
        MeansVerbs,
        MetaVerbs,
        MonotonicVerbs,
        ReplicationVerbs,
        SelectionVerbs,
        SmoothVerbs,
        TestingVerbs,
    )
    for name in vars(own)
    if not name.startswith("_")
)
"""Names of the verbs."""
