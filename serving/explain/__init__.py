"""Explanations of recorded predictions, computed outside the request."""
