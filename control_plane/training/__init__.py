"""Training: a recipe fitted on a snapshot, measured on held-out rows, packaged and registered."""
