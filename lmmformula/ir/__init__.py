"""The model as data."""
