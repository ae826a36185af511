"""Is the model right: residuals by simulation, tests of them, and checks of a fit, one module each."""
