"""`python -m tools.benchmark ablation`: what each part of the automatic method is worth."""
