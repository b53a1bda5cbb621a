"""Benchmarks that reproduce the figures of the README, side by side with peers."""
