"""What follows from an estimate: intervals, tests, random effects, predictions, simulations."""
