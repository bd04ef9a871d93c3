"""`python -m tools.benchmark propagation`: Keyslice beside classical tools at the same key slices."""
