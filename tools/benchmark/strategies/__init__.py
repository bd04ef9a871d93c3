"""`python -m tools.benchmark strategies`: which slices should become key slices."""
