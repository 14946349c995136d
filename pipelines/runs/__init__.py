"""Runs of a root: their records, and how a user names one."""
