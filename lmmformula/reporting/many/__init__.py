"""Results of many fits, as the user has them."""
