"""Fits in files: numbers and text in a documented container, no pickle."""

from lmmformula.keeping.fits import read_fit, write_fit

__all__ = ["read_fit", "write_fit"]
