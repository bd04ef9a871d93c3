"""MONAI Label's server interface on the annotation server, for 3D Slicer and other clients of that protocol."""
