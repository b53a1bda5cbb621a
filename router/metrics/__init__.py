"""Counters in shared memory, summed over workers at scrape time."""
