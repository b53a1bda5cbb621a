"""The lending story: what a lender does with Interlock, played through its public API."""
