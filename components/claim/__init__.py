"""Claim of a run of dynamic training, its first task."""
