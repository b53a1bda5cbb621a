"""Work that outlives a request: a queue in PostgreSQL and the worker that empties it."""
