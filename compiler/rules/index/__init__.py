"""The range-aware bitmask index: which rules a value leaves possible, as bits of one integer."""
