"""Rollout of a version by a canary: it is staged, gets part of the traffic, and is then promoted or rolled back."""
