"""`python -m tools.benchmark compare`: propagation in 2D against 3D U-Nets and their self-training recipes."""
