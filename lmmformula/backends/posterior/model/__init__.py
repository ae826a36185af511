"""What is sampled: linear predictors, coordinates of their variances, cells of rows, starts."""
