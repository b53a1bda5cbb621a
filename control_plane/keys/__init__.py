"""Keys that callers of an endpoint present."""
