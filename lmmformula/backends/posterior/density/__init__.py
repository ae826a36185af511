"""Densities that the samplers draw from."""
