"""Names of intervals by bootstrap, which whoever reads arguments knows before anything is computed."""

__all__ = ["TYPES"]

TYPES = ("percentile", "basic", "normal", "bca")
