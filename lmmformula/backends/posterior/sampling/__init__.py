"""Samplers: chains of NUTS, importance sampling."""
