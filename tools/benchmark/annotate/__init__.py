"""`python -m tools.benchmark annotate`: how fast the annotation page answers, in a real browser."""
