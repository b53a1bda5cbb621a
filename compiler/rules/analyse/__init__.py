"""Findings about a table, each with a row that shows it."""
