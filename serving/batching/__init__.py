"""Micro-batching for models that are too heavy for the event loop."""
