"""Bayesian fits: everything Gaussian given the variances is integrated out, and only the variances are sampled."""
