"""3D U-Nets: what the 2D system is measured against, and what the recipes of four papers train."""
