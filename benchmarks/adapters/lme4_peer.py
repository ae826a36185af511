"""lme4: `lmer`, and `glmer` for generalised models."""

from __future__ import annotations

from benchmarks.adapters.r import RPeer

ADAPTER = RPeer("lme4")
