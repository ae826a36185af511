"""lme4's fast approximation of generalised models: fixed effects in the penalised least squares, ``nAGQ = 0``."""

from __future__ import annotations

from benchmarks.adapters.r import RPeer

ADAPTER = RPeer("lme4", "nagq0")
