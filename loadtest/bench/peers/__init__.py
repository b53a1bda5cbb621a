"""What others serve the same models with."""
