"""The connection pool and the migrations."""
