"""What is integrated out, and by which way it is then sampled."""
