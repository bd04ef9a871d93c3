"""`python -m tools.benchmark throughput`: volumes per hour of a run over many."""
