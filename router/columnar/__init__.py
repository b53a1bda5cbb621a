"""The decisions of an endpoint over whole columns: streams, bulk jobs, anything with many rows."""
