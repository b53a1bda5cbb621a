"""The HTTP data plane: one process, one event loop, one engine."""
