"""Hypotheses about parameters: their language, and their tests."""

from __future__ import annotations

from lmmformula.inference.hypotheses.hypothesis import hypothesis

__all__ = ["hypothesis"]
