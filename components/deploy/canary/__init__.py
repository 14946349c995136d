"""Canary deployment: the state machine of a new version's traffic, the evidence, and the decision."""
