"""The annotation tool: a person paints a few slices of a CT in a browser, propagation proposes the others."""
