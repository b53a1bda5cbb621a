"""Loads model packages, answers batches, records evidence; knows no HTTP."""
