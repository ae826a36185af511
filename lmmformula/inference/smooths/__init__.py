"""What a fit says of its smooths: degrees of freedom, tests, curves with bands."""
