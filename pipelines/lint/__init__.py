"""Lint of compiled pipeline specs: what a platform would reject or silently ignore."""
