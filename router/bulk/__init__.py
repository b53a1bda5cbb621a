"""Bulk jobs: the same routes and models over files, resumable, with evidence."""
