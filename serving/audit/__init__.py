"""The audit record, its crash-safe segments and the way to Postgres."""
