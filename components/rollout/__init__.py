"""Rollout of a version by a canary: staged, a part of the traffic, then promoted or rolled back, by itself."""
