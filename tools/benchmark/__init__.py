"""Benchmarks on real CT: `python -m tools.benchmark propagation --data FOLDER`."""
