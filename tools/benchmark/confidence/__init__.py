"""`python -m tools.benchmark confidence`: how well confidence tells which slices are wrong."""
