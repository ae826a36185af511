"""Linear algebra with M = Lambda' Z'WZ Lambda + I."""
