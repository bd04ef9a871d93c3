"""Learning from CT without labels: cross pseudo supervision, uncertainty, and rounds of pseudo-labels."""
