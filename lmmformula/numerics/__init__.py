"""Kernels that know no statistics."""
