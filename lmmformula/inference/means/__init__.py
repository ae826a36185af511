"""Marginal means, contrasts and trends.

``specs`` reads what is asked for, ``grid`` makes the reference grid, ``averaging`` averages it, ``estimates`` holds linear
combinations with their uncertainty, ``scales`` transforms them back, ``comparisons`` names contrasts, ``record`` joins these
into one result that ``tables`` tabulates.
"""
