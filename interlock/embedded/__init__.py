"""Real PostgreSQL and Redis as our own children, from the binaries in their wheels."""
