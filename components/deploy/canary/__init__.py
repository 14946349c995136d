"""Canary deployment: the state machine of a new version's traffic, its evidence, and the decision that follows."""
