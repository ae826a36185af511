"""Which parts of a model are needed: tests of variances, terms dropped, criteria, predictions of rows left out."""
