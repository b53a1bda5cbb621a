"""People, roles, sessions and the roster of signing keys."""
