"""Load generation with honest latency, verdicts and benchmarks."""
