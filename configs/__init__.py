"""Configuration files, one folder a module."""
