"""The mean of a population: fixed effects together with the penalised parts of smooths that all rows share.

``coefficients`` has these as one vector with its columns, ``spread`` their covariance matrix, ``known`` the tests of linear
combinations of them. Without smooths all of it is what the fixed effects alone have.
"""
