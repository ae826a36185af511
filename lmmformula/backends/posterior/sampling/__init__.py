"""Samplers: chains of NUTS, importance sampling, surrogates, scales."""
