"""Block coordinate descent over grouping factors."""
