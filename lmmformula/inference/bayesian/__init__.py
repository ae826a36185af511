"""What is asked of draws of a posterior: how well it predicts, what it depends on, how much it explains."""
