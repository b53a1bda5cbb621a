"""Data for training: declared once, ingested into immutable snapshots, profiled and checked."""
