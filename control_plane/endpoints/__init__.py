"""Endpoints, their drafts and their releases."""
