"""`python -m tools.benchmark interaction`: how many interactions an annotator needs."""
