"""Keyslice in napari: paint key slices in a Labels layer, get proposals in another one."""
