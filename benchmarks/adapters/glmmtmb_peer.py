"""glmmTMB: Laplace's approximation by automatic differentiation."""

from __future__ import annotations

from benchmarks.adapters.r import RPeer

ADAPTER = RPeer("glmmTMB")
