"""Penalised smooths ``s(x)``, ``t2(x, z)``: bases, their mixed-model form, and what a formula's call becomes."""
