"""Lineage of spans by version, and the choice of what a training starts from."""
