"""Slow-lane handlers: decode, ask, encode."""
