"""The endpoint of the tests of rollouts."""

from support.rollout_world import world

__all__ = ["world"]
