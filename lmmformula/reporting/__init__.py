"""A fit as text, HTML and tidy frames."""
