"""Rewrites of a checked condition: tree in, tree out, the same meaning, a stated growth bound."""
