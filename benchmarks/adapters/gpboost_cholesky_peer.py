"""GPBoost with exact factorisations in place of its iterative default."""

from __future__ import annotations

from benchmarks.adapters.gpboost_peer import preparer, refuse
from benchmarks.adapters.python import PythonPeer

ADAPTER = PythonPeer("gpboost", "gpboost", preparer("cholesky"), refuse)
