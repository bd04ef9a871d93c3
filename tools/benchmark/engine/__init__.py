"""`python -m tools.benchmark engine`: time, memory and equality of the propagation engine."""
