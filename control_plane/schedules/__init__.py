"""Recurring imports and validations."""
