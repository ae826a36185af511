"""What single rows and groups of rows do to a fit: deletion by updating, leverage, studentised residuals."""

from lmmformula.inference.influence.record import Cutoff, Influence
from lmmformula.inference.influence.verb import influence

__all__ = ["Cutoff", "Influence", "influence"]
