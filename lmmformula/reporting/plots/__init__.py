"""Plots by matplotlib, imported when a plot is asked for and not before."""

from __future__ import annotations

from lmmformula.reporting.plots.namespace import Plots as Plots

__all__ = ["Plots"]
