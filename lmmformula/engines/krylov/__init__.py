"""Products with M and conjugate gradients in place of a factorisation; traces and log-determinants from probes."""
