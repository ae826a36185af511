"""lme4 as its vignette on performance advises: no derivatives after the search, nloptwrap for both stages."""

from __future__ import annotations

from benchmarks.adapters.r import RPeer

ADAPTER = RPeer("lme4", "advised")
