"""Models, their versions and what happened to them."""
