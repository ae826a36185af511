"""Recipes: criterion, engine and optimiser put together."""
