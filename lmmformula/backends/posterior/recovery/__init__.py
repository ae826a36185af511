"""Draws of what was integrated out, given the draws of what was sampled."""
