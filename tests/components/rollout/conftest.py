"""Fixtures of rollouts."""

from support.played_rollout import world

__all__ = ["world"]
