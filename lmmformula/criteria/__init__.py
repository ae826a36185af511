"""What is minimised: pure functions of a problem and theta."""
