"""What follows from a Gaussian fit with structured residuals, beside what follows from any."""

from __future__ import annotations
